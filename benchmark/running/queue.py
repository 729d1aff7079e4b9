"""Distribute runs over processes: a shared counter hands them out, a file lock keeps other commands from the same run.

Every process puts the runs into the same order, the longest first; the counter gives the index of the next unit. A lock
is held during a run and ends with its process, even if the process is killed. So no run is done twice at once, not even
by separate commands on one results folder, and a run whose process died stays missing and the next start does it.

The seeds of a training are one unit, since they train in one pass. If that unit is longer than an even share of the
work, its seeds are taken apart, so that no process works alone at the end. The bytes of a run do not depend on it.
"""

import errno
import functools
import hashlib
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmark.clip.config import ClipConfig
from benchmark.common.config import RunSpec
from benchmark.errors import RecordError
from benchmark.planning.planned_run import PlannedRun
from benchmark.protocols.registry import PROTOCOLS
from benchmark.records import store
from benchmark.training.reuse import training_id
from benchmark.training.schedule import batches_per_epoch

try:
    import fcntl
except ImportError:  # Windows: one command at a time on a results folder
    fcntl = None

LOCK_FILE = ".runs.lock"  # below the results folder
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # errors of file systems without locks

ROWS = 4  # rows of the text tower for each class: about those of ImageNet's names in their trie

Counter = Callable[[], int]  # 0, 1, 2, ...: one caller only gets each number


class RunLocks:
    """Locks of runs on one results folder: each is one byte of one file, so that no lock files remain.

    POSIX locks, which network file systems support too, belong to a process and end with it, or when it closes the
    file: so a process has one RunLocks for a folder, which `locks_on` keeps.
    """

    def __init__(self, results: Path):
        self._file = None
        if fcntl is not None:
            try:
                results.mkdir(parents=True, exist_ok=True)
                self._file = os.open(results / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise RecordError(
                    f"{results / LOCK_FILE}: cannot be opened ({error.strerror}). Move it away, or give another --out."
                ) from error

    @contextmanager
    def held(self, specs: Sequence[RunSpec]) -> Iterator[list[RunSpec]]:
        """Lock those runs that no other process is doing, until the end of the block."""
        locked = [spec for spec in specs if self._lock(spec)]
        try:
            yield locked
        finally:
            for spec in locked:
                self._unlock(spec)

    def _lock(self, spec: RunSpec) -> bool:
        if self._file is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte_of(spec))
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

    def _unlock(self, spec: RunSpec) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _byte_of(spec))


@functools.cache
def locks_on(results: Path) -> RunLocks:
    """This process's locks on a results folder."""
    return RunLocks(results)


def claim_units(units: Sequence[Sequence[PlannedRun]], results: Path, counter: Counter) -> Iterator[list[PlannedRun]]:
    """Yield the missing runs of each unit that the counter gives to this process; they are locked meanwhile.

    If the counter is lost because its process died, this process tries all remaining units; the locks suffice.
    """
    locks = locks_on(Path(results).resolve())
    for index in _indices(len(units), counter):
        with locks.held([run.spec for run in units[index]]) as locked:
            # another process may have done some meanwhile; a network disk may list a new file late, but opens it
            left = {spec for spec in locked if not store.is_done(spec, results)}
            if left:
                yield [run for run in units[index] if run.spec in left]


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


def _byte_of(spec: RunSpec) -> int:
    """The position of the byte that is locked for a run; a collision is one of 62-bit hashes."""
    path = spec.record_path(Path()).as_posix()
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") >> 2


def under_way(specs: Sequence[RunSpec], results: Path) -> list[RunSpec]:
    """The runs that another process is doing at this moment."""
    with locks_on(Path(results).resolve()).held(specs) as locked:
        return [spec for spec in specs if spec not in set(locked)]


def units_of(runs: Sequence[PlannedRun], *, view: float = 0.0, longest: float = math.inf) -> list[list[PlannedRun]]:
    """Group runs into units that one process does as a whole, the longest first; every process gets the same list.

    A unit is the runs that differ only in their seed, which are trained in one pass, and the runs of other protocols
    that reuse these trainings.

    Args:
        view: see view_length; 0: images are not counted.
        longest: length above which a unit is taken apart by seeds, see even_share; 0: each seed is a unit.
    """
    units = _shared_trainings(runs)
    lengths = _lengths(units, view)
    parts = [part for unit, length in zip(units, lengths, strict=True) for part in _apart(unit, length, longest)]
    order = sorted(zip(_lengths(parts, view), parts, strict=True), key=lambda pair: -pair[0])
    return [part for _, part in order]  # units of equal length keep the order of the plan


def even_share(runs: Sequence[PlannedRun], processes: int, *, view: float = 0.0) -> float:
    """The length of the missing trainings divided by the processes; infinite if one process does everything."""
    missing = [run for run in runs if run.missing and run.trains]
    total = sum(_lengths(_shared_trainings(missing), view))
    return total / processes if total and processes > 1 else math.inf


def view_length(config: ClipConfig) -> float:
    """The length of an image that is encoded: the class prompts of training steps that cost as much."""
    text, vision = config.text_config, config.vision_config
    rows = 1 + (vision.image_size // vision.patch_size) ** 2
    encoding = rows * vision.hidden_size**2 * vision.num_hidden_layers
    return encoding / (2 * ROWS * text.hidden_size**2 * text.num_hidden_layers)  # 2: forward and backward


def _shared_trainings(runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """Group runs that differ only in their seed, and runs that reuse their trainings."""
    units: dict[str, list[PlannedRun]] = {}
    name_of = functools.cache(lambda alike: training_id(alike) or alike.record_path(Path()).as_posix())
    for run in runs:
        units.setdefault(name_of(run.alike), []).append(run)
    return list(units.values())


def _apart(unit: list[PlannedRun], length: float, longest: float) -> list[list[PlannedRun]]:
    """Divide a unit into as few groups of seeds as are needed for its length."""
    seeds = list(dict.fromkeys(run.spec.seed for run in unit))
    wanted = math.ceil(length / longest) if longest else len(seeds)
    count = max(1, min(len(seeds), wanted))
    part_of = {seed: i * count // len(seeds) for i, seed in enumerate(seeds)}
    return [[run for run in unit if part_of[run.spec.seed] == part] for part in range(count)]


def _lengths(units: Sequence[Sequence[PlannedRun]], view: float) -> list[float]:
    """The length of each unit: steps times classes of all seeds, and the views that no other unit encodes before.

    Steps times classes is about the number of prompts: a method with prompts for each image has batches of 1. The
    methods of a seed share their views, so the first of those with the most epochs has them all.
    """
    sizes: dict[tuple, tuple[int, int]] = {}
    lengths, encoded = [], {}
    for index, unit in enumerate(units):
        spec, training = unit[0].spec, unit[0].spec.training
        lengths.append(0.0)
        if training is None:
            continue
        key = (spec.protocol, spec.dataset, spec.shots)
        if key not in sizes:
            sample = unit[0].training_set()
            sizes[key] = (len(sample.train), len(sample.class_names))
        images, classes = sizes[key]
        sample = (PROTOCOLS[spec.protocol].trains_on, *key[1:], training.smallest_crop)
        for seed in {run.spec.seed for run in unit}:
            lengths[index] += training.epochs * batches_per_epoch(images, training.batch_size) * classes
            views = min(training.epochs, training.views or training.epochs) * images
            if views > encoded.get((*sample, seed), (0, 0))[0]:
                encoded[(*sample, seed)] = views, index
    for views, index in encoded.values():
        lengths[index] += view * views
    return lengths
