"""Do the missing runs of a plan, in one process or several, and collect what is recorded."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.clip.config import read_config
from benchmark.common import shutdown
from benchmark.common.config import RunSpec
from benchmark.planning.plan import Plan, is_small
from benchmark.planning.planned_run import PlannedRun
from benchmark.records import store
from benchmark.records.record import RunRecord
from benchmark.running.device import default_processes
from benchmark.running.launcher import LaunchedProcess, local_counter
from benchmark.running.pool import run_here, run_in_workers
from benchmark.running.progress import Progress
from benchmark.running.queue import even_share, under_way, units_of, view_length


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a plan.

    Attributes:
        records: of the finished runs, in the order of the plan.
        elsewhere: number of runs that another command is doing.
        failed: a message with the number of failed runs and where their errors are; empty if there are none.
    """

    records: list[RunRecord]
    elsewhere: int
    failed: str


def execute(
    plan: Plan,
    launched: LaunchedProcess | None,
    *,
    processes: int | None,
    on_record: Callable[[Path], None] = lambda path: None,
) -> None:
    """Do the missing runs: in this process, in workers, or together with the processes that a launcher started.

    Args:
        on_record: called with the path of each record that this process or one of its workers wrote.
    Raises:
        Terminated: this process was asked to end.
        StoreLostError: the process of rank 0 is gone.
    """
    settings, missing = plan.settings, len(plan.missing)
    wanted = processes or 1 if launched else processes_of(plan, processes)
    units = _units(plan, launched, wanted)
    progress = Progress(missing, name=f"rank {launched.rank}" if launched else "", on_record=on_record)
    try:
        if launched is not None:
            # a worker does the runs: if it dies, out of memory for example, the launcher does not end all processes
            if missing:
                run_in_workers(settings, units, launched.counter, progress, processes=wanted)
            if dead := launched.wait_for_all(poll=shutdown.check):
                progress.note(f"error: rank {', '.join(map(str, dead))} ended without an answer.")
        elif wanted > 1:
            with local_counter() as counter:
                run_in_workers(settings, units, counter, progress, processes=wanted)
        else:
            run_here(settings, units, itertools.count().__next__, progress)
    finally:
        progress.close()


def processes_of(plan: Plan, wanted: int | None) -> int:
    """The number of worker processes, 1 for none: `wanted` or as many as fit into memory; at most one for each unit."""
    default = min(default_processes(plan.settings.device), plan.side_by_side)
    wanted = wanted or (1 if is_small(plan.missing) else default)
    units = sum(any(run.missing for run in unit) for unit in _units(plan, None, wanted))
    return max(1, min(units, wanted))


def _units(plan: Plan, launched: LaunchedProcess | None, processes: int) -> list[list[PlannedRun]]:
    """The units of the queue for so many processes, or as many of each launched one; without lockstep single seeds.

    Launched processes agree on the share, since those that start late may find runs recorded.
    """
    backbone = plan.settings.backbone
    view = view_length(read_config(backbone.folder, backbone.name)) if backbone.folder else 0.0
    share = even_share(plan.runs, processes * (launched.size if launched else 1), view=view)
    if not plan.settings.lockstep:
        share = 0.0
    return units_of(plan.runs, view=view, longest=launched.agree("share", share) if launched else share)


def outcome_of(plan: Plan) -> Outcome:
    """Collect what is recorded of a plan by now, and what is not."""
    out = plan.settings.out
    records = {spec: store.find(spec, out) for spec in plan.specs}
    left = {spec for spec, record in records.items() if record is None}
    elsewhere = set(under_way(sorted(left, key=RunSpec.label), out)) if left else set()
    records |= {spec: store.find(spec, out) for spec in left - elsewhere}  # what was running before may be finished
    left = {spec for spec in left - elsewhere if records[spec] is None}
    failed = ""
    if left:
        failed = f"{len(left)} of {len(plan.specs)} runs failed; tracebacks are in {out / 'failed'}."
        if lost := sum(not store.failure_path(spec, out).is_file() for spec in left):
            failed += f" {lost} of them left none: their process was killed, perhaps out of memory."
    # with the overrides of this plan: other options may once have led to an equal spec
    done = [replace(records[run.spec], overrides=dict(run.overrides)) for run in plan.runs if records[run.spec]]
    return Outcome(records=done, elsewhere=len(elsewhere), failed=failed)
