"""Runs side by side on a CPU: processes of few threads, for the products of a small model do not fill two cores.

Each process takes the next group of runs from one queue, a group being the runs of a dataset, which share their image
features. A process that dies leaves its runs missing; the others go on.
"""

import os
import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import transformers
from accelerate import Accelerator

from benchmark.config import RunSpec
from benchmark.orchestrate import Runner
from benchmark.plan import Plan
from benchmark.progress import Progress
from benchmark.sources import add_plugin

MOST = 4  # processes by default: each holds a backbone and features of its own


def default_processes(accelerator: Accelerator) -> int:
    """As many as there are cores, up to a few; one where a GPU does the work or something else shares out the runs."""
    if accelerator.device.type != "cpu" or accelerator.num_processes > 1:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MOST))


def groups_of(specs: list[RunSpec]) -> list[list[RunSpec]]:
    """The runs of each dataset, which share their image features, in the order of the plan."""
    groups: dict[str, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.dataset, []).append(spec)
    return list(groups.values())


def run_side_by_side(plan: Plan, *, processes: int, progress: Progress) -> None:
    """Execute what is missing in several processes on the CPU, showing their progress here."""
    context = torch.multiprocessing.get_context("spawn")
    tasks, events = context.Queue(), context.Queue()
    for group in groups_of(plan.missing):
        tasks.put(group)
    for _ in range(processes):
        tasks.put(None)
    threads = max(1, torch.get_num_threads() // processes)
    workers = [
        context.Process(target=_work, args=(plan, (slot, processes), threads, tasks, events), daemon=True)
        for slot in range(processes)
    ]
    with _ctrl_c_waits():  # a process that is just importing would answer it with a traceback
        for worker in workers:
            worker.start()
    try:
        for slot, what, *told in _events(workers, events):
            if what == "line":
                progress.line(*told)
            else:
                getattr(progress, what)(*told, slot=slot)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _events(workers: list, events) -> Iterator[tuple]:
    """What the processes tell, (slot, "start" | "epoch" | "end" | "line", ...), until all of them have ended."""
    while True:
        working = any(worker.is_alive() for worker in workers)
        try:
            yield events.get(timeout=0.5)
        except queue.Empty:
            if not working:
                return


def _work(plan: Plan, place: tuple[int, int], threads: int, tasks, events) -> None:
    """One process, `place` being its number and how many there are: groups of runs until none is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    for path in plan.request.plugins:
        add_plugin(path)
    precision = plan.request.precision
    accelerator = Accelerator(cpu=True, mixed_precision="no" if precision == "fp32" else precision)
    runner = Runner(plan, accelerator, share=1 / place[1])
    for group in iter(tasks.get, None):
        runner.run_all(group, _Reporter(events, place[0]))


def _end_with_parent() -> None:
    """A parent that is killed cannot say so; without this its processes would run the whole queue on their own."""
    torch.multiprocessing.parent_process().join()
    os._exit(1)


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Ignore an interrupt for a moment, in this process and for good in those that it starts meanwhile."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Reporter:
    """Progress as a process without a terminal of its own has it: it tells the parent what happens."""

    def __init__(self, events, slot: int):
        self._events, self._slot = events, slot

    @contextmanager
    def run(self, label: str, epochs: int) -> Iterator[None]:
        """As Progress.run."""
        self._events.put((self._slot, "start", label, epochs))
        try:
            yield
        finally:
            self._events.put((self._slot, "end"))

    def epoch(self, done: int) -> None:
        """As Progress.epoch."""
        self._events.put((self._slot, "epoch", done))

    def line(self, text: str) -> None:
        """As Progress.line."""
        self._events.put((self._slot, "line", text))
