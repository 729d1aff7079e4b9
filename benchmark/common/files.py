"""Write files atomically, expand ~ in paths, find the cache folder, and name paths in messages."""

import contextlib
import errno
import os
import secrets
from pathlib import Path

from benchmark.errors import ConfigError, RecordError

REPOSITORY = Path(__file__).resolve().parents[2]


def expand(path: Path | str) -> Path:
    """The path with the home folder for a leading ~.

    Raises:
        ConfigError: the home folder is not known: no such user, or neither HOME nor an entry in the password file.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: the home folder is not known. Set HOME, or give the path without ~.") from error


def cache_folder() -> Path:
    """Return the folder for reproducible files: COPL_BENCHMARK_CACHE, or else a folder in the user's cache.

    Raises:
        ConfigError: it would be in the home folder, which is not known.
    """
    try:
        if folder := os.environ.get("COPL_BENCHMARK_CACHE"):
            return expand(folder)
        return expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "copl_benchmark"
    except ConfigError as error:
        raise ConfigError("The home folder is not known. Set HOME, or COPL_BENCHMARK_CACHE to a folder.") from error


def shown(path: Path | str) -> str:
    """The path in messages: relative to the repository if it is inside."""
    resolved = Path(path).resolve()
    return resolved.relative_to(REPOSITORY).as_posix() if resolved.is_relative_to(REPOSITORY) else str(path)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file or leave the previous one unchanged; missing folders are created.

    Raises:
        RecordError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise RecordError(
            f"{path}: cannot be written ({error.strerror or error}); no part of it was kept. "
            "Free disk space or change the permissions there, or give another results folder."
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make the rename survive a power failure, if the file system supports it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
