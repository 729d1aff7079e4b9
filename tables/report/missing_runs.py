"""Find failed runs with their reasons, and runs without a record."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmark.common.config import FAILED, RunSpec
from benchmark.errors import RecordError
from benchmark.records.record import RunRecord
from benchmark.records.store import load
from tables.aggregate import untrained_methods


class Run(NamedTuple):
    """The parts of a spec that identify a run for a reader."""

    protocol: str
    method: str
    dataset: str
    shots: int
    seed: int


@dataclass(frozen=True)
class Failure:
    """A failed run, the line that states the reason, and the file with the traceback."""

    run: Run
    reason: str
    path: str


def run_of(spec: RunSpec) -> Run:
    """The Run of a spec."""
    return Run(*(getattr(spec, name) for name in Run._fields))


def missing(records: Iterable[RunRecord], planned: Iterable[RunSpec] | None) -> list[Run]:
    """Planned runs without a record; without a plan, the gaps in the grid that the records of a protocol span."""
    records = list(records)
    specs, untrained = [record.spec for record in records], untrained_methods(records)
    if planned is not None:
        done = set(specs)
        return [run_of(spec) for spec in planned if spec not in done]
    gaps = []
    for protocol in dict.fromkeys(spec.protocol for spec in specs):
        own = [spec for spec in specs if spec.protocol == protocol]
        datasets, shots, seeds = (dict.fromkeys(getattr(s, name) for s in own) for name in ("dataset", "shots", "seed"))
        for method in dict.fromkeys(spec.method for spec in own):
            found = {run_of(spec) for spec in own if spec.method == method}
            wanted = [Run(protocol, method, d, k, s) for d in datasets for k in shots for s in seeds]
            if method in untrained:  # one run per dataset is enough
                recorded = {run.dataset for run in found}
                found = {run for run in wanted if run.dataset in recorded}
            gaps += [run for run in wanted if run not in found]
    return gaps


def failures_below(results: Path, suite: str) -> tuple[list[Failure], list[str]]:
    """The failed runs of a suite, ordered by path, and the messages about unreadable files."""
    failures, problems = [], []
    for path in sorted((results / FAILED / suite).rglob("*.json")):
        try:
            record = load(path)
        except RecordError as error:
            problems.append(str(error))
            continue
        reason = reason_of(record.error or "")
        failures.append(Failure(run_of(record.spec), reason, path.relative_to(results).as_posix()))
    return failures, problems


def reason_of(error: str) -> str:
    """The first line of a message, or the line of the last exception in a traceback."""
    lines = [line for line in error.splitlines() if line.strip()] or ["no message"]
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback ")]
    after = lines[starts[-1] + 1 :] if starts else lines
    return next((line for line in after if not line.startswith(" ")), lines[-1])
