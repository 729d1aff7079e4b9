"""Do runs in worker processes: each takes the next unit of runs and reports its progress to the parent.

On a CPU a worker has few threads, since the products of a small model do not fill many cores. Their number does not
depend on the number of processes, since it influences the last digits. If a worker dies, its run stays missing, with
its last checkpoint; the other workers continue.
"""

import os
import signal
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch
import transformers

from benchmark.common import shutdown
from benchmark.common.shutdown import Terminated
from benchmark.errors import BenchmarkError
from benchmark.planning.planned_run import PlannedRun
from benchmark.planning.run_settings import RunSettings
from benchmark.plugins.discovery import add_plugin
from benchmark.running.accelerator import make_accelerator
from benchmark.running.device import process_context
from benchmark.running.progress import Progress
from benchmark.running.queue import Counter, claim_units
from benchmark.running.runner import Runner

Units = Sequence[Sequence[PlannedRun]]  # of queue.units_of


def run_here(settings: RunSettings, units: Units, counter: Counter, progress: Progress, *, share: float = 1.0) -> None:
    """Do the units that the counter gives to this process."""
    runner, threads = None, torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        for runs in claim_units(units, settings.out, counter):
            if runner is None:  # a process without work loads no backbone
                runner = Runner(settings, make_accelerator(settings.device, settings.precision), share=share)
            runner.run_all(runs, progress)
    finally:
        torch.set_num_threads(threads)


def run_in_workers(
    settings: RunSettings, units: Units, counter: Counter, progress: Progress, *, processes: int
) -> None:
    """Do runs in several processes and show their progress here; if one dies, the others continue.

    Args:
        counter: can be pickled.
    Raises:
        Terminated: this process was asked to end; its workers have ended before, each at a checkpoint.
    """
    context = process_context()
    workers, connections = [], []
    try:
        for _ in range(processes):
            # a pipe for each worker: a killed worker could leave a shared one locked
            connection, of_worker = context.Pipe()
            worker = context.Process(target=_work, args=(of_worker, counter, 1 / processes), daemon=True)
            with _interrupts_deferred(), _without_main():  # an interrupt during imports would print a traceback
                worker.start()
                of_worker.close()  # in this process, so that the pipe ends with the worker
                workers.append(worker)
                connections.append(connection)
        for connection in connections:
            # not as an argument: Python waits forever to pass a large one to a process that is killed at its start
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.send((settings, units))
        for event in _events(workers, connections):
            _show(progress, *event)
        shutdown.check()
    except KeyboardInterrupt:
        for worker in workers:
            worker.terminate()
        for event in _events(workers, connections):  # until each is at a checkpoint; another Ctrl-C does not wait
            _show(progress, *event)
        raise
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _show(progress: Progress, slot: int, event: str, *details: object) -> None:
    if event == "line":
        progress.line(*details)
    else:
        getattr(progress, event)(*details, slot=slot)


def _events(workers: list, connections: list) -> Iterator[tuple]:
    """Yield what the workers report, (slot, "start" | "epoch" | "end" | "line", ...), until all have ended.

    If this process is asked to end, it asks the workers to end and waits for them.
    """
    slots, passed_on = {connection: slot for slot, connection in enumerate(connections)}, False
    while slots:
        if shutdown.requested() and not passed_on:
            passed_on = True
            for worker in workers:
                worker.terminate()
        for connection in wait(list(slots), timeout=0.5):
            try:
                yield (slots[connection], *connection.recv())
            except (EOFError, OSError):  # the worker ended, or was killed in the middle of a message
                del slots[connection]


def _work(connection: Connection, counter: Counter, share: float) -> None:
    """The main function of a worker: receive settings and units, do runs until none is left."""
    prepare_worker()
    with shutdown.on_sigterm():
        settings, units = connection.recv()
        for path in settings.plugins:
            add_plugin(path)
        try:
            run_here(settings, units, counter, _Reporter(connection), share=share)
        except Terminated:
            sys.exit(shutdown.EXIT_CODE)
        except BenchmarkError as error:  # not even the failure could be recorded: the disk is full, for example
            connection.send(("line", f"error: {error}"))
            sys.exit(1)


def prepare_worker() -> None:
    """Prepare a new worker process: its parent alone is interrupted, and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    transformers.utils.logging.disable_progress_bar()


def _end_with_parent() -> None:
    """End this process when its parent is killed; otherwise the workers would go through the whole queue alone."""
    torch.multiprocessing.parent_process().join()
    os._exit(1)


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Raise an interrupt at the end of the block only; the processes that are started in it never receive one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # first: its start unblocks interrupts
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # new processes inherit the mask
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    if received:
        raise KeyboardInterrupt


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep new processes from running the script of the caller again, as Python's would."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Reporter:
    """The Progress of a worker: it sends every event to the parent."""

    def __init__(self, connection: Connection):
        self._connection = connection

    @contextmanager
    def run(self, label: str, epochs: int) -> Iterator[None]:
        """See Progress.run."""
        self._connection.send(("start", label, epochs))
        try:
            yield
        finally:
            self._connection.send(("end",))

    def epoch(self, done: int) -> None:
        """See Progress.epoch."""
        self._connection.send(("epoch", done))

    def line(self, text: str, record: Path | None = None) -> None:
        """See Progress.line."""
        self._connection.send(("line", text, record))
