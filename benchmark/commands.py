"""What `run_all.py` does with its arguments: a request, its plan, its runs, its tables, and the words about them."""

import argparse
import sys
from collections import Counter
from dataclasses import astuple, replace
from pathlib import Path

import torch
import transformers
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tabulate import tabulate

import tables.report
import tables.writers
from benchmark import records
from benchmark.config import RunSpec, load_suite, parse_scalar
from benchmark.errors import ConfigError, RecordError, did_you_mean
from benchmark.estimate import Estimator
from benchmark.orchestrate import Runner
from benchmark.plan import Plan, make_plan, steps_of
from benchmark.progress import Progress
from benchmark.protocols.registry import PROTOCOLS
from benchmark.records import RunRecord
from benchmark.registry import method_names
from benchmark.request import Request
from benchmark.workers import default_processes, groups_of, run_side_by_side
from tables import claims, figures, gaps
from tables.aggregate import dataset_titles

PAPER_ORDER = ("zero_shot", "coop", "cocoop", "kgcoop", "prograd", "copl")  # rows of the paper's tables


def run(options: argparse.Namespace) -> int:
    """One call of the command line; returns its exit code."""
    transformers.utils.logging.disable_progress_bar()
    request = make_request(options)
    accelerator = make_accelerator(options.device, options.precision)
    if options.processes is not None and (options.processes < 1 or accelerator.device.type != "cpu"):
        raise ConfigError(f"--processes {options.processes}: 1 or more, and on a CPU only (--device cpu).")
    plan = make_plan(request, fetch=not options.plan)
    print(describe(plan), flush=True)
    if options.plan:
        print(describe_cost(plan))
        return 0
    if plan.missing:
        records.check_writable(request.out)
    processes = min(options.processes or default_processes(accelerator), len(groups_of(plan.missing)))
    progress = Progress(len(plan.missing))
    try:
        if processes > 1:
            run_side_by_side(plan, processes=processes, progress=progress)
        elif plan.missing:
            Runner(plan, accelerator).run_all(plan.missing, progress)
    finally:
        progress.close()
    return finish(plan, std=options.std)


def make_request(options: argparse.Namespace) -> Request:
    """The arguments over the suite's defaults."""
    suite = load_suite(options.suite or ("paper" if options.data else "synthetic"))
    if options.data and not options.data.expanduser().is_dir():
        raise ConfigError(f"--data {options.data}: there is no such folder. Its layout is in docs/data.md.")
    known = method_names()
    everything = [name for name in PAPER_ORDER if name in known] + sorted(set(known) - set(PAPER_ORDER))
    return Request(
        protocol=options.protocol,
        suite=suite,
        methods=split_names(options.methods) or tuple(everything),
        datasets=split_names(options.datasets) or None,
        source=options.source,
        seeds=split_numbers("seeds", options.seeds) or suite.seeds,
        shots=split_numbers("shots", options.shots),
        backbone=options.backbone or suite.backbone,
        precision=options.precision,
        data=options.data.expanduser() if options.data else None,
        out=options.out,
        overrides=parse_settings(options.settings),
        cache=not options.no_cache,
        lockstep=not options.no_lockstep,
        graphs=not options.no_graphs,
    )


def split_names(words: list[str] | None) -> tuple[str, ...]:
    """`--methods coop,copl kgcoop` as three names; none for none."""
    return tuple(name for word in words or () for name in word.split(",") if name)


def split_numbers(option: str, words: list[str] | None) -> tuple[int, ...]:
    """`--seeds 1 2 3` or `--seeds 1,2,3` as numbers."""
    try:
        return tuple(int(name) for name in split_names(words))
    except ValueError as error:
        raise ConfigError(f"--{option} {' '.join(words)}: whole numbers are needed, e.g. --{option} 1 2.") from error


def parse_settings(settings: list[str]) -> dict[str, dict[str, object]]:
    """`--set coop.epochs=2` and its like, by method. Keys are checked where the recipe is resolved."""
    overrides: dict[str, dict[str, object]] = {}
    for text in settings:
        target, equals, value = text.partition("=")
        method, dot, key = target.partition(".")
        if not (equals and dot and method and key):
            raise ConfigError(f"--set {text}: write METHOD.KEY=VALUE, e.g. --set cocoop.epochs=2.")
        if method not in method_names():
            raise ConfigError(f"--set {text}: '{method}' is not a method. {did_you_mean(method, method_names())}")
        if key in overrides.setdefault(method, {}):
            raise ConfigError(f"--set {target} is given twice; give it once.")
        overrides[method][key] = parse_scalar(value)
    return overrides


def make_accelerator(device: str | None, precision: str) -> Accelerator:
    """Accelerate's view of the machine: the device, and autocast in the wanted precision."""
    if device is not None:
        try:
            kind = torch.device(device)
        except RuntimeError as error:
            raise ConfigError(f"--device {device}: not a device. Allowed: cpu, cuda, cuda:N, mps.") from error
        there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not there.get(kind.type, False):
            raise ConfigError(f"--device {device}: this machine (or this build of torch) has none. Leave --device out.")
        if kind.type == "cuda" and kind.index is not None:
            torch.cuda.set_device(kind)
    on_cpu = device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if precision == "fp16" and on_cpu:
        raise ConfigError(
            "--precision fp16 needs a GPU: a CPU computes it slowly and loses gradients. Take fp32 or bf16."
        )
    if precision == "tf32" and (on_cpu or not torch.cuda.is_available()):
        raise ConfigError("--precision tf32 needs a CUDA GPU; nothing else computes in it. Take fp32.")
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    # Accelerate keeps one state a process; a second call, from a notebook say, may ask for another precision.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=precision if precision in ("bf16", "fp16") else "no")
    return accelerator


def describe(plan: Plan) -> str:
    """The plan in words: each protocol's runs by method, steps and what is done; what is refused, what to know."""
    parts, totals = [], []
    for protocol in plan.protocols:
        text, total = _describe_protocol(plan, protocol)
        parts.append(text)
        totals.append(total)
    if len(totals) > 1:
        sums = [sum(column) for column in zip(*totals, strict=True)]
        parts.append(f"all protocols: {sums[0]} runs, {sums[1]} done, {sums[2]} to run, {sums[3]} steps")
    if plan.checkpoint is None:
        parts.append("The backbone is not in the local cache; the first run fetches it.")
    notes = [f"refused: {text}" for text in plan.refused] + [f"note: {text}" for text in plan.warnings]
    if plan.taken:
        notes.append(f"note: {len(plan.taken)} of the runs to do take what another one learns and train nothing.")
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"


def _describe_protocol(plan: Plan, protocol: str) -> tuple[str, list[int]]:
    """What a protocol runs, as a table, and its total: runs, done, to run, steps."""
    request, missing = plan.request, set(plan.missing)
    specs = [spec for spec in plan.specs if spec.protocol == protocol]
    counts, rows = Counter(spec.method for spec in specs), []
    for method in request.methods:
        to_run = [spec for spec in specs if spec.method == method and spec in missing]
        rows.append(
            [method, counts[method], counts[method] - len(to_run), len(to_run), sum(steps_of(plan, s) for s in to_run)]
        )
    total = [sum(row[i] for row in rows) for i in range(1, 5)]
    trained, scored = {spec.dataset for spec in specs}, {name for spec in specs for name in spec.targets}
    where = f"{len(trained)} datasets"
    if scored:
        where = f"trained on {', '.join(sorted(trained))}, scored on it and {len(scored)} others"
    shots = ", ".join(map(str, request.shots_of(PROTOCOLS[protocol])))
    head = (
        f"{protocol} on suite '{request.suite.name}': {where}, {shots} shots, "
        f"seeds {', '.join(map(str, request.seeds))}, backbone {request.backbone}, {request.precision}"
    )
    headers = ["method", "runs", "done", "to run", "steps"]
    return f"{head}\n\n{tabulate([*rows, ['total', *total]], headers=headers, tablefmt='simple')}", total


def describe_cost(plan: Plan) -> str:
    """What the missing runs will compute: a row for each (protocol, method, dataset, shots), then the sum."""
    estimator, rows, groups = Estimator(plan), [], {}
    for spec in plan.missing:
        key = (spec.protocol, spec.method, spec.dataset, spec.shots, spec in plan.taken)
        groups.setdefault(key, []).append(spec)
    for (protocol, method, dataset, shots, _), specs in groups.items():
        rows.append([protocol, method, dataset, shots, len(specs), *astuple(estimator.cost(specs[0]))])
    rows.append(["total", "", "", "", len(plan.missing), *astuple(estimator.total(plan.missing))])
    headers = ["protocol", "method", "dataset", "shots", "runs", "steps", "train views", "test images", "text tokens",
               "text GFLOP", "image GFLOP"]  # fmt: skip
    return (
        "What a run computes, alone and from nothing; in the total, images that runs share count once.\n\n"
        + tabulate(rows, headers=headers, tablefmt="simple", intfmt=",", floatfmt=",.0f", missingval="?")
    )


def finish(plan: Plan, *, std: bool) -> int:
    """Render what is recorded, say what failed; 1 if anything did."""
    request = plan.request
    left = set(records.missing(plan.specs, request.out))
    done = [_recorded(plan, spec) for spec in plan.specs if spec not in left]
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
    if left:
        lost = sum(not records.failure_path(spec, request.out).is_file() for spec in left)
        told = f"{len(left)} of {len(plan.specs)} runs failed; tracebacks are in {request.out / 'failed'}."
        if lost:
            told += f" {lost} of them left none: their process was ended, for want of memory perhaps."
        print(f"error: {told} The same command runs them again.", file=sys.stderr)
    return 1 if left else 0


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
