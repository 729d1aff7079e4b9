"""Simulate processes that take units from the queue: when is the last one done?"""

import heapq
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmark.common.constants import CHECKPOINT_MINUTES

Step = float | Hashable  # seconds of work, or the key of features that another process is making


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit of the queue.

    Attributes:
        seconds: of its own work.
        features: image features that units share, by key; the seconds to make as many of them as this unit reads.
        parts: equal parts in which it reads features and works; between them another process may make the next.
    """

    name: str
    seconds: float
    features: Mapping[Hashable, float] = field(default_factory=dict)
    parts: int = 1

    @property
    def shortest(self) -> float:
        """No number of processes ends it before: its own work, and the features of a key are made one after another."""
        return max([self.seconds, *self.features.values()])


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What slows processes down.

    Attributes:
        start: seconds until a process can take its first unit.
        shared: whether the processes share a feature cache; else each makes all features that it reads.
        cores: processes that can work at once at full speed; more share them evenly.
        lost_every: one process in so many ends in the middle of its first unit, the last one if there are fewer.
    """

    start: float = 0.0
    shared: bool = True
    cores: float = math.inf
    lost_every: int | None = None

    def lost(self, processes: int) -> frozenset[int]:
        """The numbers of the processes that are lost."""
        if self.lost_every is None:
            return frozenset()
        return frozenset(range(self.lost_every - 1, processes, self.lost_every)) or frozenset({processes - 1})


def work_of(units: Sequence[Unit]) -> float:
    """Seconds of all units if each feature is made once."""
    features: dict[Hashable, float] = {}
    for unit in units:
        for key, seconds in unit.features.items():
            features[key] = max(features.get(key, 0.0), seconds)
    return sum(unit.seconds for unit in units) + sum(features.values())


def lower_bound(units: Sequence[Unit], processes: int, *, cores: float = math.inf) -> float:
    """No order is faster: an even share of the work, and the longest unit."""
    return max([work_of(units) / min(processes, cores), *(unit.shortest for unit in units)])


def simulate(units: Sequence[Unit], processes: int, conditions: Conditions) -> float:
    """Seconds until all units are done, taken by free processes in this order.

    As in running/queue.py, the unit of a lost process is not handed out again: the same command is started again when
    the others have ended, and continues at the last checkpoint.
    """
    grid = _Grid(units, conditions, conditions.lost(processes))
    seconds = grid.run(processes)
    if grid.left:
        seconds += _Grid(grid.left, conditions, frozenset(), made=grid.made).run(processes)
    return seconds


class _Grid:
    """One start of a command: a queue of units, and the features that are made."""

    def __init__(
        self,
        units: Sequence[Unit],
        conditions: Conditions,
        lost: frozenset[int],
        made: Mapping[Hashable, float] = {},
    ):
        self._queue, self._conditions, self._lost = iter(units), conditions, lost
        self.made, self.left = dict(made), []
        self._making: set[Hashable] = set()  # by one process, for which others wait

    def run(self, processes: int) -> float:
        """Seconds until all processes have ended.

        The clock of the heap is the work that one process has done: it slows down when processes share cores.
        """
        workers = [self._worker(number) for number in range(processes)]
        working, waiting = [], dict.fromkeys(range(processes))  # a process with nothing to wait for yet
        seconds = done = 0.0
        while True:
            while (number := next((n for n, key in waiting.items() if key not in self._making), None)) is not None:
                del waiting[number]
                step = next(workers[number], None)
                if isinstance(step, float):
                    heapq.heappush(working, (done + step, number))
                elif step is not None:
                    waiting[number] = step
            if not working:
                self.left += self._queue  # of a command whose processes were all lost
                return seconds
            at, number = heapq.heappop(working)
            seconds += (at - done) * max(1.0, (1 + len(working)) / self._conditions.cores)
            done, waiting[number] = at, None

    def _worker(self, number: int) -> Iterator[Step]:
        """What a process does."""
        yield self._conditions.start
        made, making = (self.made, self._making) if self._conditions.shared else ({}, set())
        for unit in self._queue:
            half = unit.seconds / 2
            for part in range(1, unit.parts + 1):
                for key, seconds in unit.features.items():
                    needed = seconds * part / unit.parts
                    while key in making:
                        yield key
                    if (more := needed - made.get(key, 0.0)) > 0:
                        making.add(key)
                        yield more
                        making.remove(key)
                        made[key] = needed
                if number in self._lost and 2 * part > unit.parts:
                    yield half - unit.seconds * (part - 1) / unit.parts
                    self.left.append(replace(unit, seconds=half + min(half, 60 * CHECKPOINT_MINUTES)))
                    return
                yield unit.seconds / unit.parts
