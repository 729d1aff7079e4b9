"""Runs that are not there: those that failed, with their reason, and those that have no record."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmark.common.config import FAILED, RunSpec
from benchmark.errors import RecordError
from benchmark.records.record import RunRecord
from benchmark.records.store import load
from tables.aggregate import without_learning


class Run(NamedTuple):
    """What a reader knows a run by."""

    protocol: str
    method: str
    dataset: str
    shots: int
    seed: int


@dataclass(frozen=True)
class Failure:
    """A run that failed: what it was, the line that says why, and the file with its traceback."""

    run: Run
    reason: str
    path: str


def run_of(spec: RunSpec) -> Run:
    """The part of a spec that a reader knows it by."""
    return Run(*(getattr(spec, name) for name in Run._fields))


def missing(records: Iterable[RunRecord], planned: Iterable[RunSpec] | None) -> list[Run]:
    """What is planned and has no record; without a plan, the gaps in the grid that the records of a protocol span."""
    records = list(records)
    specs, one_says_all = [record.spec for record in records], without_learning(records)
    if planned is not None:
        done = set(specs)
        return [run_of(spec) for spec in planned if spec not in done]
    gaps = []
    for protocol in dict.fromkeys(spec.protocol for spec in specs):
        own = [spec for spec in specs if spec.protocol == protocol]
        datasets, shots, seeds = (dict.fromkeys(getattr(s, name) for s in own) for name in ("dataset", "shots", "seed"))
        for method in dict.fromkeys(spec.method for spec in own):
            there = {run_of(spec) for spec in own if spec.method == method}
            wanted = [Run(protocol, method, d, k, s) for d in datasets for k in shots for s in seeds]
            if method in one_says_all:  # of a dataset
                there = {run for run in wanted if run.dataset in {each.dataset for each in there}}
            gaps += [run for run in wanted if run not in there]
    return gaps


def failures_below(results: Path, suite: str) -> tuple[list[Failure], list[str]]:
    """The failed runs of a suite, by path, and what was wrong with files that cannot be read."""
    failures, problems = [], []
    for path in sorted((results / FAILED / suite).rglob("*.json")):
        try:
            record = load(path)
        except RecordError as error:
            problems.append(str(error))
            continue
        place = path.relative_to(results).as_posix()
        failures.append(Failure(run_of(record.spec), reason_of(record.error or ""), place))
    return failures, problems


def reason_of(error: str) -> str:
    """The line that says what went wrong: a message's first, a traceback's line of the last exception."""
    lines = [line for line in error.splitlines() if line.strip()] or ["no message"]
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback ")]
    after = lines[starts[-1] + 1 :] if starts else lines
    return next((line for line in after if not line.startswith(" ")), lines[-1])
