"""Find images that have several names: paths that open the same file, and files with the same bytes."""

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmark.common.provenance import sha256_file
from benchmark.errors import DataError, unreadable

TAIL = 4096  # bytes at the end of a file, which differ in nearly all images of one size
CHUNK = 1024  # files that a thread takes at once


class File(NamedTuple):
    """What a path opens: an identity that does not depend on its spelling or on links, and the size in bytes."""

    identity: Hashable
    size: int


def find_files(images: Path, paths: Sequence[str]) -> dict[str, File]:
    """Return what each path in an image folder opens; paths that open nothing are left out."""

    def find(path: str) -> File | None:
        file = f"{images}/{path}"
        try:
            status = os.stat(file)
        except OSError:
            return None  # the check of the image reports it
        identity = (status.st_dev, status.st_ino) if status.st_ino else os.path.normcase(os.path.realpath(file))
        return File(identity, status.st_size)

    return {path: file for path, file in _mapped(find, paths).items() if file}


def find_copies(images: Path, files: Mapping[str, File], paths: Sequence[str]) -> list[list[str]]:
    """Return the groups of paths whose files have the same bytes, in the order of the paths.

    A file is only read if another one has its size, and read whole only if their ends agree too.

    Raises:
        DataError: a file cannot be read.
    """
    groups = [[path for path in paths if path in files]]
    keys = (
        lambda path: files[path].size,
        lambda path: _tail(f"{images}/{path}", files[path].size),
        lambda path: sha256_file(f"{images}/{path}"),
    )
    for key in keys:
        keyed, split = _mapped(key, [path for group in groups for path in group]), {}
        for number, group in enumerate(groups):
            for path in group:
                split.setdefault((number, keyed[path]), []).append(path)
        groups = [group for group in split.values() if len(group) > 1]
    return groups


def _tail(file: str, size: int) -> bytes:
    try:
        with open(file, "rb", buffering=0) as content:
            content.seek(max(0, size - TAIL))
            return content.read(TAIL)
    except OSError as error:
        raise DataError(unreadable(file, error)) from error


def _mapped(function: Callable, paths: Sequence[str]) -> dict[str, object]:
    """Return the result for each path, computed in threads, since files on a network disk have latency."""
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda chunk: [function(path) for path in chunk], chunks)
        return dict(zip(paths, (result for part in results for result in part), strict=True))
