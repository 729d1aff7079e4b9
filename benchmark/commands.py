"""What `run_all.py` does: a plan, its runs, and what is rendered from their records."""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from accelerate import Accelerator
from accelerate.state import AcceleratorState

import tables.report
import tables.writers
from benchmark import records
from benchmark.arguments import make_request
from benchmark.calibrate import calibrate
from benchmark.config import RunSpec
from benchmark.describe import describe, describe_cost, describe_forecast
from benchmark.errors import ConfigError, RecordError
from benchmark.orchestrate import Runner
from benchmark.plan import Plan, make_plan
from benchmark.progress import Progress
from benchmark.records import RunRecord
from benchmark.workers import default_processes, groups_of, run_side_by_side
from tables import claims, figures, gaps
from tables.aggregate import dataset_titles


def run(options: argparse.Namespace, *, began: float) -> int:
    """One call of the command line, that began when time.perf_counter() said so; returns its exit code."""
    transformers.utils.logging.disable_progress_bar()
    request = make_request(options)
    accelerator = make_accelerator(options.device, options.precision)
    if options.processes is not None and (options.processes < 1 or accelerator.device.type != "cpu"):
        raise ConfigError(f"--processes {options.processes}: 1 or more, and on a CPU only (--device cpu).")
    plan = make_plan(request, fetch=options.calibrate or not options.plan)
    print(describe(plan), flush=True)
    processes = max(1, min(options.processes or default_processes(accelerator), len(groups_of(plan.missing))))
    if options.calibrate:
        before = time.perf_counter() - began
        print(describe_forecast(calibrate(plan, accelerator, processes=processes, before=before)))
        return 0
    if options.plan:
        print(describe_cost(plan))
        return 0
    if plan.missing:
        records.check_writable(request.out)
    progress = Progress(len(plan.missing))
    try:
        if processes > 1:
            run_side_by_side(plan, processes=processes, progress=progress)
        elif plan.missing:
            Runner(plan, accelerator).run_all(plan.missing, progress)
    finally:
        progress.close()
    return finish(plan, std=options.std)


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
