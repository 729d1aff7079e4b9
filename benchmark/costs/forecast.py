"""Hours and memory of a plan, from counts and measured seconds: the arithmetic, nothing is measured here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Work(NamedTuple):
    """One kind of work: how often it occurs, and the seconds that one of it took here."""

    times: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """Runs that differ in nothing but their seed.

    Attributes:
        trainings: those of their own; the others take what another run learns.
        steps: optimiser steps of these trainings together.
    """

    protocol: str
    method: str
    runs: int
    trainings: int
    steps: int
    work: Sequence[Work] = ()

    @property
    def seconds(self) -> float:
        """Of one process that does all of it."""
        return sum(work.times * work.seconds for work in self.work)


@dataclass(frozen=True, kw_only=True)
class Portion:
    """The runs on one dataset.

    Attributes:
        features, pictures: bytes of image features and of decoded pictures that they would keep in memory.
        encoded, found: pictures that they have to encode, and those whose features lie on disk.
        peak: bytes that the process that measured them held at most, kept features and pictures aside.
        ready: seconds from the start of that process until it could begin.
    """

    parts: Sequence[Part]
    features: int = 0
    pictures: int = 0
    encoded: int = 0
    found: int = 0
    peak: int = 0
    ready: float = 0.0

    @property
    def seconds(self) -> float:
        """Of one process that does all of it."""
        return sum(part.seconds for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a plan will take.

    Attributes:
        portions: each of one dataset; their parts are taken by whatever process is free, the longest first.
        processes: how many work side by side.
        before: seconds until the first of them could start.
        limit: bytes of features, and as many of pictures, that a process keeps.
        parent: bytes of the process that starts the others; 0 where it does the runs itself.
        took: seconds that the measurement took.
        on_gpu: memory is a GPU's.
    """

    portions: Sequence[Portion]
    processes: int
    before: float = 0.0
    limit: int = 0
    parent: int = 0
    took: float = 0.0
    on_gpu: bool = False
    parts: list[Part] = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "parts", [part for portion in self.portions for part in portion.parts])

    def assigned(self) -> list[list[Part]]:
        """The parts of each process: the longest that is left goes to the process that is free first."""
        taken: list[list[Part]] = [[] for _ in range(self.processes)]
        for part in sorted(self.parts, key=lambda part: part.seconds, reverse=True):
            min(taken, key=lambda own: sum(one.seconds for one in own)).append(part)
        return taken

    @property
    def seconds(self) -> float:
        """From the command to the last run, on the clock."""
        if not self.portions:
            return 0.0
        working = max(sum(part.seconds for part in own) for own in self.assigned())
        return self.before + max(portion.ready for portion in self.portions) + working

    def share(self, parts: Sequence[Part]) -> float:
        """Seconds on the clock that some parts stand for, so that the shares of all parts sum to the whole."""
        whole = sum(part.seconds for part in self.parts)
        return self.seconds * sum(part.seconds for part in parts) / whole if whole else 0.0

    @property
    def process_bytes(self) -> int:
        """The most that a process holds, which may come by every dataset."""
        kept = [sum(getattr(portion, name) for portion in self.portions) for name in ("features", "pictures")]
        return max((portion.peak for portion in self.portions), default=0) + sum(min(self.limit, n) for n in kept)

    @property
    def all_bytes(self) -> int:
        """The most that all processes together hold."""
        return self.parent + self.processes * self.process_bytes
