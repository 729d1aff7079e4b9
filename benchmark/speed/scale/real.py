"""Compare a simulation with real runs, in seconds of an idle machine, on Linux."""

import io
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark.cli.arguments import read_request
from benchmark.cli.parser import parse
from benchmark.planning.plan import make_plan
from benchmark.running.device import cores
from benchmark.running.launcher import local_counter
from benchmark.running.pool import run_in_workers
from benchmark.running.progress import Progress
from benchmark.running.queue import even_share, units_of
from benchmark.running.runner import label_of
from benchmark.speed.scale.simulation import Conditions, Unit, simulate, work_of

REAL_PROCESSES = (2, 4)
REAL = ["--datasets", "synth_actions", "synth_pets", "synth_textures", "--seeds", "1", "2", "--precision", "fp32"]


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


def real_rows() -> Iterator[dict[str, object]]:
    """Run a grid of the embedded suite in several processes, with cached features, and simulate it.

    The simulation is fed with the seconds of each unit in one process. It reads /proc, so it needs Linux.
    """
    with TemporaryDirectory() as folder:
        words = [*REAL, "--device", "cpu", "--threads", "1", "--out", folder]
        plan = make_plan(replace(read_request(parse(words)), device="cpu"), fetch=False)
        units = units_of(plan.runs, longest=even_share(plan.runs, max(REAL_PROCESSES)))

        def work(name: str, processes: int) -> Watch:
            watch, settings = Watch(), replace(plan.settings, out=Path(folder, name))
            with local_counter() as counter:
                run_in_workers(settings, units, counter, watch, processes=processes)
            return watch

        work("first", max(REAL_PROCESSES))  # fills the cache
        alone = work("alone", 1)
        known = [Unit(name=label_of(unit), seconds=alone.seconds[label_of(unit)]) for unit in units]
        for processes in REAL_PROCESSES:
            began = time.perf_counter()
            actual = work(f"in {processes}", processes).last
            clock = time.perf_counter() - began
            seconds = simulate(known, processes, Conditions(start=alone.ready, cores=cores()))
            row = {"processes": processes, "units": len(units), "start": alone.ready, "work": work_of(known)}
            yield row | {"simulated": seconds, "actual": actual, "ratio": seconds / actual, "clock": clock}
