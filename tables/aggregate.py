"""From records to numbers: an accuracy per run and class set, means over seeds, and what may be compared."""

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.common.config import RunSpec, read_yaml
from benchmark.common.files import REPOSITORY
from benchmark.errors import ConfigError, RecordError
from benchmark.records.metrics import accuracy_percent, mean, sample_std
from benchmark.records.record import RunRecord, Score

if TYPE_CHECKING:
    import pandas as pd

METHOD_ORDER = ("zero_shot", "coop", "cocoop", "kgcoop", "prograd", "copl")  # the paper's
AVERAGE = "average"  # stands where a dataset's name would; the published files call it so too
TRANSFERS = ("cross_dataset", "domain_generalization")  # protocols whose table has one source
SAME_FOR_ALL = ("suite", "backbone", "checkpoint", "precision")
SAME_FOR_A_CELL = ("template", "options", "training", "targets")  # a recipe may depend on dataset and shots

COLUMNS = ("protocol", "method", "dataset", "shots", "seed", "class_set", "accuracy", "correct", "total", "record")

Key = tuple[str, str, str]  # method, dataset or AVERAGE, column
Place = Callable[[RunSpec, str], tuple[str, str]]  # a run's class set -> dataset and column


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


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """All numbers of a table, before any is rounded.

    Attributes:
        datasets: in the table's order.
        averaged: those that AVERAGE is the mean of.
        columns: name to heading.
        seeds: each seed's own value; of an average, only for seeds that all its datasets have.
        values: what the table shows; of an average, `count` and `planned` are datasets.
        planned: how many seeds were meant.
    """

    methods: Sequence[str]
    datasets: Sequence[str]
    averaged: Sequence[str]
    columns: Mapping[str, str]
    seeds: Mapping[Key, Mapping[int, float]]
    values: Mapping[Key, Value]
    planned: Mapping[Key, int]


def commits(records: Iterable[RunRecord]) -> list[str]:
    """The commits that runs come from; one with changes says so."""
    found = [record.provenance.get("git") or {} for record in records]
    return sorted({f"{git.get('commit') or 'unknown'}{'+changes' if git.get('dirty') else ''}" for git in found})


def number_of_runs(records: Sequence[RunRecord]) -> str:
    """As captions say it."""
    return f"{len(records)} run{'s' * (len(records) != 1)}"


def dataset_titles() -> dict[str, str]:
    """Dataset to the name of its row, from both catalogues."""
    data = REPOSITORY / "benchmark" / "data"
    catalogues = (data / "catalog.yaml", data / "synthetic" / "catalog.yaml")
    return {name: entry["title"] for path in catalogues for name, entry in read_yaml(path).items()}


@cache
def method_titles() -> dict[str, str]:
    """Method to how tables call it, from the recipes of methods/; a recipe that cannot be read harms no other."""
    titles = {}
    for path in sorted((REPOSITORY / "methods").glob("*.yaml")):
        with suppress(ConfigError):
            titles[path.stem] = str(read_yaml(path).get("title", path.stem))
    return titles


def method_title(name: str) -> str:
    """How a method is called in headings; one that is not in methods/ by its name."""
    return method_titles().get(name, name)


def without_learning(records: Iterable[RunRecord]) -> set[str]:
    """Methods that learn nothing: any run of one says all, whatever its seed and number of shots."""
    return {record.spec.method for record in records if record.learns_nothing}


def loaded_note(records: Iterable[RunRecord]) -> str:
    """The sentence that says whose learned values came from files; empty if nobody's."""
    runs: dict[str, list[bool]] = {}
    for record in records:
        runs.setdefault(record.spec.method, []).append(bool(record.spec.loaded))
    told = [
        method_title(name) + ("" if all(runs[name]) else f" ({sum(runs[name])} of {len(runs[name])} runs)")
        for name in in_order(runs)
        if any(runs[name])
    ]
    return f"Loaded from files, not trained here: {', '.join(told)}." if told else ""


def headline(records: Sequence[RunRecord]) -> str:
    """The sentence that says on what, from which commit and when all of them were measured."""
    return (
        f"Suite {each_of(r.spec.suite for r in records)}: backbone {each_of(r.spec.backbone for r in records)}, "
        f"{each_of(r.spec.precision for r in records)}, seeds {each_of(r.spec.seed for r in records)}, "
        f"{number_of_runs(records)}, commit {', '.join(commits(records))}, {datetime.date.today().isoformat()}."
        f" {loaded_note(records)}"
    ).rstrip()


def each_of(values: Iterable[object]) -> str:
    """The different values, in order."""
    return ", ".join(map(str, sorted(set(values), key=lambda value: value if isinstance(value, int) else str(value))))


def to_percent(score: Score) -> float:
    """The accuracy of one class set, unrounded."""
    return accuracy_percent(score.correct, score.total)


def to_frame(records: Iterable[RunRecord]) -> "pd.DataFrame":
    """One row a run and class set: COLUMNS; accuracy in percent, unrounded, and the record's path below results."""
    import pandas as pd  # slow to import, and no table needs it

    rows = [
        (
            record.spec.protocol,
            record.spec.method,
            record.spec.dataset,
            record.spec.shots,
            record.spec.seed,
            class_set,
            to_percent(score),
            score.correct,
            score.total,
            record.spec.record_path(Path()).as_posix(),
        )
        for record in records
        for class_set, score in record.scores.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def values_over_seeds(values: Sequence[float], planned: int) -> Value:
    """Mean and sample deviation of one number a seed."""
    return Value(mean(values), sample_std(values), len(values), max(planned, len(values)))


def seeds_of(records: Iterable[RunRecord], place: Place) -> dict[Key, dict[int, float]]:
    """Each seed's accuracy, under the place where a table shows it."""
    cells: dict[Key, dict[int, float]] = {}
    for record in records:
        for class_set, score in record.scores.items():
            key = (record.spec.method, *place(record.spec, class_set))
            cells.setdefault(key, {})[record.spec.seed] = to_percent(score)
    return {key: dict(sorted(runs.items())) for key, runs in cells.items()}


def planned_of(
    specs: Iterable[RunSpec], class_sets: Callable[[RunSpec], Iterable[str]], place: Place
) -> dict[Key, int]:
    """The number of planned seeds, under the place where a table shows their value."""
    counts: dict[Key, int] = {}
    for spec in specs:
        for class_set in class_sets(spec):
            key = (spec.method, *place(spec, class_set))
            counts[key] = counts.get(key, 0) + 1
    return counts


def make_sheet(
    seeds: Mapping[Key, Mapping[int, float]],
    planned: Mapping[Key, int],
    *,
    methods: Iterable[str],
    datasets: Sequence[str],
    averaged: Sequence[str],
    columns: Mapping[str, str],
) -> Sheet:
    """Means over seeds, then over datasets."""
    methods = in_order(methods)
    seeds, counts = dict(seeds), {key: max(planned.get(key, 0), len(runs)) for key, runs in seeds.items()}
    values = {key: values_over_seeds(list(runs.values()), counts[key]) for key, runs in seeds.items()}
    for method in methods:
        for column in columns:
            there = [(method, dataset, column) for dataset in averaged if (method, dataset, column) in values]
            if not there:
                continue
            shared = set.intersection(*(set(seeds[key]) for key in there)) if len(there) == len(averaged) else ()
            each = {seed: mean([seeds[key][seed] for key in there]) for seed in sorted(shared)}
            whole = sum(values[key].complete for key in there)
            key = (method, AVERAGE, column)
            spread = sample_std(list(each.values())) if whole == len(averaged) else None
            values[key] = Value(mean([values[k].mean for k in there]), spread, whole, len(averaged))
            seeds[key], counts[key] = each, max(counts[k] for k in there)
    return Sheet(methods=methods, datasets=datasets, averaged=averaged, columns=columns, seeds=seeds, values=values,
                 planned=counts)  # fmt: skip


def in_order(methods: Iterable[str]) -> list[str]:
    """The paper's methods in its order, then others alphabetically."""
    found = set(methods)
    return [m for m in METHOD_ORDER if m in found] + sorted(found - set(METHOD_ORDER))


def check_alike(records: Sequence[RunRecord]) -> None:
    """Refuse to show side by side, in whatever protocols, what another backbone or precision measured.

    Raises:
        RecordError: two records differ; both are named, with what differs.
    """
    for record in records:
        _compare(records[0], record, SAME_FOR_ALL)


def check_comparable(records: Sequence[RunRecord]) -> None:
    """Refuse to mix what was not measured alike; shots may differ in few_shot alone, sources nowhere.

    Raises:
        RecordError: two records differ in what a table holds fixed; both are named, with what differs.
    """
    firsts: dict[tuple, RunRecord] = {}
    check_alike(records)
    for record in records:
        spec = record.spec
        _compare(records[0], record, ("protocol",))
        if spec.protocol != "few_shot":
            _compare(records[0], record, ("shots",))
        if spec.protocol in TRANSFERS:
            _compare(records[0], record, ("dataset",), called="source")
            if set(records[0].spec.targets) != set(spec.targets):
                _refuse(records[0], record, "targets", *(", ".join(r.spec.targets) for r in (records[0], record)))
        _compare(firsts.setdefault(("split", spec.dataset), record), record, ("split",))
        cell = (spec.method, spec.dataset, spec.shots)
        _compare(firsts.setdefault(cell, record), record, SAME_FOR_A_CELL)
        code = firsts.setdefault(("code", spec.method), record)
        _compare(code, record, ("plugin",), called=f"the file of '{spec.method}', which is no part of this repository")
        first = firsts.setdefault(("settings", spec.method), record)
        if first.overrides != record.overrides:
            _refuse(first, record, "the settings given by --set", first.overrides, record.overrides)
        if (again := firsts.setdefault((*cell, spec.seed), record)) is not record:
            _compare(again, record, ("loaded",), called="the file whose values were loaded")
            _refuse(again, record, "nothing that a table shows", "", "")


def _compare(one: RunRecord, other: RunRecord, names: Sequence[str], called: str = "") -> None:
    for name in names:
        first, second = getattr(one.spec, name), getattr(other.spec, name)
        if first != second:
            _refuse(one, other, called or name, *_unlike(first, second))


def _unlike(first: object, second: object) -> tuple[object, object]:
    """Two values; of two trainings or two mappings only the keys that they do not agree on, as text."""
    pair = [asdict(value) if is_dataclass(value) else value for value in (first, second)]
    if not all(isinstance(value, Mapping) for value in pair):
        return first, second
    keys = [key for key in {**pair[0], **pair[1]} if pair[0].get(key) != pair[1].get(key)]
    return tuple(", ".join(f"{key}={value.get(key)}" for key in keys) for value in pair)


def _refuse(one: RunRecord, other: RunRecord, what: str, first: object, second: object) -> None:
    first, second = (dict(each) if isinstance(each, Mapping) else each for each in (first, second))
    differ = f"they differ in {what} ({first} and {second})" if first != second else f"they differ in {what}"
    raise RecordError(
        f"{_name(one)} and {_name(other)} cannot stand in one table or figure: {differ}. "
        "Delete the one you do not mean, keep them in different folders (--out), or name what to show "
        "(--methods, --datasets, --source)."
    )


def _name(record: RunRecord) -> str:
    return record.spec.record_path("").as_posix()
