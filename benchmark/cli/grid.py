"""Run what is missing of a plan, then write tables, figures and the report from the records."""

import sys
from pathlib import Path

from tqdm import tqdm

from benchmark.errors import RecordError
from benchmark.planning.plan import Plan
from benchmark.planning.request import Request
from benchmark.records import store
from benchmark.records.record import RunRecord
from benchmark.records.trackers import Trackers, where_to_look
from benchmark.running.execute import Outcome, execute, outcome_of
from benchmark.running.launcher import LaunchedProcess
from benchmark.running.queue import locks_on
from tables.rendering.options import TableOptions


def run_grid(plan: Plan, world: LaunchedProcess | None, *, processes: int | None, std: bool) -> int:
    """Returns the exit code: 1 if a run or a tracker failed, else 0."""
    trackers = do_missing(plan, world, processes=processes)
    if world and world.rank != 0:
        return 0
    outcome = outcome_of(plan)
    code = finish(plan, outcome, std=std)
    return finish_tracking(plan.request, outcome, trackers) or code


def do_missing(plan: Plan, world: LaunchedProcess | None, *, processes: int | None) -> Trackers:
    """Do the missing runs of a plan; returns the trackers that logged them.

    Raises:
        RecordError: records cannot be written; nothing ran.
    """
    request = plan.request
    trackers = Trackers(request.track, request.out, say=lambda text: tqdm.write(text, file=sys.stderr))
    if plan.missing:
        store.check_writable(request.out)
        locks_on(request.out.resolve())  # can be opened
    if plan.missing or world:
        execute(plan, world, processes=processes, on_record=trackers.log)
    return trackers


def finish_tracking(request: Request, outcome: Outcome, trackers: Trackers) -> int:
    """Log what is not logged yet, and print where to look; returns 1 if something could not be logged."""
    problems = trackers.finish(outcome.records)
    runs = f"{len(outcome.records)} run{'s' if len(outcome.records) != 1 else ''}"
    for name in request.track:
        if name not in trackers.failed:
            print(f"Tracker {name}: {runs}. {where_to_look(name, request.out)}".rstrip())
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def finish(plan: Plan, outcome: Outcome, *, std: bool) -> int:
    """Write tables and report, and print what failed; returns 1 if something did."""
    request, done = plan.request, outcome.records
    if done:
        from tables.protocols import writers  # here: pandas and matplotlib are not needed while runs compute

        options = TableOptions.of_suite(request.suite, std=std)
        paths = writers.write(done, request.out / request.suite.name, options, planned=plan.specs)
        print("Tables: " + (", ".join(map(str, paths)) or "none"))
        print("Report: " + ", ".join(map(str, write_report(plan, done, std=std))))
    if outcome.elsewhere:
        count = f"{outcome.elsewhere} of {len(plan.specs)}"
        print(f"note: {count} runs are under way in another process; the tables are without them.")
    if outcome.failed:
        print(f"error: {outcome.failed} The same command runs them again.", file=sys.stderr)
    for problem in plan.broken.values():
        print(f"error: left out: {problem}", file=sys.stderr)
    return 1 if outcome.failed or plan.broken else 0


def write_report(plan: Plan, done: list[RunRecord], *, std: bool) -> list[Path]:
    """Write the figures, claims and report of the suite: this plan, and the records of its other protocols.

    Those records may not fit into one table, after runs with several settings; then the report is of the plan alone
    and says why.
    """
    from tables.claims import judge as claims  # here, as in finish
    from tables.figures import draw as figures
    from tables.report import missing_runs, report

    request = plan.request
    folder = request.out / request.suite.name
    stored, problems = store.collect(folder)
    failures, unread = missing_runs.failures_below(request.out, request.suite.name)
    of_plan = {store.failure_path(spec, request.out).relative_to(request.out).as_posix() for spec in plan.specs}
    current = [f for f in failures if f.path in of_plan or f.run.protocol not in plan.protocols]
    unread += [f"{f.path}: a run with other settings failed: {f.reason}" for f in failures if f not in current]
    others = [record for record in stored if record.spec.protocol not in plan.protocols]
    options = TableOptions.of_suite(request.suite, std=std)

    def write(shown: list[RunRecord], left_out: list[str]) -> list[Path]:
        paths = report.write(
            shown,
            folder,
            options,
            planned=[*plan.specs, *(record.spec for record in others if record in shown)],
            failures=current,
            left_out=left_out,
        )
        figures.write(shown, folder, options, formats=("png",))
        return [*paths, claims.write(shown, folder, note=options.note)]

    try:
        return write([*done, *others], problems + unread)
    except RecordError as error:
        if not others:
            raise
        return write(done, [*problems, *unread, str(error)])
