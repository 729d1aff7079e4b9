"""Forecast the time and memory of runs on this machine: time each kind of work, and multiply by how often it occurs.

The timing uses as many processes at once as the grid, since parallel processes slow one another down.
"""

import dataclasses
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch

from benchmark.costs.forecast import Forecast, Portion
from benchmark.costs.timing import Bench
from benchmark.errors import ConfigError
from benchmark.features.encoder import STORE_BYTES
from benchmark.planning.planned_run import PlannedRun
from benchmark.planning.run_settings import RunSettings
from benchmark.plugins.discovery import add_plugin
from benchmark.running.accelerator import make_accelerator
from benchmark.running.device import process_context
from benchmark.running.pool import prepare_worker
from benchmark.running.recording import peak_memory_bytes


def calibrate(settings: RunSettings, runs: Sequence[PlannedRun], *, processes: int, before: float) -> Forecast:
    """Time the work of runs.

    Args:
        processes: number of parallel processes, on a CPU.
        before: seconds that the command took so far, and will take again.
    Raises:
        ConfigError: a process was killed while it measured.
    """
    share, started, threads = 1 / processes, time.perf_counter(), torch.get_num_threads()
    groups = list(_by_dataset(runs).values())
    if not groups:
        portions = []
    elif processes > 1:
        portions = _in_processes(settings, groups, processes)
    else:
        torch.set_num_threads(settings.threads)
        bench = Bench(settings, runs, make_accelerator(settings.device, settings.precision), share=share)
        ready = time.perf_counter() - started
        portions = [dataclasses.replace(bench.portion(group), ready=ready) for group in groups]
        torch.set_num_threads(threads)
    return Forecast(
        portions=portions,
        processes=processes,
        before=before,
        limit=int(share * STORE_BYTES),
        parent=peak_memory_bytes(torch.device(settings.device)) if processes > 1 else 0,
        took=time.perf_counter() - started,
        on_gpu=settings.device.startswith("cuda"),
    )


def _by_dataset(runs: Sequence[PlannedRun]) -> dict[str, list[PlannedRun]]:
    """Group runs by dataset: the features of a dataset are computed once, by any process."""
    groups: dict[str, list[PlannedRun]] = {}
    for run in runs:
        groups.setdefault(run.spec.dataset, []).append(run)
    return groups


_bench: Bench | None = None  # of a worker process
_ready = 0.0


def _in_processes(settings: RunSettings, groups: Sequence[Sequence[PlannedRun]], processes: int) -> list[Portion]:
    """Measure the portions in parallel processes."""
    context = process_context()
    arguments = (settings, [run for group in groups for run in group], processes, time.time())
    workers = min(processes, len(groups))
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare, initargs=arguments)
    try:
        return list(pool.map(_measure, groups))
    except BrokenProcessPool as error:
        raise ConfigError(
            f"calibrate: one of {processes} processes was killed, perhaps out of memory. Take fewer --processes."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt waits for the current timings, not for the rest


def _prepare(settings: RunSettings, runs: Sequence[PlannedRun], processes: int, started: float) -> None:
    """Start a worker process, in the same way as the grid does."""
    global _bench, _ready
    prepare_worker()
    torch.set_num_threads(settings.threads)
    for path in settings.plugins:
        add_plugin(path)
    accelerator = make_accelerator(settings.device, settings.precision)
    _bench = Bench(settings, runs, accelerator, share=1 / processes)
    _ready = time.time() - started


def _measure(runs: Sequence[PlannedRun]) -> Portion:
    return dataclasses.replace(_bench.portion(runs), ready=_ready)
