"""Which datasets a data folder lacks, and putting one in place: whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmark.common.files import write_whole
from benchmark.common.provenance import digest_of
from benchmark.data.catalog import load_catalog, load_dataset
from benchmark.data.download.archives import ArchiveError
from benchmark.data.download.sources import AUTHORS, Offer
from benchmark.data.download.transfer import Archive, size_of
from benchmark.data.download.unpack import unpack
from benchmark.errors import ConfigError, DataError, RecordError, did_you_mean

IMAGENET = "imagenet"  # may not be handed on, so nobody's repository holds it
ALL = "all"
RECORD = ".downloads.json"  # in the data folder: where each dataset is from
WORK = ".downloads"  # in the data folder: what is on its way


@dataclass(frozen=True, kw_only=True)
class Need:
    """What fetching some archives and unpacking them takes of the disk, in bytes; pictures take as much as their zip.

    Attributes:
        fetched: still to come over the line.
        peak: most that is held at a time. An archive goes when it is unpacked.
    """

    fetched: int
    peak: int


def choose(words: Iterable[str]) -> list[str]:
    """The datasets that `--download` names, each once; `all` is every one but ImageNet.

    Raises:
        ConfigError: a name that cannot be fetched.
    """
    real = {name: entry for name, entry in load_catalog().items() if entry.mirrors is None}
    names: dict[str, None] = {}
    for word in words:
        if word in load_catalog() and word not in real:
            raise ConfigError(f"--download {word}: belongs to the embedded suite, which is drawn where it is needed.")
        if word not in (*real, ALL):
            raise ConfigError(f"--download {word}: is not a dataset. {did_you_mean(word, [*real, ALL])}")
        names |= dict.fromkeys([name for name in real if name != IMAGENET] if word == ALL else [word])
    if not names:
        raise ConfigError(f"--download: name datasets, or {ALL}. {did_you_mean('', [*real, ALL])}")
    return list(names)


def is_absent(name: str, data: Path) -> bool:
    """Whether nothing lies where a dataset would, or its split file alone, which waits for the authors' pictures."""
    entry = load_catalog()[name]
    folder = data / entry.folder
    if folder.is_symlink() or not folder.is_dir():
        return not os.path.lexists(folder)
    return all(path.name == entry.split and path.is_file() for path in folder.iterdir())


def why_incomplete(name: str, data: Path) -> str | None:
    """What a dataset in a data folder lacks: its lists, or a listed picture; none is opened. None if it is whole."""
    try:
        dataset = load_dataset(name, data)
    except DataError as error:
        return str(error)
    if load_catalog()[name].layout.startswith("image_folder"):  # its lists are what lies there
        return None
    paths = dict.fromkeys(item.path for part in (dataset.train, dataset.val, dataset.test) for item in part)
    missing = [path for path in paths if not os.path.isfile(path)]
    if not missing:
        return None
    return f"{name}: {len(missing)} of {len(paths)} listed pictures are missing, {missing[0]} first."


def need(archives: Iterable[Archive], work: Path) -> Need:
    """What these archives, one after another, take of the disk that the data folder is on."""
    fetched = held = peak = 0
    for archive in archives:
        missing = 0 if archive.path else archive.size - min(archive.size, size_of(archive.growing(work)))
        fetched += missing
        peak = max(peak, held + missing + archive.size)
        held += archive.size - (0 if archive.path else archive.size - missing)
    return Need(fetched=fetched, peak=peak)


def install(name: str, archive: Path, data: Path, *, split: Path | None = None) -> None:
    """Unpack an archive beside its place, see that the dataset can be read from there, and move it there in one step.

    Args:
        split: the split file, where the archive brings the pictures alone.
    Raises:
        ArchiveError: it is damaged, not to be trusted, or no whole dataset; the data folder is as it was.
        DataError: something else is missing, space or what a list names say; the data folder is as it was.
    """
    entry = load_catalog()[name]
    root = data / WORK / f"unpacking-{name}"
    try:
        shutil.rmtree(root, ignore_errors=True)
        unpack(archive, entry, root / entry.folder, split=split)
        if (data / IMAGENET).is_dir():  # shifted versions take class names from there
            (root / IMAGENET).symlink_to((data / IMAGENET).resolve(), target_is_directory=True)
        if problem := why_incomplete(name, root):
            from_elsewhere = split is not None or entry.layout.startswith("image_folder")  # lists, or class names
            remedy = f" Look at {split}, or fetch it again; the archive is kept." if split else ""
            raise (DataError if from_elsewhere else ArchiveError)(
                f"{archive.name} is no whole dataset. {problem.replace(str(root), str(data))}{remedy}"
            )
        if hasattr(os, "sync"):
            os.sync()  # after a power cut, too, what has its name is whole
        _move(root / entry.folder, data / entry.folder, entry.split, last=entry.images)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _move(made: Path, place: Path, split: str, *, last: str) -> None:
    """A dataset into its place in one step. A place that holds its split file keeps that; pictures come last."""
    try:
        if not (split and (place / split).is_file()):
            os.rename(made, place)
            return
        if (place / split).read_bytes() != (made / split).read_bytes():
            raise DataError(
                f"{place / split}: is another list than the archive's. Move it away and give the same command again."
            )
        for path in sorted(made.iterdir(), key=lambda path: path.name == last):
            if path.name != split:
                os.rename(path, place / path.name)
    except OSError as error:
        raise DataError(f"{place}: cannot be put in place ({error.strerror}).") from error


def read_record(data: Path) -> dict[str, dict]:
    """Where the datasets of a data folder are from, by name; empty where nothing is recorded.

    Raises:
        DataError: the file is there and cannot be read.
    """
    path = data / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Move it away; it only says where datasets are from."
        ) from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: holds no mapping. Move it away; it only says where datasets are from.")
    return record


def write_record(name: str, offer: Offer, file: Path, *, data: Path) -> None:
    """Add where a dataset is from.

    Args:
        file: the archive as it lies here.
    Raises:
        DataError: it cannot be written.
    """
    archive, source = offer.archive, offer.source
    if source is AUTHORS:
        origin = {"address": archive.address}
    else:
        origin = {"repository" if source.revision else "folder": source.name, "revision": source.revision}
    checksum = {"md5": archive.md5} if archive.md5 else {"sha256": archive.sha256 or digest_of(file, "sha256")}
    entry = {
        **origin,
        "file": archive.inside or archive.name,
        **checksum,
        "size": archive.size,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    content = json.dumps(read_record(data) | {name: entry}, indent=2, sort_keys=True) + "\n"
    try:
        write_whole(data / RECORD, content.encode())
    except RecordError as error:
        raise DataError(f"{name} is in place, but where it is from could not be noted. {error}") from error
