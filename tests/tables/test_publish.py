"""Published CSV files: the same tables again, and one message for files of others, damaged and edited ones."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.common.config import Training
from benchmark.records.store import collect, save
from tables.__main__ import main
from tables.metrics import METRICS
from tables.publish import COLUMNS, FORMAT, read, to_csv
from tables.publish import main as publish

ROOT = Path(__file__).resolve().parents[2]
ALL_TABLES = ["--std", "--per-seed", "--interval", "--baseline", "zero_shot"]


@pytest.fixture
def stored(tmp_path, runs_of, detailed):
    """The folder of a suite with runs of three protocols; the last run of each holds no confidences."""
    for runs in runs_of.values():
        for run in (*map(detailed, runs[:-1]), runs[-1]):
            save(run, tmp_path / "results", predictions={}, learned=None)
    return tmp_path / "results" / "paper"


@pytest.fixture
def published(stored, tmp_path, capsys):
    """The CSV of that folder."""
    file = tmp_path / "paper.csv"
    assert publish([str(stored), "--out", str(file)]) == 0
    records, _ = collect(stored)
    rows = sum(len(record.scores) for record in records)
    assert capsys.readouterr().out == f"Written: {file}: {rows} rows of {len(records)} runs\n"
    return file


def test_tables_of_a_published_file_are_those_of_its_records(stored, published, capsys):
    for metric in METRICS:
        for source in (stored, published):
            assert main(["--from", str(source), "--metric", metric, *ALL_TABLES]) == 0
    written = sorted(path for path in stored.iterdir() if path.is_file())
    assert len(written) == 3 * 2 * len(METRICS)
    assert sorted(path.name for path in (published.parent / "paper-tables").iterdir()) == [p.name for p in written]
    for path in written:
        assert (published.parent / "paper-tables" / path.name).read_bytes() == path.read_bytes(), path.name
    assert "holds no confidences" in capsys.readouterr().err


def test_published_file_read_and_written_again_is_the_same(stored, published):
    text = published.read_text()
    assert to_csv(read(published)) == text
    found, _ = collect(stored)
    again = read(published)
    assert [(r.spec, r.scores, r.overrides) for r in again] == [(r.spec, r.scores, r.overrides) for r in found]
    assert [record.learns_nothing for record in again] == [record.learns_nothing for record in found]
    published.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())  # as a spreadsheet saves it
    assert to_csv(read(published)) == text


@pytest.fixture
def small(tmp_path, record, detailed):
    """The CSV of two runs, each of two class sets."""
    file = tmp_path / "small.csv"
    training = Training(epochs=10, batch_size=1, views=5)
    runs = [record("coop", "dtd", 60, 50, total=100, seed=seed, training=training) for seed in (1, 2)]
    file.write_text(to_csv(map(detailed, runs)))
    return file


def test_spreadsheet_may_drop_zeros_and_add_columns(small):
    rows = rows_of(small)
    for row in rows:
        row |= {name: f"{float(row[name]):g}" for name in ("accuracy",) if float(row[name]).is_integer()}
        row["note"] = "ours"
    assert any(row["accuracy"] == "60" for row in rows)
    write_rows(small, rows)
    assert [record.spec.training.views for record in read(small)] == [5, 5]


def rows_of(file):
    return list(csv.DictReader(io.StringIO(file.read_text())))


def write_rows(file, rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    file.write_text(text.getvalue())


def change(**cells):
    return lambda rows: rows[0].update(cells)


def add_to(column, number, more):
    """Add to one number of a list."""

    def edit(rows):
        numbers = rows[0][column].split()
        numbers[number] = str(int(numbers[number]) + more)
        rows[0][column] = " ".join(numbers)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: [row.update(format="9.9") for row in rows], f"has format '9.9', this version reads '{FORMAT}'"),
        (lambda rows: [row.pop("nll_sum") for row in rows], "column nll_sum missing; publish it again"),
        (lambda rows: [(row.pop("seed"), row.pop("split")) for row in rows], "columns seed, split missing"),
        (lambda rows: [row.pop("format") for row in rows], "has no column 'format'"),
        (change(correct="101"), "line 2: its counts: 101 of 100 correct is impossible"),
        (change(correct="1"), "class counts sum to"),
        (add_to("class_totals", 0, 1), "class counts sum to"),
        (add_to("class_correct", 0, -1), "class counts sum to"),
        (add_to("bin_totals", 7, -1), "bin counts sum to"),
        (change(accuracy="99.5"), "'accuracy' is 99.5, but the counts and sums give 60.000000"),
        (change(ece="0.1"), "'ece' is 0.1, but the counts and sums give"),
        (change(nll=""), "'nll' is empty, but the counts and sums give"),
        (change(nll_sum="12"), "'nll' is"),
        (change(worst_class="good"), "'worst_class' is good"),
        (change(seed="7"), "its settings give fingerprint"),
        (change(shots="many"), "'shots' cannot be read: 'many'"),
        (change(options="[1]"), "'options' must be a mapping"),
        (change(versions="[1]"), "'versions' must be a mapping"),
        (change(class_set="a/b"), "cannot name a folder"),
        (change(commit="other"), "line 3: 'commit' differs from the other rows of the run"),
        (lambda rows: rows.append(rows[0]), "is in the file twice"),
    ],
)  # fmt: skip
def test_file_of_another_format_or_an_edited_one_is_one_message(small, capsys, edit, message):
    rows = rows_of(small)
    edit(rows)
    write_rows(small, rows)
    assert main(["--from", str(small)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith(f"error: {small}")
    assert len(error.splitlines()) == 1
    assert [path.name for path in small.parent.iterdir()] == ["small.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file"),
        (b"", "has no column 'format'"),
        (b"\xff\xfe\x00", "is not a CSV file in UTF-8"),
        (b'format,"a', "is not a CSV file in UTF-8"),
        (",".join(COLUMNS).encode(), "holds no row"),
    ],
)
def test_file_that_is_not_a_published_one_is_one_message(tmp_path, capsys, content, message):
    file = tmp_path / "other.csv"
    if content is not None:
        file.write_bytes(content)
    assert main(["--from", str(file)]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_empty_folder_is_one_message_and_writes_nothing(tmp_path, capsys):
    assert publish([str(tmp_path), "--out", str(tmp_path / "a.csv")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}: holds no record.\n"
    assert not list(tmp_path.iterdir())


def test_page_explains_every_column():
    lines = (ROOT / "docs" / "results-format.md").read_text().split("## Columns")[1].splitlines()
    first = [line.split("|")[1] for line in lines if line.startswith("| `")]
    assert [name.strip("` ") for cell in first for name in cell.split(",")] == list(COLUMNS)


def test_commands_need_neither_torch_nor_what_is_slow_to_import():
    code = """
import sys
for name in ("torch", "transformers", "accelerate", "pandas", "matplotlib", "scipy"): sys.modules[name] = None
import tables.__main__, tables.compare.report, tables.publish
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
