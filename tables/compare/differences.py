"""Match the runs of two results and find what differs: accuracies by cell, settings, versions, commits, machines."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmark.common.config import canonical_json
from benchmark.errors import RecordError
from benchmark.records.metrics import mean, sample_std
from benchmark.records.record import RunRecord
from tables.aggregate import commits, to_percent
from tables.report.missing_runs import Run, run_of

ABSENT = "—"
IGNORED = ("seed", "suite", "protocol", "method", "dataset", "shots")  # of a spec: what runs are matched by

Place = tuple[str, str, str, int, str]  # protocol, method, dataset, shots, class set
Runs = Mapping[Run, RunRecord]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One cell: a class set of the runs that differ in their seed, in the seeds that both sides have.

    Attributes:
        by_seed: seed to the accuracies of A and B in percent.
        same_sums: whether log-likelihood and confidences are the same too; None if a side has none.
    """

    place: Place
    by_seed: Mapping[int, tuple[float, float]]
    same_sums: bool | None

    @property
    def points(self) -> dict[int, float]:
        """Seed to B - A in points, without the rounding of float64, so that half a point is not above 0.5."""
        return {seed: round(b - a, 9) for seed, (a, b) in self.by_seed.items()}

    @property
    def largest(self) -> float:
        """The largest distance of a seed in points."""
        return max(map(abs, self.points.values()))

    @property
    def spread(self) -> float | None:
        """The root mean square of the sample standard deviations of A and B over seeds; None for one seed."""
        deviations = [sample_std(values) for values in zip(*self.by_seed.values(), strict=True)]
        return None if None in deviations else math.sqrt(mean([each**2 for each in deviations]))

    @property
    def verdict(self) -> str:
        """Whether the mean difference is within the spread over seeds."""
        if self.spread is None:
            return ABSENT
        return "within" if abs(mean(list(self.points.values()))) <= self.spread else "outside"


def by_run(records: Iterable[RunRecord], name: str) -> dict[Run, RunRecord]:
    """The records of one folder by what they are matched by.

    Raises:
        RecordError: two records of one run, with other settings for example.
    """
    runs: dict[Run, RunRecord] = {}
    for record in records:
        first = runs.setdefault(run_of(record.spec), record)
        if first is not record:
            pair = " and ".join(each.spec.record_path("").as_posix() for each in (first, record))
            raise RecordError(f"{name}: holds two runs of {record.spec.label()}: {pair}. Remove one of them.")
    return runs


def differences(a: Runs, b: Runs) -> list[Difference]:
    """The cells that both sides have, in the order of A."""
    cells: dict[Place, dict[int, tuple[float, float]]] = {}
    sums: dict[Place, list[bool | None]] = {}
    for run in (run for run in a if run in b):
        for class_set in (name for name in a[run].scores if name in b[run].scores):
            pair = [side[run].scores[class_set] for side in (a, b)]
            place = (*run[:-1], class_set)
            cells.setdefault(place, {})[run.seed] = tuple(map(to_percent, pair))
            known = all(score.breakdown for score in pair)
            sums.setdefault(place, []).append(pair[0] == pair[1] if known else None)
    return [
        Difference(place=place, by_seed=dict(sorted(cells[place].items())),
                   same_sums=None if None in sums[place] else all(sums[place]))
        for place in cells
    ]  # fmt: skip


def settings_of(record: RunRecord) -> dict[str, object]:
    """What was set and what it was computed from; options, training and targets by their keys."""
    found: dict[str, object] = {}
    for key, value in record.spec.to_json().items():
        if key in ("options", "training", "targets"):
            found |= {f"{key}.{inner}": each for inner, each in (value or {}).items()}
        elif key not in IGNORED:
            found[key] = value
    return found | {f"--set {key}": value for key, value in record.overrides.items()}


def origin_of(record: RunRecord) -> dict[str, object]:
    """Versions, commit and machine; None where the record does not say."""
    found, machine = record.provenance, record.provenance.get("machine") or {}
    versions = {f"version of {name}": version for name, version in (found.get("versions") or {}).items()}
    return versions | {
        "commit": commits([record])[0],
        "device": found.get("device"),
        "threads": found.get("threads"),
        "processor": machine.get("processor"),
        "vector units": machine.get("instructions"),
    }


def setting_differences(a: Runs, b: Runs) -> dict[tuple[str, str, str], list[Run]]:
    """(what, value in A, value in B) to the runs of both sides that differ so; an unknown origin is no difference."""
    found: dict[tuple[str, str, str], list[Run]] = {}
    for run in (run for run in a if run in b):
        one, other = settings_of(a[run]), settings_of(b[run])
        pairs = {key: (one.get(key), other.get(key)) for key in dict.fromkeys([*one, *other])}
        one, other = origin_of(a[run]), origin_of(b[run])
        pairs |= {key: (one[key], other[key]) for key in one if None not in (one[key], other.get(key))}
        for key, pair in pairs.items():
            if pair[0] != pair[1]:
                found.setdefault((key, *map(_text, pair)), []).append(run)
    return found


def _text(value: object) -> str:
    if value is None or value == "":
        return ABSENT
    return value if isinstance(value, str) else canonical_json(value)
