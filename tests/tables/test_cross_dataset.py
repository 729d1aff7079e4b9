"""The transfer table: the source, the targets, and the average of the targets alone."""

import pytest

from benchmark.errors import RecordError
from tables.protocols.cross_dataset import grids
from tables.rendering.cells import ABSENT, BELOW

PUBLISHED = {"imagenet": 71.02, "caltech101": 94.43, "oxford_pets": 90.14, "stanford_cars": 65.32,
             "oxford_flowers": 71.88, "food101": 86.06, "fgvc_aircraft": 22.94, "sun397": 67.36, "dtd": 45.73,
             "eurosat": 45.37, "ucf101": 68.21}  # fmt: skip


@pytest.fixture
def two(transfer):
    """CLIP and CoOp from ImageNet to two datasets, two seeds."""
    return [
        transfer(method, {"imagenet": a + seed, "ucf101": b, "dtd": c}, seed=seed)
        for method, (a, b, c) in {"zero_shot": (60, 65, 44), "coop": (70, 66, 41)}.items()
        for seed in (1, 2)
    ]


def test_average_is_over_the_targets_alone_and_columns_keep_the_scored_order(two, texts):
    (grid,) = grids(two, titles={"dtd": "DTD"})
    assert grid.columns == ["method", "imagenet", "ucf101", "DTD", "Average"]
    assert texts(grid)["CoOp"] == ["71.50", "66.00", f"41.00{BELOW}", f"53.50{BELOW}"]


def test_best_of_each_column_is_bold(two):
    (grid,) = grids(two)
    assert [[cell.best for cell in row[1:]] for row in grid.rows] == [
        [False, False, True, True],
        [True, True, False, False],
    ]


def test_caption_names_the_source(two):
    assert "trained on ImageNet, backbone" in grids(two, titles={"imagenet": "ImageNet"})[0].caption


def test_standard_deviation_of_the_average_is_that_of_each_seeds_average(transfer, texts):
    runs = [transfer("coop", {"imagenet": 70, "dtd": 40 + s, "ucf101": 60 - s}, seed=s) for s in (1, 2)]
    assert texts(grids(runs, std=True)[0])["CoOp"] == ["70.00 ± 0.00", "41.50 ± 0.71", "58.50 ± 0.71", "50.00 ± 0.00"]


def test_missing_seeds_and_methods_are_said(two, transfer, texts):
    planned = [record.spec for record in two] + [transfer("copl", {"imagenet": 1, "dtd": 1, "ucf101": 1}).spec]
    (grid,) = grids(two[:3], planned=planned)
    assert texts(grid)["CoOp"][:2] == ["71.00 (1/2)", "66.00 (1/2)"]
    assert texts(grid)["CoOp"][3].startswith("53.50 (0/2)")
    assert texts(grid)["CoPL"] == [ABSENT] * 4


def test_published_values_stand_beside_runs_from_the_same_source(transfer, texts):
    ours = transfer("cocoop", {name: value + 1 for name, value in PUBLISHED.items()})
    _, second = grids([ours], published=True)
    assert texts(second)["CoCoOp"] == [*(f"{value:.2f} (+1.00)" for value in PUBLISHED.values()), "65.74 (+1.00)"]


def test_average_over_other_targets_is_not_compared(transfer, texts):
    _, second = grids([transfer("cocoop", {"imagenet": 71.02, "dtd": 45.73})], published=True)
    assert texts(second)["CoCoOp"] == ["71.02 (+0.00)", "45.73 (+0.00)", "65.74"]
    assert "not compared" in second.explained


def test_from_another_source_only_what_learns_nothing_has_published_values(transfer, texts):
    accuracies = dict(sorted(PUBLISHED.items(), key=lambda item: item[0] != "caltech101"))
    records = [transfer(method, accuracies) for method in ("zero_shot", "cocoop")]
    _, second = grids(records, published=True)
    assert texts(second)["CoCoOp"] == [ABSENT] * 12
    assert ABSENT not in texts(second)["CLIP"][:11]
    assert texts(second)["CLIP"][11] == ABSENT, "the published average is over the targets of ImageNet"


def test_two_sources_are_refused(two, transfer):
    with pytest.raises(RecordError, match="differ in source"):
        grids([*two, transfer("copl", {"caltech101": 50, "ucf101": 50, "dtd": 50})])


def test_no_records_say_what_to_run():
    with pytest.raises(RecordError, match=r"python run_all\.py --protocol cross_dataset"):
        grids([])
