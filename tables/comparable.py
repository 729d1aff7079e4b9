"""Refuse records that cannot be in one table: they differ in what its cells keep fixed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass

from benchmark.errors import RecordError
from benchmark.records.record import RunRecord
from tables.aggregate import TRANSFERS

SAME_FOR_ALL = ("suite", "backbone", "checkpoint", "precision")
SAME_FOR_A_CELL = ("template", "options", "training", "targets")  # a recipe may depend on dataset and shots


def check_same_setup(records: Sequence[RunRecord]) -> None:
    """Refuse records, of any protocols, that differ in SAME_FOR_ALL, or in the views that they were trained on.

    Raises:
        RecordError: two records differ; names both and what differs.
    """
    for record in records:
        _compare(records[0], record, SAME_FOR_ALL)
    trained = [record for record in records if record.spec.training is not None]
    for record in trained:
        if record.spec.training.views != trained[0].spec.training.views:
            views = (each.spec.training.views or "a new one each epoch" for each in (trained[0], record))
            _refuse(trained[0], record, "the views of a training image", *views)


def check_comparable(records: Sequence[RunRecord]) -> None:
    """Refuse records that differ in what a table keeps fixed; shots may differ in few_shot only.

    Raises:
        RecordError: two records differ; names both and what differs.
    """
    firsts: dict[tuple, RunRecord] = {}
    tested: dict[str, tuple[RunRecord, str]] = {}
    check_same_setup(records)
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
        if spec.images:
            content = spec.images.partition("+")[2]
            seen, known = tested.setdefault(spec.dataset, (record, content))
            if known != content:
                _refuse(seen, record, "the content of their test images", known, content)
        cell = (spec.method, spec.dataset, spec.shots)
        _compare(firsts.setdefault(cell, record), record, SAME_FOR_A_CELL)
        code = firsts.setdefault(("code", spec.method), record)
        _compare(code, record, ("plugin",), called=f"the plugin file of '{spec.method}'")
        first = firsts.setdefault(("settings", spec.method), record)
        if first.overrides != record.overrides:
            _refuse(first, record, "the settings given by --set", first.overrides, record.overrides)
        if (again := firsts.setdefault((*cell, spec.seed), record)) is not record:
            _compare(again, record, ("loaded",), called="the loaded file")
            _compare(again, record, ("images",), called="the content of their images")
            _refuse(again, record, "nothing that a table shows", "", "")


def _compare(one: RunRecord, other: RunRecord, names: Sequence[str], called: str = "") -> None:
    first, second = vars(one.spec), vars(other.spec)
    for name in names:
        if first[name] != second[name]:
            _refuse(one, other, called or name, *_differences(first[name], second[name]))


def _differences(first: object, second: object) -> tuple[object, object]:
    """Two values; of two dataclasses or mappings, only the keys that differ, as text."""
    pair = [asdict(value) if is_dataclass(value) else value for value in (first, second)]
    if not all(isinstance(value, Mapping) for value in pair):
        return first, second
    keys = [key for key in {**pair[0], **pair[1]} if pair[0].get(key) != pair[1].get(key)]
    return tuple(", ".join(f"{key}={value.get(key)}" for key in keys) for value in pair)


def _refuse(one: RunRecord, other: RunRecord, what: str, first: object, second: object) -> None:
    first, second = (dict(each) if isinstance(each, Mapping) else each for each in (first, second))
    differ = f"they differ in {what} ({first} and {second})" if first != second else f"they differ in {what}"
    raise RecordError(
        f"{_name(one)} and {_name(other)} cannot be in one table or figure: {differ}. "
        "Delete one of them, keep them in different folders (--out), or select what to show "
        "(--methods, --datasets, --source)."
    )


def _name(record: RunRecord) -> str:
    return record.spec.record_path("").as_posix()
