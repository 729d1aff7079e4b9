"""Runs side by side: processes that each take the next runs in turn, and tell the one that started them how it goes.

On a CPU a process has few threads, for the products of a small model do not fill many cores, and its number of threads
does not depend on how many processes there are: it decides the last digits. A process that dies leaves its run missing,
with its last checkpoint; the others go on.
"""

import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch
import transformers

from benchmark.common import shutdown
from benchmark.common.shutdown import Terminated
from benchmark.errors import BenchmarkError
from benchmark.planning.plan import Plan
from benchmark.plugins.discovery import add_plugin
from benchmark.running.accelerator import make_accelerator
from benchmark.running.device import process_context
from benchmark.running.progress import Progress
from benchmark.running.queue import Counter, take_turns, units_of
from benchmark.running.runner import Runner


def run_here(plan: Plan, counter: Counter, progress: Progress, *, share: float = 1.0) -> None:
    """Do runs in this process, as many as the counter gives it."""
    request, runner, threads = plan.request, None, torch.get_num_threads()
    torch.set_num_threads(request.threads)
    try:
        for specs in take_turns(units_of(plan), request.out, counter):
            if runner is None:  # a process that gets nothing to do loads no backbone
                runner = Runner(plan, make_accelerator(request.device, request.precision), share=share)
            runner.run_all(specs, progress)
    finally:
        torch.set_num_threads(threads)


def run_side_by_side(plan: Plan, counter: Counter, progress: Progress, *, processes: int) -> None:
    """Do runs in several processes, showing their progress here; one that dies leaves the others working.

    Args:
        counter: one that can be carried into another process.
    Raises:
        Terminated: this process was asked to end; its processes have ended before, each at a checkpoint.
    """
    context = process_context()
    workers, ears = [], []
    for _ in range(processes):
        # a pipe for each: what several share, one of them could hold locked when it is killed
        ear, mouth = context.Pipe()
        worker = context.Process(target=_work, args=(mouth, counter, 1 / processes), daemon=True)
        with _ctrl_c_waits(), _without_main():  # a process that is just importing would answer it with a traceback
            worker.start()
        mouth.close()  # here; so that the pipe ends with the process
        workers.append(worker)
        ears.append(ear)
    try:
        for ear in ears:
            # not as an argument: Python would wait for ever to hand a large one to a process killed at its start
            with suppress(BrokenPipeError, ConnectionResetError):
                ear.send(plan)
        for event in _events(workers, ears):
            _show(progress, *event)
        shutdown.check()
    except KeyboardInterrupt:
        for worker in workers:
            worker.terminate()
        for event in _events(workers, ears):  # until each has come to a checkpoint; another Ctrl-C does not wait
            _show(progress, *event)
        raise
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _show(progress: Progress, slot: int, what: str, *told: object) -> None:
    if what == "line":
        progress.line(*told)
    else:
        getattr(progress, what)(*told, slot=slot)


def _events(workers: list, ears: list) -> Iterator[tuple]:
    """What the processes tell, (slot, "start" | "epoch" | "end" | "line", ...), until all of them have ended.

    Where this process is asked to end, it asks them, and goes on listening until they have.
    """
    open_ears, passed_on = dict(zip(ears, range(len(ears)), strict=True)), False
    while open_ears:
        if shutdown.asked() and not passed_on:
            passed_on = True
            for worker in workers:
                worker.terminate()
        for ear in wait(list(open_ears), timeout=0.5):
            try:
                yield (open_ears[ear], *ear.recv())
            except (EOFError, OSError):  # ended, or killed in the middle of a word
                del open_ears[ear]


def _work(mouth: Connection, counter: Counter, share: float) -> None:
    """One process: it is told the plan and does runs until none is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted and ends this process
    with shutdown.on_sigterm():
        threading.Thread(target=_end_with_parent, daemon=True).start()
        transformers.utils.logging.disable_progress_bar()
        plan: Plan = mouth.recv()
        for path in plan.request.plugins:
            add_plugin(path)
        try:
            run_here(plan, counter, _Reporter(mouth), share=share)
        except Terminated:
            sys.exit(shutdown.EXIT_CODE)
        except BenchmarkError as error:  # not even a failure can be recorded: a full disk, say
            mouth.send(("line", f"error: {error}"))
            sys.exit(1)


def _end_with_parent() -> None:
    """A parent that is killed cannot say so; without this its processes would run the whole queue on their own."""
    torch.multiprocessing.parent_process().join()
    os._exit(1)


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Ignore an interrupt for a moment, in this process and for good in those that it starts meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not run the caller's script again, as Python's would, with all that it does."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Reporter:
    """Progress as a process without a terminal of its own has it: it tells the parent what happens."""

    def __init__(self, mouth: Connection):
        self._mouth = mouth

    @contextmanager
    def run(self, label: str, epochs: int) -> Iterator[None]:
        """As Progress.run."""
        self._mouth.send(("start", label, epochs))
        try:
            yield
        finally:
            self._mouth.send(("end",))

    def epoch(self, done: int) -> None:
        """As Progress.epoch."""
        self._mouth.send(("epoch", done))

    def line(self, text: str, record: Path | None = None) -> None:
        """As Progress.line."""
        self._mouth.send(("line", text, record))
