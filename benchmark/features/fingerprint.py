"""Hash the content of images, so that a record answers for exactly the images that it saw.

Hashes are kept in the cache folder by path, size and times of the file, so that a second plan reads no image. The
pictures of a generated dataset are not read: the version of their generator stands for them on every machine.
"""

import hashlib
import os
import sqlite3
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from benchmark.common.files import cache_folder
from benchmark.common.provenance import sha256_file
from benchmark.data.catalog import Dataset, Item, relative_path
from benchmark.errors import DataError, unreadable

DIGITS = 16  # of a hash that are kept
FILE = "digests.sqlite"  # in the cache folder
READERS = 16  # threads: on a network they mostly wait
TABLE = "CREATE TABLE IF NOT EXISTS images (path TEXT PRIMARY KEY, state TEXT, digest TEXT) WITHOUT ROWID"


def add_digests(dataset: Dataset, items: Iterable[Item]) -> None:
    """Add the hashes of these images to `dataset.digests`, unless they are there or the dataset is generated.

    Raises:
        DataError: an image cannot be read.
    """
    paths = [] if dataset.version else [item.path for item in items if item.path not in dataset.digests]
    dataset.digests.update(digests_of(dict.fromkeys(paths)))


def contents(dataset: Dataset, items: Sequence[Item]) -> list[str]:
    """Name and content of each image, the same for a copy of the dataset in another folder."""
    add_digests(dataset, items)
    return [f"{relative_path(dataset, item)} {dataset.version or dataset.digests[item.path]}" for item in items]


def fingerprint(*parts: tuple[Dataset, Sequence[Item]]) -> str:
    """A hash of images of one or several datasets in 16 hexadecimal digits; their order does not matter."""
    lines = sorted({f"{dataset.name} {line}" for dataset, items in parts for line in contents(dataset, items)})
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:DIGITS]


def check_unchanged(dataset: Dataset, item: Item) -> None:
    """Raise DataError for an image that changed since the plan hashed it."""
    if dataset.digests.get(item.path, "") not in ("", _digest(item.path)):
        raise DataError(
            f"{dataset.name}: {item.path} changed after the plan was made, so this result would be of other images. "
            "Start the command again when the folder is complete; what is recorded stays."
        )


def digests_of(paths: Iterable[str]) -> dict[str, str]:
    """The hash of each file's content, from the cache where size and times of the file are those of the last time.

    Raises:
        DataError: a file cannot be read.
    """
    states = {path: _state(path) for path in paths}
    found = _read_kept(states) if states else {}
    unknown = [path for path in states if path not in found]
    with ThreadPoolExecutor(READERS) as pool:
        made = dict(zip(unknown, pool.map(_digest, unknown), strict=True))
    if made:
        _keep([(_key(path), states[path], digest) for path, digest in made.items()])
    return found | made


def _state(path: str) -> str:
    """Size and times of a file; the second time also changes where a copy keeps the first."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(unreadable(path, error)) from error
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _key(path: str) -> str:
    """The path as a database takes it, also where a folder's name is not UTF-8."""
    return path.encode(errors="backslashreplace").decode()


def _digest(path: str) -> str:
    return sha256_file(path)[:DIGITS]


def _read_kept(states: dict[str, str]) -> dict[str, str]:
    """The digests that are kept for these states of files."""
    path, found = cache_folder() / FILE, {}
    if not path.is_file():
        return found
    try:
        with closing(sqlite3.connect(path, timeout=60)) as kept:
            query = "SELECT digest FROM images WHERE path = ? AND state = ?"
            for image, state in states.items():
                if row := kept.execute(query, (_key(image), state)).fetchone():
                    found[image] = row[0]
    except sqlite3.Error as error:
        _warn(path, error)
    return found


def _keep(rows: Sequence[tuple[str, str, str]]) -> None:
    path = cache_folder() / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=60)) as kept, kept:
            kept.execute(TABLE)
            kept.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?)", rows)
    except (OSError, sqlite3.Error) as error:
        _warn(path, error)


def _warn(path: Path, error: Exception) -> None:
    warnings.warn(
        f"{path}: cannot be used ({error}); images are read again by each plan. Delete it, or set "
        "COPL_BENCHMARK_CACHE to a folder with space.",
        stacklevel=2,
    )
