"""Read published values, with their sources, from the CSV files in reference/.

A row is shown with runs of the same backbone, shots and source; an empty cell is an unknown value. A published average
is over all datasets of the suite `paper`; for a transfer, without the source.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from benchmark.common.config import RunSpec, load_suite
from benchmark.common.files import shown
from benchmark.errors import ConfigError, did_you_mean, listed
from tables.aggregate import AVERAGE, Key

REFERENCE = Path(__file__).resolve().parent / "reference"
BACKBONES = {  # last part of a checkpoint's name -> its name in publications
    "clip-vit-base-patch16": "ViT-B/16",
    "clip-vit-base-patch32": "ViT-B/32",
    "clip-vit-large-patch14": "ViT-L/14",
}
COMMON = ("method", "variant", "backbone", "shots")  # the first columns of every file; `seen_in` is the last


@dataclass(frozen=True, kw_only=True)
class PublishedValues:
    """Published percentages for the cells of one table.

    Attributes:
        datasets: the datasets that a published average is over.
        file: their file.
        absent: the sentence that says that there are none.
    """

    values: Mapping[Key, float]
    datasets: frozenset[str]
    file: str
    absent: str


def published_base2new(spec: RunSpec, *, folder: Path = REFERENCE) -> PublishedValues:
    """Base, new and H by method and dataset, for the backbone and shots of a measured spec."""
    path = folder / "base2new.csv"
    rows = _rows(path, ("dataset",), ("base", "new", "h"))
    kept = [row for row in rows if _fits(row, spec) and _same_shots(row, spec.shots)]
    return _values(path, spec, load_suite("paper").datasets, {
        (row["method"], row["dataset"], column): row[column] for row in kept for column in ("base", "new", "h")
    })  # fmt: skip


def published_transfer(spec: RunSpec, *, folder: Path = REFERENCE) -> PublishedValues:
    """Accuracy by method and target, for the backbone, shots and source of a measured spec.

    A row without a source is of a method that learns nothing and fits any source, except for its average, whose
    datasets depend on the source.
    """
    path = folder / f"{spec.protocol}.csv"
    rows = _rows(path, ("source_dataset", "target_dataset"), ("accuracy",), may_be_empty=("source_dataset",))
    kept = [
        row
        for row in rows
        if _fits(row, spec)
        and _same_shots(row, spec.shots)
        and (row["source_dataset"] == spec.dataset or (not row["source_dataset"] and row["target_dataset"] != AVERAGE))
    ]
    suite = load_suite("paper").datasets
    averaged = suite if spec.protocol == "cross_dataset" else [row["target_dataset"] for row in kept]
    return _values(path, spec, [name for name in averaged if name != spec.dataset], {
        (row["method"], row["target_dataset"], "accuracy"): row["accuracy"] for row in kept
    })  # fmt: skip


def published_few_shot(spec: RunSpec, columns: Iterable[str], *, folder: Path = REFERENCE) -> PublishedValues:
    """Accuracy by method, dataset and shots, for the backbone of a measured spec; that of 0 shots fits any column."""
    path = folder / "few_shot.csv"
    rows = _rows(path, ("dataset",), ("accuracy",))
    columns = list(columns)
    values = {
        (row["method"], row["dataset"], column): row["accuracy"]
        for row in rows
        if _fits(row, spec)
        for column in columns
        if _same_shots(row, int(column))
    }
    return _values(path, spec, load_suite("paper").datasets, values)


def _values(path: Path, spec: RunSpec, datasets: Iterable[str], values: Mapping[Key, float | None]) -> PublishedValues:
    return PublishedValues(
        values={key: value for key, value in values.items() if value is not None},
        datasets=frozenset(datasets) - {AVERAGE},
        file=shown(path),
        absent=f"Published values: {shown(path)} has none for {spec.backbone}, these shots and this source.",
    )


def _fits(row: Mapping[str, object], spec: RunSpec) -> bool:
    """Whether a row is of the measured backbone, by its own name or its name in publications."""
    name = PurePath(spec.backbone).name
    return row["variant"] == "paper" and row["backbone"] in (spec.backbone, BACKBONES.get(name))


def _same_shots(row: Mapping[str, object], shots: int) -> bool:
    """Whether a row is of this number of shots; 0, of a method that learns nothing, fits any number."""
    return row["shots"] in (0, shots)


def _rows(
    path: Path, names: Sequence[str], numbers: Sequence[str], *, may_be_empty: Sequence[str] = ()
) -> list[dict[str, object]]:
    """The validated rows of a reference file; a second source may repeat a row with the same numbers.

    Raises:
        ConfigError: unknown or missing columns, invalid numbers, repeated rows; all problems, with their lines.
    """
    keys = (*COMMON, *names)
    columns = (*keys, *numbers, "seen_in")
    rows, seen, problems = [], {}, []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(reader.fieldnames or [], columns)
            for raw in reader:
                row, wrong = _checked(raw, columns, numbers, may_be_empty)
                key = tuple(row.get(name) for name in keys)
                if not wrong and (first := seen.setdefault(key, (reader.line_num, row)))[1] is not row:
                    confirms = first[1]["seen_in"] != row["seen_in"] and all(first[1][n] == row[n] for n in numbers)
                    wrong = [] if confirms else [f"repeats line {first[0]}: {', '.join(map(str, key))}"]
                problems += [f"line {reader.line_num}: {problem}" for problem in wrong]
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error, ConfigError) as error:
        reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else error
        raise ConfigError(f"{shown(path)}: {reason}") from error
    if problems:
        raise ConfigError(listed(shown(path), problems, "Correct or delete these lines; leave an unknown value empty."))
    return rows


def _check_header(found: Sequence[str], columns: Sequence[str]) -> None:
    problems = [f"column '{name}' is unknown. {did_you_mean(name, columns)}" for name in found if name not in columns]
    problems += [f"column '{name}' is missing" for name in columns if name not in found]
    problems += [f"column '{name}' is repeated" for name in sorted({n for n in found if list(found).count(n) > 1})]
    if problems:
        raise ConfigError(listed("line 1", problems))


def _checked(
    raw: Mapping[str | None, str | None], columns: Sequence[str], numbers: Sequence[str], may_be_empty: Sequence[str]
) -> tuple[dict[str, object], list[str]]:
    """A row with parsed numbers, and its problems."""
    if None in raw or None in raw.values():
        return {}, [f"must have {len(columns)} cells, one per column; quote a cell that contains a comma"]
    row: dict[str, object] = {name: text.strip() for name, text in raw.items()}
    empty = [name for name in columns if not row[name] and name not in (*numbers, *may_be_empty)]
    problems = [f"'{name}' is empty" for name in empty]
    for name in ("shots", *numbers):
        text = row[name]
        if name in empty:
            continue
        row[name] = _number(text, whole=name == "shots")
        if row[name] is None and text:
            allowed = "a whole number, 0 or more" if name == "shots" else "a percentage from 0 to 100"
            problems.append(f"'{name}' is {text!r}; it must be {allowed}")
    return row, problems


def _number(text: str, *, whole: bool) -> float | None:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        return None
    return value if (value >= 0 if whole else math.isfinite(value) and 0 <= value <= 100) else None
