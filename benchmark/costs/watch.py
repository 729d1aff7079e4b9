"""Measure the runs of workers in seconds of an idle machine, on Linux."""

import io
import multiprocessing
import os
from contextlib import suppress
from pathlib import Path

from benchmark.running.device import cores
from benchmark.running.progress import Progress


class Watch(Progress):
    """Measures runs in seconds of an idle machine, whatever else runs: CPU seconds by the number of busy cores.

    Between two events these are the CPU seconds of all workers, divided by the workers that cores can serve at once.

    Attributes:
        now: seconds so far.
        ready, last: seconds when the first run of a worker began, and when the last one ended.
        seconds: of each unit, by its label.
    """

    def __init__(self):
        super().__init__(0, stream=io.StringIO())
        self.now, self.ready, self.last, self.seconds = 0.0, None, 0.0, {}
        self._used: dict[int, float] = {}  # process to CPU seconds
        self._current: dict[int, tuple[str, float]] = {}

    def start(self, label: str, epochs: int, *, slot: int = 0) -> None:
        """See Progress.start."""
        self.epoch(0)
        self.ready = self.now if self.ready is None else self.ready
        self._current[slot] = label, self.now

    def end(self, *, slot: int = 0) -> None:
        """See Progress.end."""
        self.epoch(0)
        label, since = self._current.pop(slot)
        self.seconds[label], self.last = self.now - since, self.now

    def epoch(self, done: int, *, slot: int = 0) -> None:
        """Read the CPU seconds of all workers."""
        workers = multiprocessing.active_children()
        for worker in workers:
            with suppress(OSError):  # it has just ended
                words = Path(f"/proc/{worker.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
                used = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
                self.now += (used - self._used.get(worker.pid, 0.0)) / min(cores(), len(workers))
                self._used[worker.pid] = used
