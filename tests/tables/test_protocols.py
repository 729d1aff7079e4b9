"""The tables of each protocol: exact files in expected/, and the numbers behind them."""

import datetime
from pathlib import Path

import pytest

from benchmark.common.config import Training
from tables.aggregate import AVERAGE
from tables.protocols import base2new
from tables.protocols.writers import FORMATS, GRIDS
from tables.rendering.options import TableOptions

EXPECTED = Path(__file__).parent / "expected"
TITLES = {"imagenet": "ImageNet", "dtd": "DTD & more"}
EVERYTHING = TableOptions(std=True, published=True, note="A note.", titles=TITLES, per_seed=True, interval=True,
                          baseline="zero_shot")  # fmt: skip
SHOWN = TableOptions(published=True, titles=TITLES)


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


def test_cells_of_sets_of_one_class_are_marked_with_what_rests_on_them(few, record, transfer, texts):
    halves = [record("coop", "dtd", 80, 60), record("coop", "pair", 100, 100, classes=1)]
    (grid,) = GRIDS["base2new"](halves)
    assert texts(grid) == {"Average": ["90.00§", "80.00§", "84.71§"], "dtd": ["80.00", "60.00", "68.57"],
                           "pair": ["100.00§"] * 3}  # fmt: skip
    assert "§: one class alone, so every answer is right: base of pair, new of pair." in grid.caption
    shots = [few("coop", name, 100, classes=count, shots=k) for k in (1, 2) for name, count in (("a", 1), ("b", 2))]
    assert [texts(each)["CoOp"][0] for each in GRIDS["few_shot"](shots)] == ["100.00§", "100.00§", "100.00"]
    (grid,) = GRIDS["cross_dataset"]([transfer("coop", {"dtd": 100, "one": 100}, classes=1)])
    assert "right: dtd, one." in grid.caption


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
    shifted = {"imagenet": 72.24, "imagenetv2": 60, "imagenet_sketch": 49, "imagenet_a": 50, "imagenet_r": 77}
    run = transfer("prograd", shifted, protocol="domain_generalization")
    _, second = GRIDS["domain_generalization"]([run], SHOWN)
    assert texts(second)["ProGrad"] == ["72.24 (+0.00)", "—", "—", "—", "—", "59.07 (-0.07)"]
    grids = GRIDS["few_shot"]([few("coop", "imagenet", 67.33, shots=shots) for shots in (1, 2)], SHOWN)
    assert texts(grids[3])["CoOp"] == ["66.33 (+1.00)", "67.07 (+0.26)"]


def test_differences_of_methods_that_repeat_views_to_published_values_are_marked(record, texts):
    def grids(views):
        training = Training(epochs=10, batch_size=1, views=views)
        runs = [record("zero_shot", "dtd", 53.24, 59.90), record("coop", "dtd", 80, 41.18, training=training)]
        return base2new.grids(runs, SHOWN)

    first, second = grids(9)
    assert texts(second)["DTD & more"][:4] == ["53.24 (+0.00)", "59.90 (+0.00)", "56.37 (+0.00)", "79.44 (+0.56¶)"]
    assert "¶: ours repeats a few views of each training image" in second.explained
    assert "Trained on at most 9 random views of each image, which the epochs take in turn" in first.caption
    first, second = grids(10)
    assert "at most 10 random views" in first.caption and "¶" not in second.explained, "as many as epochs"
