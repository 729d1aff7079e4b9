"""The tables of each protocol: exact files in expected/, and the numbers behind them."""

import datetime
from pathlib import Path

import pytest

from tables.aggregate import AVERAGE
from tables.protocols import base2new, domain_generalization
from tables.protocols.writers import FORMATS, GRIDS
from tables.rendering.options import TableOptions

EXPECTED = Path(__file__).parent / "expected"
TITLES = {"imagenet": "ImageNet", "dtd": "DTD & more"}
EVERYTHING = TableOptions(std=True, published=True, note="A note.", titles=TITLES, per_seed=True, interval=True,
                          baseline="zero_shot")  # fmt: skip
SHOWN = TableOptions(published=True, titles=TITLES)


@pytest.fixture
def base2new_runs(record):
    """CLIP, CoOp and CoPL on two datasets, three seeds; with a tie as printed, values below CLIP and an outlier."""
    accuracies = {
        "zero_shot": {"imagenet": ((72.43, 68.14),) * 3, "dtd": ((53.24, 59.90),) * 3},
        "coop": {
            "imagenet": ((76.46, 66.31), (76.66, 67.31), (76.47, 68.31)),
            "dtd": ((79.44, 41.18), (79.44, 42.18), (79.44, 11.18)),
        },
        "copl": {"imagenet": ((76.53, 70), (76.53, 71), (76.53, 72)), "dtd": ((78, 62.1), (79, 62.3), (20, 10))},
    }
    return [
        record(method, dataset, *halves, seed=seed)
        for method, of in accuracies.items()
        for dataset, seeds in of.items()
        for seed, halves in enumerate(seeds, 1)
    ]


@pytest.fixture
def few_shot_runs(few):
    """CLIP at 16 shots, CoOp at 1, 4 and 16 shots, Tip-Adapter, which trains nothing, at 1 shot; on two datasets."""
    runs = [few("zero_shot", name, 44, shots=16) for name in ("imagenet", "dtd")]
    runs.append(few("tip_adapter", "dtd", 51, shots=1, training=None, seconds=0.5))
    return runs + [
        few("coop", name, level + gain + seed, shots=shots, seed=seed)
        for name, level in (("imagenet", 41), ("dtd", 47))
        for shots, gain in ((16, 2), (4, 1), (1, 0))
        for seed in (1, 2)
    ]


@pytest.fixture
def transfer_runs(transfer):
    """CLIP and CoOp from ImageNet to two datasets, two seeds."""
    return [
        transfer(method, {"imagenet": a + seed, "ucf101": b, "dtd": c - seed}, seed=seed)
        for method, (a, b, c) in {"zero_shot": (60, 65, 44), "coop": (70, 66, 41)}.items()
        for seed in (1, 2)
    ]


@pytest.fixture
def runs_of(base2new_runs, few_shot_runs, transfer_runs):
    """Protocol to its records."""
    return {"base2new": base2new_runs, "few_shot": few_shot_runs, "cross_dataset": transfer_runs}


@pytest.mark.parametrize("name", ["base2new.md", "base2new.tex", "few_shot.md", "cross_dataset.md"])
def test_file_with_all_tables_is_the_expected_one(runs_of, name):
    protocol, suffix = name.split(".")
    runs, render = runs_of[protocol], FORMATS["latex" if suffix == "tex" else "markdown"][1]
    text = render(GRIDS[protocol](runs[:-1], EVERYTHING, planned=[run.spec for run in runs]))
    assert text.replace(datetime.date.today().isoformat(), "DATE") == (EXPECTED / name).read_text()


def test_h_is_that_of_the_means_and_its_deviation_that_of_the_h_of_each_seed(record):
    runs = [record("coop", "dtd", 80, 60, seed=1), record("coop", "dtd", 60, 80, seed=2)]
    runs += [record("coop", "eurosat", 92.19, 54.74, seed=seed) for seed in (1, 2)]
    values = base2new.make_sheet_of_halves(runs, [run.spec for run in runs]).values
    assert (values["coop", "dtd", "h"].mean, values["coop", "dtd", "h"].std) == (70, 0)
    assert values["coop", "dtd", "base"].std == pytest.approx(14.1421356)
    base, new, h = (values["coop", AVERAGE, column].mean for column in ("base", "new", "h"))
    assert (base, new) == pytest.approx(((70 + 92.19) / 2, (70 + 54.74) / 2))
    assert h == pytest.approx(2 * base * new / (base + new))
    assert abs(h - (70 + values["coop", "eurosat", "h"].mean) / 2) > 0.01, "it is not the mean of the column"


def test_equal_printed_values_are_both_bold_and_incomplete_ones_are_not(base2new_runs, texts):
    (grid,) = base2new.grids(base2new_runs[:-1], planned=[run.spec for run in base2new_runs])
    assert texts(grid)["imagenet"][3] == texts(grid)["imagenet"][6] == "76.53"
    assert grid.rows[1][4].best and grid.rows[1][7].best
    assert texts(grid)["dtd"][6:8] == ["78.50 (2/3)", "62.20 (2/3)"]
    assert not any(cell.best for cell in (*grid.rows[0][7:], *grid.rows[2][7:]))


def test_average_of_transfers_is_over_the_targets_and_that_of_all_seeds(transfer, texts):
    runs = [transfer("coop", {"imagenet": 70, "dtd": 40 + s, "ucf101": 60 - s}, seed=s) for s in (1, 2)]
    (grid,) = GRIDS["cross_dataset"](runs, TableOptions(std=True, titles={"imagenet": "ImageNet"}))
    assert grid.columns == ["method", "ImageNet", "dtd", "ucf101", "Average"]
    assert texts(grid)["CoOp"] == ["70.00 ± 0.00", "41.50 ± 0.71", "58.50 ± 0.71", "50.00 ± 0.00"]


def test_published_values_are_compared_for_the_same_backbone_shots_source_and_datasets(record, transfer, few, texts):
    _, second = base2new.grids([record("coop", "dtd", 79.44, 41.18), record("copl", "dtd", 50, 50)], SHOWN)
    assert texts(second)["DTD & more"] == ["79.44 (+0.00)", "41.18 (+0.00)", "54.24 (+0.00)", "—", "—", "—"]
    assert texts(second)["Average"][0] == "82.69", "over eleven datasets, ours over one"
    for changes in ({"backbone": "embedded"}, {"shots": 4}):
        (only,) = base2new.grids([record("coop", "dtd", 50, 50, **changes)], SHOWN)
        assert "Published values: tables/reference/base2new.csv has none for" in only.explained
    _, second = GRIDS["cross_dataset"]([transfer("cocoop", {"imagenet": 71.02, "dtd": 45.73})], SHOWN)
    assert texts(second)["CoCoOp"] == ["71.02 (+0.00)", "45.73 (+0.00)", "65.74"]
    runs = [transfer(method, {"caltech101": 95, "dtd": 45.73}) for method in ("zero_shot", "cocoop")]
    _, second = GRIDS["cross_dataset"](runs, SHOWN)
    assert texts(second)["CoCoOp"] == ["—"] * 3
    assert texts(second)["CLIP"][2] == "—", "the published average is over the targets of ImageNet"
    grids = GRIDS["few_shot"]([few("coop", "imagenet", 67.33, shots=shots) for shots in (1, 2)], SHOWN)
    assert texts(grids[3])["CoOp"] == ["66.33 (+1.00)", "67.07 (+0.26)"]


def test_domain_generalization_is_a_transfer_table(transfer, texts):
    accuracies = {"imagenet": 71.5, "imagenetv2": 64.2, "imagenet_sketch": 48.0}
    (grid,) = domain_generalization.grids([transfer("coop", accuracies, protocol="domain_generalization")], SHOWN)
    assert (grid.name, grid.caption[:21]) == ("domain_generalization", "Domain generalization")
    assert texts(grid) == {"CoOp": ["71.50", "64.20", "48.00", "56.10"]}
    assert "Published values: tables/reference/domain_generalization.csv has none" in grid.explained


def test_rows_follow_the_plan_columns_the_paper_and_all_commits_are_named(record, texts):
    runs = [record(m, d, 50, 50) for d in ("ucf101", "dtd") for m in ("my_method", "copl", "zero_shot")]
    (grid,) = base2new.grids([*runs[:-1], record("zero_shot", "dtd", 50, 50, commit="two", dirty=True)])
    assert list(texts(grid)) == ["Average", "ucf101", "dtd"]
    assert [heading for heading, _ in grid.groups] == ["CLIP", "CoPL", "my_method"]
    assert "16 shots, seeds 1, 6 runs, commit abc123, two+changes" in grid.caption


@pytest.mark.parametrize(
    "differences, text, bold",
    [((3, 4, 5), "+4.00 ± 2.48", True), ((-3, -4, -5), "-4.00 ± 2.48", True), ((1, 4, 7), "+4.00 ± 7.45", False),
     ((3,), "+3.00", False)],
)  # fmt: skip
def test_difference_is_paired_by_seed_and_bold_if_its_interval_excludes_zero(transfer, differences, text, bold):
    runs = [transfer("zero_shot", {"imagenet": 50 + s, "dtd": 50}, seed=s) for s in (1, 2, 3)]
    runs += [transfer("coop", {"imagenet": 50 + s + d, "dtd": 50}, seed=s) for s, d in enumerate(differences, 1)]
    cell = GRIDS["cross_dataset"](runs, TableOptions(baseline="zero_shot"))[1].rows[0][1]
    assert (cell.text, cell.best) == (text, bold)
