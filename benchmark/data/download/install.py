"""Install a downloaded dataset in the data folder, completely or not at all."""

import json
import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from benchmark.common.files import write_atomically
from benchmark.common.provenance import sha256_file
from benchmark.data.catalog import load_catalog, load_dataset
from benchmark.data.download.archives import ArchiveError
from benchmark.data.download.sources import AUTHORS, Download
from benchmark.data.download.transfer import Archive, size_of
from benchmark.data.download.unpack import unpack
from benchmark.errors import ConfigError, DataError, RecordError, did_you_mean

IMAGENET = "imagenet"  # may not be redistributed, so no repository has it
ALL = "all"
RECORD = ".downloads.json"  # in the data folder: the origin of each dataset
WORK = ".downloads"  # in the data folder: partial downloads


def choose(words: Iterable[str]) -> list[str]:
    """Return the datasets to download by their names, without duplicates; `all` means all but ImageNet.

    Raises:
        ConfigError: a name that cannot be downloaded.
    """
    real = {name: entry for name, entry in load_catalog().items() if entry.mirrors is None}
    names: dict[str, None] = {}
    for word in words:
        if word in load_catalog() and word not in real:
            raise ConfigError(f"download {word}: is a generated dataset, which needs no download.")
        if word not in (*real, ALL):
            raise ConfigError(f"download {word}: is not a dataset. {did_you_mean(word, [*real, ALL])}")
        names |= dict.fromkeys([name for name in real if name != IMAGENET] if word == ALL else [word])
    if not names:
        raise ConfigError(f"download: name datasets, or {ALL}. {did_you_mean('', [*real, ALL])}")
    return list(names)


def is_absent(name: str, data: Path) -> bool:
    """Return whether a dataset's folder is missing, empty, or contains the split file only."""
    entry = load_catalog()[name]
    folder = data / entry.folder
    if folder.is_symlink() or not folder.is_dir():
        return not os.path.lexists(folder)
    return all(path.name == entry.split and path.is_file() for path in folder.iterdir())


def why_incomplete(name: str, data: Path) -> str | None:
    """Return what is missing of a dataset, lists or listed images, or None; no image is opened."""
    try:
        dataset = load_dataset(name, data)
    except DataError as error:
        return str(error)
    if load_catalog()[name].layout.startswith("image_folder"):  # its lists are its files
        return None
    paths = dict.fromkeys(item.path for part in (dataset.train, dataset.val, dataset.test) for item in part)
    missing = [path for path in paths if not os.path.isfile(path)]
    if not missing:
        return None
    return f"{name}: {len(missing)} of {len(paths)} listed images are missing, the first is {missing[0]}."


def need(archives: Iterable[Archive], work: Path) -> tuple[int, int]:
    """Return the bytes still to download, and the most that downloading and unpacking in turn takes on the disk.

    Unpacked images are assumed to be as large as their archive, which is deleted when it is unpacked.
    """
    fetched = held = peak = 0
    for archive in archives:
        missing = 0 if archive.path else archive.size - min(archive.size, size_of(archive.partial(work)))
        fetched += missing
        peak = max(peak, held + missing + archive.size)
        held += archive.size - (0 if archive.path else archive.size - missing)
    return fetched, peak


def install(name: str, archive: Path, data: Path, *, split: Path | None = None) -> None:
    """Unpack an archive in a work folder, check that the dataset loads, and move it into the data folder.

    On errors the data folder is unchanged.

    Args:
        split: the split file, if the archive has the images only.
    Raises:
        ArchiveError: the archive is damaged, unsafe, or not a complete dataset.
        DataError: another cause: no space, or a list that names other images.
    """
    entry = load_catalog()[name]
    root = data / WORK / f"unpacking-{name}"
    try:
        shutil.rmtree(root, ignore_errors=True)
        unpack(archive, entry, root / entry.folder, split=split)
        if (data / IMAGENET).is_dir():  # shifted versions use its class names
            (root / IMAGENET).symlink_to((data / IMAGENET).resolve(), target_is_directory=True)
        if problem := why_incomplete(name, root):
            # the split file, or the class names, are not the archive's
            lists_are_separate = split is not None or entry.layout.startswith("image_folder")
            remedy = f" Check {split}, or fetch it again; the archive is kept." if split else ""
            raise (DataError if lists_are_separate else ArchiveError)(
                f"{archive.name} is not a complete dataset. {problem.replace(str(root), str(data))}{remedy}"
            )
        if hasattr(os, "sync"):
            os.sync()  # so that the dataset is complete even after a power failure
        _move(root / entry.folder, data / entry.folder, entry.split, last=entry.images)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _move(made: Path, place: Path, split: str, *, last: str) -> None:
    """Move a dataset into place; an existing split file there is kept, and the images are moved last."""
    try:
        if not (split and (place / split).is_file()):
            os.rename(made, place)
            return
        if (place / split).read_bytes() != (made / split).read_bytes():
            raise DataError(
                f"{place / split}: differs from the archive's split file. Move it away and run the same command again."
            )
        for path in sorted(made.iterdir(), key=lambda path: path.name == last):
            if path.name != split:
                os.rename(path, place / path.name)
    except OSError as error:
        raise DataError(f"{place}: cannot be moved into place ({error.strerror}).") from error


def read_record(data: Path) -> dict[str, dict]:
    """Return the recorded origin of each dataset in a data folder, by name; {} if nothing is recorded.

    Raises:
        DataError: the record exists and cannot be read.
    """
    path = data / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Move it away; it only records the origin of datasets."
        ) from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: does not contain a mapping. Move it away; it only records the origin of datasets.")
    return record


def write_record(name: str, download: Download, file: Path, *, data: Path) -> None:
    """Record the origin of a dataset.

    Args:
        file: the archive.
    Raises:
        DataError: the record cannot be written.
    """
    archive, source = download.archive, download.source
    if source is AUTHORS:
        origin = {"address": archive.address}
    else:
        origin = {"repository" if source.revision else "folder": source.name, "revision": source.revision}
    checksum = {"md5": archive.md5} if archive.md5 else {"sha256": archive.sha256 or sha256_file(file)}
    entry = {
        **origin,
        "file": archive.inside or archive.name,
        **checksum,
        "size": archive.size,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    content = json.dumps(read_record(data) | {name: entry}, indent=2, sort_keys=True) + "\n"
    try:
        write_atomically(data / RECORD, content.encode())
    except RecordError as error:
        raise DataError(f"{name} is in place, but its origin could not be recorded. {error}") from error
