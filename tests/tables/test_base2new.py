"""The base-to-new table: its numbers, its honesty, its two languages."""

import re

import pytest

from benchmark.errors import RecordError
from tables.aggregate import AVERAGE
from tables.protocols.base2new import grids, make_sheet_of_halves
from tables.rendering.cells import ABSENT, BELOW
from tables.rendering.grid import to_latex, to_markdown


def values_of(records):
    """The numbers behind the table."""
    return make_sheet_of_halves(records, [record.spec for record in records]).values


@pytest.fixture
def two(record):
    """CLIP and CoOp on two datasets, three seeds."""
    accuracies = {("zero_shot", "dtd"): (53.24, 59.90), ("zero_shot", "eurosat"): (56.48, 64.05),
                  ("coop", "dtd"): (79.44, 41.18), ("coop", "eurosat"): (92.19, 54.74)}  # fmt: skip
    return [
        record(method, dataset, base + seed - 2, new, seed=seed)
        for (method, dataset), (base, new) in accuracies.items()
        for seed in (1, 2, 3)
    ]


def test_average_stands_first_and_its_h_is_that_of_the_averages(two, texts):
    assert list(texts(grids(two)[0])) == ["Average", "dtd", "eurosat"]
    values = values_of(two)
    base, new, h = (values["coop", AVERAGE, column].mean for column in ("base", "new", "h"))
    assert (base, new) == pytest.approx(((79.44 + 92.19) / 2, (41.18 + 54.74) / 2))
    assert h == pytest.approx(2 * base * new / (base + new))
    mean_of_column = (values["coop", "dtd", "h"].mean + values["coop", "eurosat", "h"].mean) / 2
    assert abs(h - mean_of_column) > 0.01


def test_h_of_a_dataset_is_that_of_the_mean_base_and_new(two):
    assert values_of(two)["coop", "dtd", "h"].mean == pytest.approx(2 * 79.44 * 41.18 / (79.44 + 41.18))


def test_spread_of_h_is_that_of_each_seeds_own(record):
    values = values_of([record("coop", "dtd", 80, 60, seed=1), record("coop", "dtd", 60, 80, seed=2)])
    assert values["coop", "dtd", "h"].std == 0
    assert values["coop", "dtd", "base"].std == pytest.approx(14.1421356)
    assert values["coop", "dtd", "h"].mean == 70


def test_best_is_bold_and_below_zero_shot_is_marked(two, rows_of):
    rows = rows_of(to_markdown(grids(two)[0]))
    assert rows["dtd"][:3] == ["53.24", "**59.90**", "**56.37**"]
    assert rows["dtd"][3:] == ["**79.44**", f"41.18{BELOW}", f"54.24{BELOW}"]


def test_ties_as_printed_are_both_bold(record, rows_of):
    records = [record("zero_shot", "dtd", 50.001, 60.0), record("coop", "dtd", 50.002, 61.0)]
    rows = rows_of(to_markdown(grids(records)[0]))
    assert rows["dtd"][0] == rows["dtd"][3] == "**50.00**"


def test_standard_deviation_is_shown_on_request_and_is_the_sample_one(two, texts):
    shown = grids(two, std=True)[0]
    assert texts(shown)["dtd"][3] == "79.44 ± 1.00"
    assert texts(shown)["Average"][3].endswith(" ± 1.00"), "each seed's average differs by as much"
    assert "sample standard deviation" in shown.explained
    assert "±" not in to_markdown(grids(two)[0])


def test_missing_seeds_and_cells_are_said(two, rows_of):
    planned = [r.spec for r in two]
    kept = [r for r in two if not (r.spec.method == "coop" and r.spec.dataset == "dtd" and r.spec.seed == 3)]
    kept = [r for r in kept if (r.spec.method, r.spec.dataset) != ("zero_shot", "eurosat")]
    rows = rows_of(to_markdown(grids(kept, planned=planned)[0]))
    assert rows["dtd"][3] == "78.94 (2/3)"
    assert rows["eurosat"][:3] == [ABSENT] * 3
    assert rows["Average"][0].endswith("(1/2)")
    assert "**" not in rows["Average"][3], "an average of incomplete rows is no best"


def test_rows_and_columns_follow_plan_and_paper(record, texts):
    records = [record(m, d, 50, 50) for d in ("ucf101", "dtd") for m in ("my_method", "copl", "zero_shot")]
    grid = grids(records)[0]
    assert list(texts(grid))[1:] == ["ucf101", "dtd"]
    assert [heading for heading, _ in grid.groups] == ["CLIP", "CoPL", "my_method"]


def test_caption_says_how_it_was_measured(two):
    caption = grids(two, note="A note.")[0].caption
    for part in ("openai/clip-vit-base-patch16", "16 shots", "seeds 1, 2, 3", "12 runs", "abc123", "A note.", "fp32"):
        assert part in caption
    assert "+changes" not in caption


def test_every_commit_that_records_come_from_is_named(record):
    records = [record("coop", "dtd", 1, 1, commit="one"), record("coop", "eurosat", 1, 1, commit="two", dirty=True)]
    assert "one, two+changes" in grids(records)[0].caption


def test_published_values_and_differences_stand_beside(two, texts):
    main, second = grids(two, published=True, titles={"dtd": "DTD"})
    assert texts(second)["DTD"][3] == "79.44 (+0.00)"
    assert texts(second)["Average"][3] == "82.69", "CoOp's average over eleven datasets is not compared with two"
    assert "Published" not in main.caption
    assert "base2new-published" in to_latex(second)


def test_unpublished_cells_are_dashes(record, texts):
    _, second = grids([record("copl", "dtd", 50, 50)], published=True)
    assert texts(second)["dtd"] == [ABSENT] * 3


@pytest.mark.parametrize("changes", [{"backbone": "embedded"}, {"shots": 4}])
def test_figures_of_another_backbone_or_other_shots_do_not_stand_beside(record, changes):
    (only,) = grids([record("coop", "dtd", 50, 50, **changes)], published=True)
    assert "Published values: tables/reference/base2new.csv has none for" in only.explained


def test_no_records_say_what_to_run():
    with pytest.raises(RecordError, match=r"python run_all\.py --protocol base2new"):
        grids([])


def test_latex_has_as_many_cells_in_every_row_and_its_rules(two):
    latex = to_latex(grids(two, std=True, titles={"dtd": "a & b"})[0])
    rows = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {6}
    assert latex.count(r"\begin{") == latex.count(r"\end{")
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}"):
        assert rule in latex
