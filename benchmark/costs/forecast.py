"""Compute the hours and memory of a plan from counts and measured seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Work(NamedTuple):
    """One kind of work: how often it occurs, and the measured seconds of one occurrence."""

    times: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """Runs that differ only in their seed.

    Attributes:
        trainings: number of runs that train; the others reuse the training of another run.
        steps: optimizer steps of these trainings together.
    """

    protocol: str
    method: str
    runs: int
    trainings: int
    steps: int
    work: Sequence[Work] = ()

    @property
    def seconds(self) -> float:
        """Seconds of one process that does everything."""
        return sum(work.times * work.seconds for work in self.work)


@dataclass(frozen=True, kw_only=True)
class Portion:
    """The runs on one dataset.

    Attributes:
        features, images: bytes of image features and of decoded images that they keep in memory.
        encoded, found: number of images to encode, and of images whose features are on disk.
        peak: peak memory of the measuring process in bytes, without kept features and images.
        ready: seconds from the start of that process until it could begin.
    """

    parts: Sequence[Part]
    features: int = 0
    images: int = 0
    encoded: int = 0
    found: int = 0
    peak: int = 0
    ready: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of one process that does everything."""
        return sum(part.seconds for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The time and memory of a plan.

    Attributes:
        portions: one for each dataset; free processes do their parts, the longest first.
        processes: number of parallel processes.
        before: seconds until the first process could start.
        limit: bytes of features, and as many of images, that a process keeps.
        parent: bytes of the process that starts the workers; 0 if it does the runs itself.
        took: seconds that the measurement took.
        on_gpu: whether memory means that of a GPU.
    """

    portions: Sequence[Portion]
    processes: int
    before: float = 0.0
    limit: int = 0
    parent: int = 0
    took: float = 0.0
    on_gpu: bool = False

    @property
    def parts(self) -> list[Part]:
        """The parts of all portions."""
        return [part for portion in self.portions for part in portion.parts]

    def assigned(self) -> list[list[Part]]:
        """The parts of each process: the longest remaining part goes to the process that is free first."""
        queues: list[list[Part]] = [[] for _ in range(self.processes)]
        for part in sorted(self.parts, key=lambda part: part.seconds, reverse=True):
            min(queues, key=lambda own: sum(one.seconds for one in own)).append(part)
        return queues

    @property
    def seconds(self) -> float:
        """Wall-clock time from the command to the last run."""
        if not self.portions:
            return 0.0
        working = max(sum(part.seconds for part in own) for own in self.assigned())
        return self.before + max(portion.ready for portion in self.portions) + working

    def share(self, parts: Sequence[Part]) -> float:
        """The share of some parts in the wall-clock time; the shares of all parts sum to the whole."""
        whole = sum(part.seconds for part in self.parts)
        return self.seconds * sum(part.seconds for part in parts) / whole if whole else 0.0

    @property
    def process_bytes(self) -> int:
        """Peak memory of a process, which may handle every dataset."""
        kept = [sum(getattr(portion, name) for portion in self.portions) for name in ("features", "images")]
        return max((portion.peak for portion in self.portions), default=0) + sum(min(self.limit, n) for n in kept)

    @property
    def all_bytes(self) -> int:
        """Peak memory of all processes together."""
        return self.parent + self.processes * self.process_bytes
