"""Cache tensors on disk, by the hash of everything they depend on.

Several processes may share a folder: entries are renamed into place when complete, and while one process makes an
entry, others that need it wait. The least recently used entries are deleted when the folder exceeds its limit. An entry
that cannot be read or has other shapes is made again, and a folder that cannot be written is not used: the cache never
makes a run fail.
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
ENTRIES = (".safetensors", ".partial")  # files that may be deleted; locks may not
LIMIT_GIGABYTES = 20  # limit of a cache folder, unless COPL_BENCHMARK_CACHE_GB sets another


def key_of(parts: Mapping[str, object]) -> str:
    """Return 64 hexadecimal digits for named values, which need an exact repr."""
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()


def cache_limit() -> int:
    """Return the bytes that features on disk may take.

    Raises:
        ConfigError: COPL_BENCHMARK_CACHE_GB is not a number.
    """
    text = os.environ.get("COPL_BENCHMARK_CACHE_GB", str(LIMIT_GIGABYTES))
    try:
        if (limit := int(float(text) * 1e9)) >= 0:
            return limit
        raise ValueError("below 0")
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"COPL_BENCHMARK_CACHE_GB={text}: must be a number of gigabytes, e.g. 20.") from error


class DiskCache:
    """Tensors in a folder.

    Args:
        folder: created when the first entry is written.
        limit_bytes: of all entries together; None: cache_limit().
    """

    def __init__(self, folder: Path, limit_bytes: int | None = None):
        self.folder = folder
        self.limit_bytes = cache_limit() if limit_bytes is None else limit_bytes

    def get(self, key: str, make: Callable[[], Tensors], shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
        """Return the tensors of a key, read-only on the CPU; make and keep them if they are missing.

        Args:
            shapes: of what `make` returns, by name; an entry with other shapes is replaced.
        """
        path = self._path(key)
        found = self._read(path, shapes)
        if found is not None:
            return found
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_suffix(".lock"))
            lock.acquire()
        except (OSError, NotImplementedError) as error:  # NotImplementedError: the file system has no locks
            self._warn(error)
            return make()
        try:
            found = self._read(path, shapes)  # another process may have made it in the meantime
            if found is not None:
                return found
            tensors = make()
            self._write(path, tensors)
            return tensors
        finally:
            lock.release()
            with contextlib.suppress(OSError):  # processes that wait have the file open, and then find the entry
                path.with_suffix(".lock").unlink()

    def has(self, key: str) -> bool:
        """Return whether there is an entry."""
        return self._path(key).is_file()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _read(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Tensors | None:
        try:
            tensors = safetensors.torch.load_file(path)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError):  # truncated or unreadable
            tensors = None
        if tensors is not None and {name: tensor.shape for name, tensor in tensors.items()} == shapes:
            with contextlib.suppress(OSError):  # another user's entry can be used too
                os.utime(path)  # for eviction
            return tensors
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def _write(self, path: Path, tensors: Tensors) -> None:
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            safetensors.torch.save_file({name: t.contiguous() for name, t in tensors.items()}, partial)
            with open(partial, "rb") as file:
                os.fsync(file.fileno())  # so that a power failure leaves no partial entry
            os.replace(partial, path)
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            self._warn(error)
            return
        self._evict(keep=path)

    def _evict(self, keep: Path) -> None:
        """Delete the least recently used entries, and partial files of killed processes, down to the limit."""
        entries, now = [], time.time()
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):  # another process may delete at the same time
                status = path.stat()
                if status.st_mtime > now:  # the clock was set back: otherwise newly used entries would be deleted first
                    os.utime(path)
                entries.append((min(status.st_mtime, now), status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit_bytes:
                return
            if path != keep and path.suffix in ENTRIES:
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size

    def _warn(self, error: Exception) -> None:
        warnings.warn(
            f"{self.folder}: features cannot be kept there ({error}); they are computed again when needed. Set "
            "COPL_BENCHMARK_CACHE to a folder with space, or give --no-cache.",
            stacklevel=2,
        )
