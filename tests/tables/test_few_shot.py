"""The few-shot tables: the average and each dataset, by shots."""

import dataclasses

import pytest

from benchmark.errors import RecordError
from tables.protocols.few_shot import grids
from tables.rendering.cells import ABSENT, BELOW


@pytest.fixture
def curves(few):
    """CLIP at 16 shots alone, CoOp at three counts, on two datasets; CoOp gains a point a doubling."""
    records = [few("zero_shot", name, 44, shots=16) for name in ("dtd", "eurosat")]
    return records + [
        few("coop", name, level + gain, shots=shots)
        for name, level in (("dtd", 43), ("eurosat", 49))
        for shots, gain in ((16, 2), (4, 1), (1, 0))
    ]


def test_average_stands_first_and_columns_are_the_shot_counts_in_order(curves, texts):
    average, dtd, eurosat = grids(curves, titles={"dtd": "DTD"})
    assert [grid.name for grid in (average, dtd, eurosat)] == ["few_shot-average", "few_shot-dtd", "few_shot-eurosat"]
    assert average.columns == ["method", "1 shot", "4 shots", "16 shots"]
    assert texts(average)["CoOp"] == ["46.00", "47.00", "48.00"]
    assert texts(dtd)["CoOp"] == [f"43.00{BELOW}", "44.00", "45.00"]
    assert dtd.caption.startswith("Few-shot, DTD, suite paper")
    assert "1, 4, 16 shots" in dtd.caption


def test_what_learns_nothing_stands_at_every_shot_count_wherever_it_was_measured(curves, texts):
    average, dtd, _ = grids(curves)
    assert texts(average)["CLIP"] == texts(dtd)["CLIP"] == ["44.00"] * 3
    assert "learns nothing" in average.explained


def test_what_reads_the_images_without_training_stands_where_it_was_measured_alone(curves, few, texts):
    read = [few("tip_adapter", "dtd", 50 + shots, shots=shots, training=None) for shots in (1, 16)]
    read = [dataclasses.replace(record, training={"seconds": 0.5}) for record in read]
    _, dtd, _ = grids([*curves, *read])
    assert texts(dtd)["Tip-Adapter"] == ["51.00", ABSENT, "66.00"]


def test_average_without_all_datasets_at_a_shot_count_is_partial(curves, texts):
    planned = [record.spec for record in curves]
    average, dtd, _ = grids([r for r in curves if (r.spec.dataset, r.spec.shots) != ("dtd", 4)], planned=planned)
    assert texts(average)["CoOp"] == ["46.00", "50.00 (1/2)", "48.00"]
    assert texts(dtd)["CoOp"][1] == ABSENT
    assert [cell.best for cell in average.rows[1][1:]] == [True, False, True]


def test_zero_shot_alone_has_the_columns_it_was_measured_at(few, texts):
    average, _ = grids([few("zero_shot", "dtd", 44, shots=16)])
    assert average.columns == ["method", "16 shots"]


def test_planned_seeds_are_counted_at_each_shot_count(few, texts):
    planned = [few("coop", "dtd", 50, shots=shots, seed=seed).spec for shots in (1, 16) for seed in (1, 2, 3)]
    records = [few("coop", "dtd", 50 + seed, shots=1, seed=seed) for seed in (1, 2, 3)]
    _, dtd = grids([*records, few("coop", "dtd", 60, shots=16)], planned=planned, std=True)
    assert texts(dtd)["CoOp"] == ["52.00 ± 1.00", "60.00 (1/3)"]


def test_published_values_are_those_of_the_same_backbone_and_shots(few, texts):
    records = [few("coop", "imagenet", 67.33, shots=shots) for shots in (1, 2)] + [few("zero_shot", "imagenet", 66.7)]
    tables = grids(records, published=True)
    assert [grid.name for grid in tables[2:]] == ["few_shot-published-average", "few_shot-published-imagenet"]
    assert texts(tables[3])["CoOp"] == ["66.33 (+1.00)", "67.07 (+0.26)"]
    assert len(set(texts(tables[3])["CLIP"])) == 1
    assert "(" not in texts(tables[2])["CoOp"][0], "the published average is over eleven datasets"
    (_, only) = grids([few("coop", "imagenet", 50, backbone="embedded")], published=True)
    assert "Published" not in only.caption


def test_no_records_say_what_to_run():
    with pytest.raises(RecordError, match=r"python run_all\.py --protocol few_shot"):
        grids([])
