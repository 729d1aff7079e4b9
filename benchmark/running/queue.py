"""Who does which run: one counter for all processes of a command, and a lock a run that keeps other commands away.

The runs lie in one order that every process works out alike, the longest first; the counter says which is next. A lock
is held while a run is under way and ends with its process, however that ends. So no run is done twice at once, even by
separate commands on one results folder, and a run whose process died is missing and is taken by the next start.
"""

import dataclasses
import errno
import functools
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmark.common.config import RunSpec
from benchmark.planning.plan import Plan
from benchmark.records import store
from benchmark.training.reuse import training_id
from benchmark.training.schedule import batches_per_epoch

try:
    import fcntl
except ImportError:  # Windows: one command at a time on a results folder
    fcntl = None

LOCK_FILE = ".runs.lock"  # below the results folder
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what file systems without locks answer

Counter = Callable[[], int]  # 0, 1, 2, ...: each number to one caller only


class RunLocks:
    """Locks of runs on one results folder: each is one byte of one file, so nothing is left behind.

    POSIX locks, which network file systems know too, belong to a process and end with it, or when it closes the file:
    so a process has one of these a folder, which `locks_on` keeps.
    """

    def __init__(self, results: Path):
        self._file = None
        if fcntl is not None:
            results.mkdir(parents=True, exist_ok=True)
            self._file = os.open(results / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)

    @contextmanager
    def held(self, specs: Sequence[RunSpec]) -> Iterator[list[RunSpec]]:
        """Those of some runs that nobody else has under way, theirs until the end of the block."""
        mine = [spec for spec in specs if self._take(spec)]
        try:
            yield mine
        finally:
            for spec in mine:
                self._give_back(spec)

    def _take(self, spec: RunSpec) -> bool:
        if self._file is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(spec))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if error.errno not in NO_LOCKS:
                raise
            warnings.warn(
                f"The file system of the results folder has no locks ({error.strerror}); let one command at a time "
                "work on it.",
                stacklevel=2,
            )
            self._file = None
        return True

    def _give_back(self, spec: RunSpec) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(spec))


@functools.cache
def locks_on(results: Path) -> RunLocks:
    """This process's locks on a results folder."""
    return RunLocks(results)


class OneByOne:
    """The counter of a process that shares with nobody."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self) -> int:
        self._next += 1
        return self._next - 1


def take_turns(units: Sequence[Sequence[RunSpec]], results: Path, counter: Counter) -> Iterator[list[RunSpec]]:
    """The missing runs of one unit after another that the counter gives to this process, locked while they are out.

    Where the counter is lost, with the process that kept it, this process goes through the rest by the locks alone.
    """
    locks = locks_on(Path(results).resolve())
    for index in _indices(len(units), counter):
        with locks.held(units[index]) as mine:
            left = store.missing(mine, results)  # somebody else may have done it meanwhile
            if left:
                yield left


def _indices(count: int, counter: Counter) -> Iterator[int]:
    index = -1
    while True:
        try:
            index = counter()
        except (RuntimeError, OSError) as error:  # torch's DistError is a RuntimeError
            warnings.warn(f"The shared counter is lost ({str(error).splitlines()[0]}).", stacklevel=2)
            yield from range(index + 1, count)
            return
        if index >= count:
            return
        yield index


def _place(spec: RunSpec) -> int:
    """The byte that stands for a run; two runs share one as often as two 62-bit hashes are equal."""
    path = spec.record_path(Path()).as_posix()
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") >> 2


def under_way(specs: Sequence[RunSpec], results: Path) -> list[RunSpec]:
    """Those of some runs that another process has under way at this moment."""
    with locks_on(Path(results).resolve()).held(specs) as mine:
        return [spec for spec in specs if spec not in set(mine)]


def units_of(plan: Plan) -> list[list[RunSpec]]:
    """All runs of a plan in the units that one process takes as a whole, the longest first; alike in every process.

    A unit is what differs in nothing but its seed, which is trained in one pass, with the runs of other protocols that
    take those trainings.
    """
    units: dict[str, list[RunSpec]] = {}
    for spec in plan.specs:
        alike = dataclasses.replace(spec, seed=0)
        units.setdefault(training_id(alike) or alike.record_path(Path()).as_posix(), []).append(spec)
    work: dict[tuple, int] = {}

    def length(unit: Sequence[RunSpec]) -> int:
        """Steps times classes, about the prompts to encode: a method with prompts for each image has batches of one."""
        spec = unit[0]
        if spec.training is None:
            return 0
        key = (spec.protocol, spec.dataset, spec.shots)
        if key not in work:
            sample = plan.training_set(spec)
            work[key] = (len(sample.train), len(sample.class_names))
        images, classes = work[key]
        return spec.training.epochs * batches_per_epoch(images, spec.training.batch_size) * classes

    return sorted(units.values(), key=length, reverse=True)  # stable: what is equally long keeps the plan's order
