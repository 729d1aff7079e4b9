"""What is missing of a plan done, wherever its processes are; and what is recorded then."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.common import shutdown
from benchmark.common.config import RunSpec
from benchmark.planning.plan import Plan, is_small
from benchmark.records import store
from benchmark.records.record import RunRecord
from benchmark.running.device import default_processes
from benchmark.running.launcher import World, local_counter
from benchmark.running.pool import run_here, run_side_by_side
from benchmark.running.progress import Progress
from benchmark.running.queue import OneByOne, under_way, units_of


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a plan.

    Attributes:
        records: of the runs that are done, in the plan's order.
        elsewhere: how many another command has under way.
        failed: how many failed and where to look, in words; empty if none.
    """

    records: list[RunRecord]
    elsewhere: int
    failed: str


def execute(
    plan: Plan, world: World | None, *, processes: int | None, on_record: Callable[[Path], None] = lambda path: None
) -> None:
    """Do what is missing: here, or in processes side by side, or together with those that a launcher started.

    Args:
        on_record: told of each record that this process or one that it starts has written.
    Raises:
        Terminated: this process was asked to end.
        StoreLostError: the process of rank 0 is gone.
    """
    wanted = processes or 1 if world else processes_of(plan, processes)
    progress = Progress(len(plan.missing), name=f"rank {world.rank}" if world else "", on_record=on_record)
    try:
        if world is not None:
            # the work is a child's: one that dies, for want of memory say, does not make the launcher end all others
            if plan.missing:
                run_side_by_side(plan, world.counter, progress, processes=wanted)
            if dead := world.wait_for_all(poll=shutdown.check):
                progress.note(f"error: rank {', '.join(map(str, dead))} is gone without a word.")
        elif wanted > 1:
            with local_counter() as counter:
                run_side_by_side(plan, counter, progress, processes=wanted)
        else:
            run_here(plan, OneByOne(), progress)
    finally:
        progress.close()


def processes_of(plan: Plan, wanted: int | None) -> int:
    """How many processes this one starts, 1 for none: as many as asked for, or as fit, but none without work."""
    missing = set(plan.missing)
    units = sum(not missing.isdisjoint(unit) for unit in units_of(plan))
    return max(1, min(units, wanted or (1 if is_small(plan) else default_processes(plan.request.device))))


def outcome_of(plan: Plan) -> Outcome:
    """What is recorded of a plan by now, and what is not."""
    out = plan.request.out
    left = set(store.missing(plan.specs, out))
    elsewhere = set(under_way(sorted(left, key=RunSpec.label), out)) if left else set()
    left = set(store.missing(left - elsewhere, out))  # asked again: what was under way may be done by now
    told = ""
    if left:
        told = f"{len(left)} of {len(plan.specs)} runs failed; tracebacks are in {out / 'failed'}."
        if lost := sum(not store.failure_path(spec, out).is_file() for spec in left):
            told += f" {lost} of them left none: their process was ended, for want of memory perhaps."
    done = [_recorded(plan, spec) for spec in plan.specs if spec not in left | elsewhere]
    return Outcome(records=done, elsewhere=len(elsewhere), failed=told)


def _recorded(plan: Plan, spec: RunSpec) -> RunRecord:
    """The record of a run of this plan; an equal spec is an equal run, whatever settings once led to it."""
    overrides = dict(plan.request.overrides.get(spec.method, {}))
    return replace(store.load(spec.record_path(plan.request.out)), overrides=overrides)
