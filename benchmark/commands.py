"""What `run_all.py` does: a plan, its runs, and what is rendered from their records."""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import transformers
from tqdm import tqdm

import tables.report
import tables.writers
from benchmark import records, stopping
from benchmark.arguments import make_request
from benchmark.calibrate import calibrate
from benchmark.config import RunSpec
from benchmark.data.survey import How
from benchmark.describe import describe, describe_cost, describe_forecast
from benchmark.device import cores, default_processes
from benchmark.doctor import examine
from benchmark.doctor_words import to_json, to_text
from benchmark.errors import ConfigError, RecordError
from benchmark.export import export
from benchmark.plan import Plan, is_small, make_plan
from benchmark.progress import Progress
from benchmark.records import RunRecord
from benchmark.tracking import Trackers, where_to_look
from benchmark.turns import OneByOne, under_way, units_of
from benchmark.workers import run_here, run_side_by_side
from benchmark.world import World, join, local_counter
from tables import claims, figures, gaps
from tables.aggregate import dataset_titles


def run(options: argparse.Namespace, *, began: float) -> int:
    """One call of the command line, that began when time.perf_counter() said so; returns its exit code."""
    transformers.utils.logging.disable_progress_bar()
    if options.doctor:
        return diagnose(options)
    check_doctor_options(options)
    if options.export:
        print("Written: " + ", ".join(map(str, export(options.export, options.out))))
        return 0
    world = None if options.plan or options.calibrate else join()
    request = make_request(options, local_rank=world.local_rank if world else 0)
    speaks = world is None or world.rank == 0
    plan = make_plan(request, fetch=options.calibrate or not options.plan)
    if speaks:
        print(describe(plan), flush=True)
    if options.calibrate:
        before = time.perf_counter() - began
        print(describe_forecast(calibrate(plan, processes=_processes(plan, options.processes), before=before)))
        return 0
    if options.plan:
        print(describe_cost(plan))
        return 0
    if plan.missing:
        records.check_writable(request.out)
    trackers = Trackers(request.track, request.out, say=lambda text: tqdm.write(text, file=sys.stderr))
    if plan.missing or world:
        execute(plan, world, processes=options.processes, on_record=trackers.tell)
    if not speaks:
        return 0
    code = finish(plan, std=options.std)
    return finish_tracking(plan, trackers) or code


def check_doctor_options(options: argparse.Namespace) -> None:
    """Refuse what only the doctor reads."""
    if given := [f"--{name}" for name in ("deep", "json") if getattr(options, name)]:
        raise ConfigError(f"{' and '.join(given)}: belongs to --doctor; add it, or leave {' and '.join(given)} out.")


def diagnose(options: argparse.Namespace) -> int:
    """Print what the doctor finds; 0 if the run would start, 1 if not."""
    request = make_request(options)
    bar = tqdm(unit=" files", leave=False, disable=not sys.stderr.isatty())

    def start(name: str, count: int) -> None:
        bar.reset(total=count)
        bar.set_description(name)

    how = How(deep=options.deep, processes=cores(), start=start, advance=bar.update)
    words = [word for word in options.words if word not in ("--doctor", "--deep", "--json")]
    with bar:
        processes = options.processes or default_processes(request.device)
        found = examine(request, words=words, processes=processes, how=how)
    print(to_json(found) if options.json else to_text(found))
    return 0 if found.starts else 1


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
    wanted = processes or 1 if world else _processes(plan, processes)
    progress = Progress(len(plan.missing), name=f"rank {world.rank}" if world else "", on_record=on_record)
    try:
        if world is not None:
            # the work is a child's: one that dies, for want of memory say, does not make the launcher end all others
            if plan.missing:
                run_side_by_side(plan, world.counter, progress, processes=wanted)
            if dead := world.wait_for_all(poll=stopping.check):
                print(f"error: rank {', '.join(map(str, dead))} is gone without a word.", file=sys.stderr)
        elif wanted > 1:
            with local_counter() as counter:
                run_side_by_side(plan, counter, progress, processes=wanted)
        else:
            run_here(plan, OneByOne(), progress)
    finally:
        progress.close()


def finish_tracking(plan: Plan, trackers: Trackers) -> int:
    """Tell trackers what they were not told yet, and the user where to look; 1 if some of it stays untold."""
    request = plan.request
    done = [spec for spec in plan.specs if records.is_done(spec, request.out)]
    untold = trackers.untold(done)
    for name in request.track:
        print(f"Tracker {name}: {len(done) - untold.get(name, 0)} runs. {where_to_look(name, request.out)}".rstrip())
    for name, count in untold.items():
        print(
            f"error: {count} of {len(done)} runs were not told to {name} ({trackers.lost[name]}). They are recorded; "
            "the same command tells them.",
            file=sys.stderr,
        )
    return 1 if untold else 0


def _processes(plan: Plan, wanted: int | None) -> int:
    """How many processes this one starts, 1 for none: as many as asked for, or as fit, but none without work."""
    missing = set(plan.missing)
    units = sum(not missing.isdisjoint(unit) for unit in units_of(plan))
    return max(1, min(units, wanted or (1 if is_small(plan) else default_processes(plan.request.device))))


def finish(plan: Plan, *, std: bool) -> int:
    """Render what is recorded, say what failed; 1 if anything did."""
    request = plan.request
    left = set(records.missing(plan.specs, request.out))
    elsewhere = set(under_way(sorted(left, key=RunSpec.label), request.out)) if left else set()
    left = set(records.missing(left - elsewhere, request.out))  # asked again: what was under way may be done by now
    done = [_recorded(plan, spec) for spec in plan.specs if spec not in left | elsewhere]
    if done:
        paths = tables.writers.write(
            done,
            request.out / request.suite.name,
            planned=plan.specs,
            std=std,
            published=request.suite.published,
            note=request.suite.note,
            titles=dataset_titles(),
        )
        print("Tables: " + (", ".join(map(str, paths)) or "none"))
        print("Report: " + ", ".join(map(str, write_report(plan, done, std=std))))
    if elsewhere:
        print(f"note: {len(elsewhere)} runs are under way in another process; the tables are without them.")
    if left:
        lost = sum(not records.failure_path(spec, request.out).is_file() for spec in left)
        told = f"{len(left)} of {len(plan.specs)} runs failed; tracebacks are in {request.out / 'failed'}."
        if lost:
            told += f" {lost} of them left none: their process was ended, for want of memory perhaps."
        print(f"error: {told} The same command runs them again.", file=sys.stderr)
    for problem in plan.broken.values():
        print(f"error: left out: {problem}", file=sys.stderr)
    return 1 if left or plan.broken else 0


def _recorded(plan: Plan, spec: RunSpec) -> RunRecord:
    """The record of a run of this plan; an equal spec is an equal run, whatever settings once led to it."""
    overrides = dict(plan.request.overrides.get(spec.method, {}))
    return replace(records.load(spec.record_path(plan.request.out)), overrides=overrides)


def write_report(plan: Plan, done: list[RunRecord], *, std: bool) -> list[Path]:
    """The suite's figures, claims and report: of this plan, and of what is stored of the protocols that it leaves out.

    What is stored of those may be no one table (settings tried in turn, say); then the report is of the plan alone and
    says why.
    """
    request = plan.request
    folder = request.out / request.suite.name
    stored, problems = records.collect(folder)
    failures, unread = gaps.failures_below(request.out, request.suite.name)
    of_plan = {records.failure_path(spec, request.out).relative_to(request.out).as_posix() for spec in plan.specs}
    current = [f for f in failures if f.path in of_plan or f.run.protocol not in plan.protocols]
    unread += [f"{f.path}: a run with other settings failed: {f.reason}" for f in failures if f not in current]
    others = [record for record in stored if record.spec.protocol not in plan.protocols]
    titles, note = dataset_titles(), request.suite.note

    def write(shown: list[RunRecord], left_out: list[str]) -> list[Path]:
        paths = tables.report.write(
            shown,
            folder,
            planned=[*plan.specs, *(record.spec for record in others if record in shown)],
            failures=current,
            left_out=left_out,
            std=std,
            published=request.suite.published,
            note=note,
            titles=titles,
        )
        figures.write(shown, folder, titles=titles, note=note, formats=("png",))
        return [*paths, claims.write(shown, folder, note=note)]

    try:
        return write([*done, *others], problems + unread)
    except RecordError as error:
        if not others:
            raise
        return write(done, [*problems, *unread, str(error)])
