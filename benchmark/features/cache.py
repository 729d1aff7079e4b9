"""Tensors on disk, named by the hash of what they are a function of, read by mapping the file into memory.

Several processes may share a folder: an entry appears whole by a rename, and one process makes it while the others
that want it wait. What was used longest ago is deleted once the folder passes its limit. An entry that cannot be read,
or is not what belongs there, is made anew, and a folder that cannot be written is done without: a cache never fails a
run.
"""

import contextlib
import hashlib
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
from filelock import FileLock
from safetensors import SafetensorError
from torch import Tensor

from benchmark.errors import ConfigError

Tensors = dict[str, Tensor]
ENTRIES = (".safetensors", ".partial")  # a lock is not for others to delete
LIMIT_GIGABYTES = 20  # of a cache folder, unless COPL_BENCHMARK_CACHE_GB says otherwise


def cache_folder() -> Path:
    """Where everything that can be made again is kept: COPL_BENCHMARK_CACHE, else below the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("COPL_BENCHMARK_CACHE") or Path(base) / "copl_benchmark").expanduser()


def key_of(parts: Mapping[str, object]) -> str:
    """64 hexadecimal digits of named values that have an exact text form."""
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()


def cache_limit() -> int:
    """Bytes that features on disk may take.

    Raises:
        ConfigError: COPL_BENCHMARK_CACHE_GB is no number.
    """
    text = os.environ.get("COPL_BENCHMARK_CACHE_GB", str(LIMIT_GIGABYTES))
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"COPL_BENCHMARK_CACHE_GB={text}: must be a number of gigabytes, e.g. 20.") from error


class DiskCache:
    """Entries of tensors below one folder.

    Args:
        folder: made when the first entry is written.
        limit_bytes: of all entries together.
    """

    def __init__(self, folder: Path, limit_bytes: int | None = None):
        self.folder = folder
        self.limit_bytes = cache_limit() if limit_bytes is None else limit_bytes

    def get(
        self, key: str, make: Callable[[], Tensors], fits: Callable[[Tensors], bool] = lambda tensors: True
    ) -> Tensors:
        """The tensors of a key, on the CPU and only to be read; made, and kept for the next, where they are missing.

        Args:
            fits: whether what lies there can be what `make` gives.
        """
        path = self._path(key)
        found = self._read(path, fits)
        if found is not None:
            return found
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_suffix(".lock"))
            lock.acquire()
        except (OSError, NotImplementedError) as error:  # the latter of a file system without locks
            self._go_without(error)
            return make()
        try:
            found = self._read(path, fits)  # another process may have made it meanwhile
            if found is not None:
                return found
            tensors = make()
            self._write(path, tensors)
            return tensors
        finally:
            lock.release()
            with contextlib.suppress(OSError):  # whoever waits holds the file open, and finds the entry afterwards
                path.with_suffix(".lock").unlink()

    def has(self, key: str) -> bool:
        """Whether an entry lies there now."""
        return self._path(key).is_file()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _read(self, path: Path, fits: Callable[[Tensors], bool]) -> Tensors | None:
        try:
            tensors = safetensors.torch.load_file(path)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError):  # cut off, or no longer readable
            tensors = None
        if tensors is not None and fits(tensors):
            with contextlib.suppress(OSError):  # somebody else's entry serves as well
                os.utime(path)  # used now: eviction looks at this
            return tensors
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def _write(self, path: Path, tensors: Tensors) -> None:
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            safetensors.torch.save_file({name: t.contiguous() for name, t in tensors.items()}, partial)
            with open(partial, "rb") as file:
                os.fsync(file.fileno())  # after a power cut the entry is whole or absent
            os.replace(partial, path)
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            self._go_without(error)
            return
        self._evict(keep=path)

    def _evict(self, keep: Path) -> None:
        """Delete what was used longest ago, what a killed process left half-written too, until the limit is kept."""
        entries, now = [], time.time()
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):  # another process may delete at the same time
                status = path.stat()
                if status.st_mtime > now:  # the clock was set back: else all that is used from now on would go first
                    os.utime(path)
                entries.append((min(status.st_mtime, now), status.st_size, path))
        held = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if held <= self.limit_bytes:
                return
            if path != keep and path.suffix in ENTRIES:
                with contextlib.suppress(OSError):
                    path.unlink()
                    held -= size

    def _go_without(self, error: Exception) -> None:
        warnings.warn(
            f"{self.folder}: features cannot be kept there ({error}); they are computed again when needed. Point "
            "COPL_BENCHMARK_CACHE at a folder with space, or give --no-cache.",
            stacklevel=2,
        )
