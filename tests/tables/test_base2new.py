"""The base-to-new table: its numbers, its honesty, its two languages."""

import re
import shutil
import subprocess

import pytest

from benchmark.errors import RecordError
from tables.base2new import ABSENT, AVERAGE, BELOW, make_table, to_latex, to_markdown, write


def rows_of(markdown):
    """Row title to its cells, of the first table."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0]: row[1:] for row in cells[2:]}


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


def test_average_stands_first_and_its_h_is_that_of_the_averages(two):
    table = make_table(two)
    assert table.rows == [AVERAGE, "dtd", "eurosat"]
    base, new, h = (table.values["coop", AVERAGE, column].mean for column in ("base", "new", "h"))
    assert (base, new) == pytest.approx(((79.44 + 92.19) / 2, (41.18 + 54.74) / 2))
    assert h == pytest.approx(2 * base * new / (base + new))
    mean_of_column = (table.values["coop", "dtd", "h"].mean + table.values["coop", "eurosat", "h"].mean) / 2
    assert abs(h - mean_of_column) > 0.01


def test_h_of_a_dataset_is_that_of_the_mean_base_and_new(two):
    value = make_table(two).values["coop", "dtd", "h"]
    assert value.mean == pytest.approx(2 * 79.44 * 41.18 / (79.44 + 41.18))


def test_best_is_bold_and_below_zero_shot_is_marked(two):
    rows = rows_of(to_markdown(make_table(two)))
    assert rows["dtd"][:3] == ["53.24", "**59.90**", "**56.37**"]
    assert rows["dtd"][3:] == ["**79.44**", f"41.18{BELOW}", f"54.24{BELOW}"]


def test_ties_as_printed_are_both_bold(record):
    records = [record("zero_shot", "dtd", 50.001, 60.0), record("coop", "dtd", 50.002, 61.0)]
    rows = rows_of(to_markdown(make_table(records)))
    assert rows["dtd"][0] == rows["dtd"][3] == "**50.00**"


def test_standard_deviation_is_shown_on_request_and_is_the_sample_one(two):
    assert rows_of(to_markdown(make_table(two, std=True)))["dtd"][3] == "**79.44 ± 1.00**"
    assert "±" not in to_markdown(make_table(two)).split("|")[-2]


def test_missing_seeds_and_cells_are_said(two):
    planned = [r.spec for r in two]
    kept = [r for r in two if not (r.spec.method == "coop" and r.spec.dataset == "dtd" and r.spec.seed == 3)]
    kept = [r for r in kept if (r.spec.method, r.spec.dataset) != ("zero_shot", "eurosat")]
    rows = rows_of(to_markdown(make_table(kept, planned=planned)))
    assert rows["dtd"][3] == "78.94 (2/3)"
    assert rows["eurosat"][:3] == [ABSENT] * 3
    assert rows["Average"][0].endswith("(1/2)")
    assert "**" not in rows["Average"][3], "an average of incomplete rows is no best"


def test_rows_and_columns_follow_plan_and_paper(record):
    records = [record(m, d, 50, 50) for d in ("ucf101", "dtd") for m in ("my_method", "copl", "zero_shot")]
    table = make_table(records)
    assert table.datasets == ["ucf101", "dtd"]
    assert table.methods == ["zero_shot", "copl", "my_method"]


def test_caption_says_how_it_was_measured(two):
    caption = make_table(two, note="A note.").caption
    for part in ("openai/clip-vit-base-patch16", "16 shots", "seeds 1, 2, 3", "12 runs", "abc123", "A note.", "fp32"):
        assert part in caption
    assert "+changes" not in caption


def test_every_commit_that_records_come_from_is_named(record):
    records = [record("coop", "dtd", 1, 1, commit="one"), record("coop", "eurosat", 1, 1, commit="two", dirty=True)]
    assert "one, two+changes" in make_table(records).caption


def test_published_values_and_differences_stand_beside(two):
    markdown = to_markdown(make_table(two, published=True, titles={"dtd": "DTD"}))
    second = markdown.split("Published values")[1]
    assert "79.44 (+0.00)" in second
    assert "| DTD" in second
    assert "82.69 |" in second, "CoOp's average over eleven datasets is not compared with ours over two"
    assert "base2new-published" in to_latex(make_table(two, published=True))


def test_unpublished_cells_are_dashes(record):
    second = to_markdown(make_table([record("copl", "dtd", 50, 50)], published=True)).split("Published values")[1]
    assert f"| {ABSENT}" in re.sub(" +", " ", second)


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"shots": 8, "dataset": "eurosat"}, "shots"),
        ({"backbone": "other", "dataset": "eurosat"}, "backbone"),
        ({"checkpoint": "d" * 16, "dataset": "eurosat"}, "checkpoint"),
        ({"suite": "other"}, "suite"),
        ({"precision": "bf16", "seed": 2}, "precision"),
        ({"options": {"n_ctx": 16}, "seed": 2}, "options"),
        ({"template": "{}.", "seed": 2}, "template"),
        ({"overrides": {"epochs": 2}, "dataset": "eurosat"}, "--set"),
    ],
)
def test_records_that_were_not_measured_alike_are_not_mixed(record, changes, what):
    dataset = changes.pop("dataset", "dtd")
    pair = [record("coop", "dtd", 50, 50), record("coop", dataset, 50, 50, **changes)]
    with pytest.raises(RecordError) as caught:
        make_table(pair)
    message = str(caught.value)
    assert what in message
    assert all(r.spec.record_path("").as_posix() in message for r in pair), "both are named"


def test_no_records_say_what_to_run():
    with pytest.raises(RecordError, match=r"python run_all\.py --protocol base2new"):
        make_table([])


HOSTILE = r"a_b & 100% #1 $x {y} ~ ^ \z |<script>|"


def test_names_are_escaped_in_markdown(record):
    line = next(x for x in to_markdown(make_table([record("coop", "dtd", 1, 1)], titles={"dtd": HOSTILE})).splitlines()
                if "100%" in x)  # fmt: skip
    assert len(re.split(r"(?<!\\)\|", line)) == 6
    assert "<script>" not in line


def test_latex_has_as_many_cells_in_every_row_and_nothing_unescaped(two):
    latex = to_latex(make_table(two, std=True, titles={"dtd": HOSTILE}))
    rows = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {6}
    assert r"a\_b \& 100\% \#1 \$x \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z" in latex
    assert latex.count(r"\begin{") == latex.count(r"\end{")
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}"):
        assert rule in latex


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed; the structure is tested above")
def test_latex_compiles_with_booktabs(two, tmp_path):
    body = to_latex(make_table(two, std=True, published=True, titles={"dtd": HOSTILE}))
    document = "\\documentclass[twocolumn]{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\\begin{document}"
    (tmp_path / "table.tex").write_text(f"{document}\n{body}\n\\end{{document}}")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_both_files_are_written_whole(two, tmp_path):
    paths = write(two, tmp_path / "paper")
    assert [path.name for path in paths] == ["base2new.md", "base2new.tex"]
    assert sorted(path.name for path in (tmp_path / "paper").iterdir()) == ["base2new.md", "base2new.tex"]
