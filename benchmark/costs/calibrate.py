"""What a plan will take on this machine: each kind of its work timed for a moment, times how often it occurs.

It is timed in as many processes at once as the grid takes, for processes side by side slow one another.
"""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch
import transformers

from benchmark.common.config import RunSpec
from benchmark.costs.forecast import Forecast, Portion
from benchmark.costs.timing import Bench, peak_bytes_of
from benchmark.errors import ConfigError
from benchmark.features.store import STORE_BYTES
from benchmark.planning.plan import Plan
from benchmark.plugins.discovery import add_plugin
from benchmark.running.accelerator import make_accelerator
from benchmark.running.device import process_context


def calibrate(plan: Plan, *, processes: int, before: float) -> Forecast:
    """Measure what is missing of a plan.

    Args:
        processes: that work side by side, on a CPU.
        before: seconds that the command took up to here, and will take again.
    Raises:
        ConfigError: a process was ended while it measured.
    """
    request, share, started, threads = plan.request, 1 / processes, time.perf_counter(), torch.get_num_threads()
    groups = list(_by_dataset(plan.missing).values())
    if not groups:
        portions = []
    elif processes > 1:
        portions = _side_by_side(plan, groups, processes)
    else:
        torch.set_num_threads(request.threads)
        bench = Bench(plan, make_accelerator(request.device, request.precision), share=share)
        ready = time.perf_counter() - started
        portions = [dataclasses.replace(bench.portion(group), ready=ready) for group in groups]
        torch.set_num_threads(threads)
    return Forecast(
        portions=portions,
        processes=processes,
        before=before,
        limit=int(share * STORE_BYTES),
        parent=peak_bytes_of(request.device) if processes > 1 else 0,
        took=time.perf_counter() - started,
        on_gpu=request.device.startswith("cuda"),
    )


def _by_dataset(specs: Sequence[RunSpec]) -> dict[str, list[RunSpec]]:
    """Runs of the same dataset together: whatever process does them, its features are computed once."""
    groups: dict[str, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.dataset, []).append(spec)
    return groups


_bench: Bench | None = None  # of a process that measures beside others
_ready = 0.0


def _side_by_side(plan: Plan, groups: Sequence[Sequence[RunSpec]], processes: int) -> list[Portion]:
    """The portions, measured in so many processes at once."""
    context = process_context()
    told = (plan, processes, time.time())
    pool = ProcessPoolExecutor(min(processes, len(groups)), mp_context=context, initializer=_prepare, initargs=told)
    try:
        return list(pool.map(_measure, groups))
    except BrokenProcessPool as error:
        raise ConfigError(
            f"--calibrate: one of {processes} processes was ended, for want of memory perhaps. Take fewer --processes."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # who interrupts waits for what is being timed, not for the rest


def _prepare(plan: Plan, processes: int, started: float) -> None:
    """A process of its own begins, as one of the grid's does."""
    global _bench, _ready
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(plan.request.threads)
    for path in plan.request.plugins:
        add_plugin(path)
    accelerator = make_accelerator(plan.request.device, plan.request.precision)
    _bench = Bench(plan, accelerator, share=1 / processes)
    _ready = time.time() - started


def _end_with_parent() -> None:
    """A parent that is killed cannot say so."""
    torch.multiprocessing.parent_process().join()
    os._exit(1)


def _measure(specs: Sequence[RunSpec]) -> Portion:
    return dataclasses.replace(_bench.portion(specs), ready=_ready)
