"""From records to numbers: an accuracy per run and class set, means over seeds, and what may be compared."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.config import RunSpec
from benchmark.errors import RecordError
from benchmark.metrics import accuracy_percent, mean, sample_std
from benchmark.records import RunRecord

METHOD_ORDER = ("zero_shot", "coop", "cocoop", "kgcoop", "prograd", "copl")
METHOD_TITLES = {"zero_shot": "CLIP", "coop": "CoOp", "cocoop": "CoCoOp", "kgcoop": "KgCoOp", "prograd": "ProGrad",
                 "copl": "CoPL"}  # fmt: skip
SAME_FOR_ALL = ("suite", "protocol", "shots", "backbone", "checkpoint", "precision")
SAME_FOR_A_CELL = ("split", "template", "options", "training")


@dataclass(frozen=True)
class Value:
    """A measured quantity: its mean and sample deviation over seeds, and how many of the planned ones there are."""

    mean: float
    std: float | None
    count: int
    planned: int

    @property
    def complete(self) -> bool:
        """Whether every planned part of it was measured."""
        return self.count >= self.planned


def to_frame(records: Iterable[RunRecord]) -> pd.DataFrame:
    """One row a run and class set: method, dataset, class_set, seed, accuracy in percent, unrounded."""
    rows = [
        {
            "method": record.spec.method,
            "dataset": record.spec.dataset,
            "class_set": class_set,
            "seed": record.spec.seed,
            "accuracy": accuracy_percent(score.correct, score.total),
        }
        for record in records
        for class_set, score in record.scores.items()
    ]
    return pd.DataFrame(rows, columns=["method", "dataset", "class_set", "seed", "accuracy"])


def values_over_seeds(values: Sequence[float], planned: int) -> Value:
    """Mean and sample deviation of one number a seed."""
    return Value(mean(values), sample_std(values), len(values), max(planned, len(values)))


def planned_seeds(specs: Iterable[RunSpec]) -> dict[tuple[str, str], int]:
    """(method, dataset) to the number of planned seeds."""
    counts: dict[tuple[str, str], int] = {}
    for spec in specs:
        counts[spec.method, spec.dataset] = counts.get((spec.method, spec.dataset), 0) + 1
    return counts


def in_order(methods: Iterable[str]) -> list[str]:
    """The paper's methods in its order, then others alphabetically."""
    found = set(methods)
    return [m for m in METHOD_ORDER if m in found] + sorted(found - set(METHOD_ORDER))


def check_comparable(records: Sequence[RunRecord]) -> None:
    """Refuse to mix what was not measured alike.

    Raises:
        RecordError: two records differ in what a table holds fixed; both are named, with what differs.
    """
    for record in records:
        _compare(records[0], record, SAME_FOR_ALL)
    first_of_cell: dict[tuple[str, str], RunRecord] = {}
    first_of_method: dict[str, RunRecord] = {}
    seen: dict[tuple[str, str, int], RunRecord] = {}
    for record in records:
        spec = record.spec
        _compare(first_of_cell.setdefault((spec.method, spec.dataset), record), record, SAME_FOR_A_CELL)
        first = first_of_method.setdefault(spec.method, record)
        if first.overrides != record.overrides:
            _refuse(first, record, "the settings given by --set", first.overrides, record.overrides)
        if (again := seen.setdefault((spec.method, spec.dataset, spec.seed), record)) is not record:
            _refuse(again, record, "nothing that a table shows", "", "")


def _compare(one: RunRecord, other: RunRecord, names: Sequence[str]) -> None:
    for name in names:
        first, second = getattr(one.spec, name), getattr(other.spec, name)
        if first != second:
            _refuse(one, other, name, first, second)


def _refuse(one: RunRecord, other: RunRecord, what: str, first: object, second: object) -> None:
    raise RecordError(
        f"{_name(one)} and {_name(other)} cannot stand in one table: they differ in {what} ({first} and {second}). "
        "Delete the one you do not mean, keep them in different folders (--out), or name what to show "
        "(--methods, --datasets)."
    )


def _name(record: RunRecord) -> str:
    return record.spec.record_path("").as_posix()
