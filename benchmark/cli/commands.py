"""What `run_all.py` does: a plan, its runs, and what is rendered from their records."""

import argparse
import sys
import time
from pathlib import Path

import transformers
from tqdm import tqdm

import tables.protocols.writers
import tables.report.report
from benchmark.cli.arguments import make_request
from benchmark.cli.doctor.checks import examine
from benchmark.cli.doctor.datasets import SurveyOptions
from benchmark.cli.doctor.report import to_json, to_text
from benchmark.cli.export import export
from benchmark.cli.summary import describe, describe_cost, describe_forecast
from benchmark.costs.calibrate import calibrate
from benchmark.errors import ConfigError, RecordError
from benchmark.planning.plan import Plan, make_plan
from benchmark.planning.request import Request
from benchmark.records import store
from benchmark.records.record import RunRecord
from benchmark.records.trackers import Trackers, where_to_look
from benchmark.running.device import cores, default_processes
from benchmark.running.execute import Outcome, execute, outcome_of, processes_of
from benchmark.running.launcher import join
from tables.claims import judge as claims
from tables.figures import draw as figures
from tables.rendering.options import TableOptions
from tables.report import missing_runs


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
        processes = processes_of(plan, options.processes)
        print(describe_forecast(calibrate(plan.settings, plan.missing, processes=processes, before=before)))
        return 0
    if options.plan:
        print(describe_cost(plan))
        return 0
    if plan.missing:
        store.check_writable(request.out)
    trackers = Trackers(request.track, request.out, say=lambda text: tqdm.write(text, file=sys.stderr))
    if plan.missing or world:
        execute(plan, world, processes=options.processes, on_record=trackers.log)
    if not speaks:
        return 0
    outcome = outcome_of(plan)
    code = finish(plan, outcome, std=options.std)
    return finish_tracking(request, outcome, trackers) or code


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

    how = SurveyOptions(deep=options.deep, processes=cores(), start=start, advance=bar.update)
    words = [word for word in options.words if word not in ("--doctor", "--deep", "--json")]
    with bar:
        processes = options.processes or default_processes(request.device)
        found = examine(request, words=words, processes=processes, how=how)
    print(to_json(found) if options.json else to_text(found))
    return 0 if found.starts else 1


def finish_tracking(request: Request, outcome: Outcome, trackers: Trackers) -> int:
    """Tell trackers what they were not told yet, and the user where to look; 1 if some of it stays untold."""
    problems = trackers.finish(outcome.records)
    told = f"{len(outcome.records)} run{'s' if len(outcome.records) != 1 else ''}"
    for name in request.track:
        if name not in trackers.failed:
            print(f"Tracker {name}: {told}. {where_to_look(name, request.out)}".rstrip())
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def finish(plan: Plan, outcome: Outcome, *, std: bool) -> int:
    """Render what is recorded, say what failed; 1 if anything did."""
    request, done = plan.request, outcome.records
    if done:
        options = TableOptions.of_suite(request.suite, std=std)
        paths = tables.protocols.writers.write(done, request.out / request.suite.name, options, planned=plan.specs)
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
    """The suite's figures, claims and report: of this plan, and of what is stored of the protocols that it leaves out.

    What is stored of those may be no one table (settings tried in turn, say); then the report is of the plan alone and
    says why.
    """
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
        paths = tables.report.report.write(
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
