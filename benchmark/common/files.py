"""Write whole files, name paths in messages, and know the repository's folder."""

import contextlib
import errno
import os
import secrets
from pathlib import Path

from benchmark.errors import RecordError

REPOSITORY = Path(__file__).resolve().parents[2]


def shown(path: Path | str) -> str:
    """The path as messages name it: relative to the repository where it lies inside."""
    resolved = Path(path).resolve()
    return resolved.relative_to(REPOSITORY).as_posix() if resolved.is_relative_to(REPOSITORY) else str(path)


def write_whole(path: Path, content: bytes) -> None:
    """Put a whole file in place or leave what was there; the temporary name is this process's own."""
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
            f"{path}: cannot be written ({error.strerror or error}); no part of it was left. "
            "Free space or rights there, or give another results folder."
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make the rename survive a power cut, where the file system can."""
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
