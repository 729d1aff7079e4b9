"""Write one CSV of a results folder, from which `python -m tables --from FILE.csv` renders the same tables.

python -m tables.publish results/paper --out paper.csv
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path

from benchmark.common.command import Parser, answer, in_utf8, path_option
from benchmark.common.config import SCHEMA, RunSpec, canonical_json
from benchmark.common.files import write_atomically
from benchmark.common.validation import build
from benchmark.errors import ConfigError, RecordError
from benchmark.records.record import Breakdown, RunRecord, Score
from benchmark.records.store import collect
from tables.metrics import METRICS, has
from tables.selection import shorten

FORMAT = f"1.{SCHEMA}"  # of this file and of the records, whose schema is part of every fingerprint
SPEC = tuple(f.name for f in fields(RunSpec))
BREAKDOWN = {("nll_sum" if f.name == "nll" else f.name): f.name for f in fields(Breakdown)}  # column -> field
TRAINING = {"training_steps": "steps", "training_seconds": "seconds"}  # column -> key of a record's training
DIGITS = 6  # of the metrics, which the counts and sums give again

Row = Mapping[str, str]


def _of_spec(name: str) -> Callable[[RunRecord, str], object]:
    return lambda record, class_set: record.spec.to_json().get(name, "")


def _of_score(name: str) -> Callable[[RunRecord, str], object]:
    return lambda record, class_set: getattr(record.scores[class_set], name)


def _of_breakdown(name: str) -> Callable[[RunRecord, str], object]:
    return lambda record, class_set: getattr(record.scores[class_set].breakdown, name, None)


def _of_metric(name: str) -> Callable[[RunRecord, str], object]:
    def value(record: RunRecord, class_set: str) -> str | None:
        metric = METRICS[name]
        return f"{metric.of(record.scores[class_set]):.{DIGITS}f}" if has(record, metric) else None

    return value


def _of_provenance(*keys: str) -> Callable[[RunRecord, str], object]:
    def value(record: RunRecord, class_set: str) -> object:
        found = record.provenance
        for key in keys:
            found = (found or {}).get(key)
        return found

    return value


COLUMNS: dict[str, Callable[[RunRecord, str], object]] = {  # name -> what a record and class set give
    "format": lambda record, class_set: FORMAT,
    "fingerprint": lambda record, class_set: record.spec.hash,
    **{name: _of_spec(name) for name in SPEC},
    "class_set": lambda record, class_set: class_set,
    **{name: _of_score(name) for name in ("correct", "total", "classes")},
    **{name: _of_metric(name) for name in METRICS},
    **{column: _of_breakdown(name) for column, name in BREAKDOWN.items()},
    "overrides": lambda record, class_set: record.overrides,
    **{column: (lambda record, class_set, key=key: record.training.get(key)) for column, key in TRAINING.items()},
    "evaluation_seconds": lambda record, class_set: record.evaluation_seconds,
    "peak_memory_bytes": lambda record, class_set: record.peak_memory_bytes,
    "commit": _of_provenance("git", "commit"),
    "dirty": _of_provenance("git", "dirty"),
    "versions": _of_provenance("versions"),
    "device": _of_provenance("device"),
    "processor": _of_provenance("machine", "processor"),
    "finished": _of_provenance("finished"),
}
OF_RUN = [name for name in COLUMNS if name not in ("class_set", "correct", "total", "classes", *METRICS, *BREAKDOWN)]


def to_csv(records: Iterable[RunRecord]) -> str:
    """A row for each run and class set under a line with the names of COLUMNS; docs/results-format.md explains them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        for class_set in record.scores:
            writer.writerow([_cell(of(record, class_set)) for of in COLUMNS.values()])
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(map(repr, value))
    return value if isinstance(value, str) else canonical_json(value)


def read_results(path: Path) -> tuple[list[RunRecord], list[str]]:
    """The records of a folder, as `collect`, or of a CSV file that `to_csv` made, where no problem is left out."""
    return (read(path), []) if path.suffix.lower() == ".csv" and not path.is_dir() else collect(path)


def read(path: Path) -> list[RunRecord]:
    """The records of a file that `to_csv` made, in its order; columns with other names are ignored.

    Raises:
        RecordError: the file cannot be read, is of another format, or a row does not agree with itself.
    """
    runs: dict[RunSpec, tuple[RunRecord, Row]] = {}
    for line, row in _rows(path):
        where = f"{path}, line {line}"
        try:
            record = _record(row)
            first, shared = runs.setdefault(record.spec, (record, row))
            if first is record:
                continue
            if other := [name for name in OF_RUN if row[name] != shared[name]]:
                raise ConfigError(f"'{other[0]}' differs from the other rows of the run")
            if record.scores.keys() & first.scores.keys():
                raise ConfigError(f"class set '{row['class_set']}' of this run is in the file twice")
            first.scores.update(record.scores)
        except ConfigError as error:
            text = str(error).rstrip(".")
            raise RecordError(f"{where}: {text}. Take the file as `python -m tables.publish` wrote it.") from error
    return [record for record, _ in runs.values()]


def _rows(path: Path) -> list[tuple[int, Row]]:
    """The number of the last line of each row, and its cells by column."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # a spreadsheet may have added the mark
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restval="")
        rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path}: is not a CSV file in UTF-8 ({error}).") from error
    names = reader.fieldnames or ()
    if "format" not in names:
        raise RecordError(f"{path}: has no column 'format', so `python -m tables.publish` did not write it.")
    if other := sorted({row["format"] for _, row in rows} - {FORMAT}):
        raise RecordError(
            f"{path}: has format {other[0]!r}, this version reads {FORMAT!r}; publish it again with this version."
        )
    if absent := [name for name in COLUMNS if name not in names]:
        raise RecordError(f"{path}: column{'s' * (len(absent) > 1)} {', '.join(absent)} missing; publish it again.")
    if not rows:
        raise RecordError(f"{path}: holds no row, so no run.")
    return rows


def _record(row: Row) -> RunRecord:
    """The record of one row, with one class set; what the file does not hold is unknown."""
    spec = build(RunSpec, {name: _spec_value(name, row[name]) for name in SPEC}, "its settings")
    if row["fingerprint"] != spec.hash:
        raise ConfigError(f"its settings give fingerprint '{spec.hash}', not {row['fingerprint']!r}; it was edited")
    score = _score(row)
    versions = _json("versions", row["versions"] or "null")
    if not isinstance(versions, dict | None):
        raise ConfigError(f"'versions' must be a mapping, got {row['versions'][:40]!r}")
    training = {key: _json(column, row[column]) for column, key in TRAINING.items() if row[column]}
    raw = {
        "spec": spec,
        "status": "ok",
        "scores": {row["class_set"]: score},
        "overrides": _json("overrides", row["overrides"]),
        "training": training,
        "evaluation_seconds": _json("evaluation_seconds", row["evaluation_seconds"]),
        "peak_memory_bytes": _json("peak_memory_bytes", row["peak_memory_bytes"] or "null"),
        "provenance": {
            "git": {"commit": row["commit"] or None, "dirty": _json("dirty", row["dirty"] or "null")},
            "versions": versions,
            "device": row["device"] or None,
            "machine": {"processor": row["processor"] or None},
            "finished": row["finished"] or None,
        },
    }
    record = build(RunRecord, raw, "the row")
    for name, metric in METRICS.items():
        computed = f"{metric.of(score):.{DIGITS}f}" if has(record, metric) else ""
        if not _is_close(row[name], computed):
            words = f"'{name}' is {row[name] or 'empty'}, but the counts and sums give {computed or 'none'}"
            raise ConfigError(f"{words}; it was edited")
    return record


def _is_close(one: str, other: str) -> bool:
    """Whether two cells are the same number but for its last digit, or both empty: spreadsheets drop zeros."""
    try:
        return one == other or abs(float(one) - float(other)) < 2 * 10**-DIGITS
    except ValueError:
        return False


def _spec_value(name: str, text: str) -> object:
    if name in ("shots", "seed", "options", "targets"):
        return _json(name, text)
    if name == "training":
        return _json(name, text or "null")
    return text


def _score(row: Row) -> Score:
    """Counts and sums of a row, which must agree with one another."""
    breakdown = None
    if any(row[column] for column in BREAKDOWN):
        values = {
            name: _json(column, row[column]) if name == "nll" else [_json(column, part) for part in row[column].split()]
            for column, name in BREAKDOWN.items()
        }
        breakdown = build(Breakdown, values, "its sums")
    counts = {name: _json(name, row[name]) for name in ("correct", "total", "classes")}
    return build(Score, counts | {"breakdown": breakdown}, "its counts")


def _json(name: str, text: str) -> object:
    try:
        return json.loads(text, parse_constant=lambda constant: None)
    except ValueError as error:
        raise ConfigError(f"'{name}' cannot be read: {text[:40]!r}") from error


def parse(arguments: list[str] | None) -> argparse.Namespace:
    summary, _, usage = (__doc__ or "").strip().partition("\n\n")  # python -OO leaves no text
    parser = Parser(prog="python -m tables.publish", description=summary, epilog=usage)
    parser.add_argument("folder", type=path_option, metavar="RESULTS", help="records, e.g. results/paper")
    parser.add_argument("--out", type=path_option, required=True, metavar="FILE", help="the CSV file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Write the file; exit code 0, or 2 with one message."""
    parsed = parse(arguments)
    return answer(lambda: _publish(parsed.folder, parsed.out))


def _publish(folder: Path, out: Path) -> int:
    records, problems = collect(folder)
    for problem in shorten(problems):
        sys.stderr.write(f"left out: {problem}\n")
    if not records:
        raise RecordError(f"{folder}: holds no record.")
    write_atomically(out, to_csv(records).encode())
    rows = sum(len(record.scores) for record in records)
    sys.stdout.write(f"Written: {out}: {rows} rows of {len(records)} runs\n")
    return 0


if __name__ == "__main__":
    in_utf8()
    sys.exit(main())
