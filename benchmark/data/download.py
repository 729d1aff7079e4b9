"""Which datasets a data folder lacks, the archive of each, and putting one in place: whole or not at all."""

import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmark.data.catalog import CatalogEntry, load_catalog, load_dataset
from benchmark.data.hub import SUFFIX, Archive, Source, size_of
from benchmark.data.unpack import ArchiveError, unpack
from benchmark.errors import ConfigError, DataError, RecordError, did_you_mean
from benchmark.provenance import sha256_file
from benchmark.records import write_whole

REPOSITORY = "zhengli97/prompt_learning_dataset"  # a model repository; one zip a dataset, CoOp's split files in it
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
    """Whether nothing lies where a dataset would; an empty folder is nothing."""
    folder = data / load_catalog()[name].folder
    if folder.is_symlink() or not folder.is_dir():
        return not os.path.lexists(folder)
    return not any(folder.iterdir())


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


def match(names: Iterable[str], source: Source) -> tuple[dict[str, Archive], dict[str, str]]:
    """The archive of each dataset, and for those that have none or several, why, in words.

    An archive is a dataset's if it is called as its folder, its name or an alias of the catalogue, whatever the case,
    dashes and underscores.
    """
    found, problems = {}, {}
    for name in names:
        entry = load_catalog()[name]
        wanted = {_plain(known) for known in (name, entry.folder, *entry.aliases)}
        fitting = [archive for archive in source.archives if _plain(archive.name[: -len(SUFFIX)]) in wanted]
        if len(fitting) == 1:
            found[name] = fitting[0]
        elif fitting:
            shown = ", ".join(archive.inside or archive.name for archive in fitting)
            problems[name] = f"{name}: {source.name} holds several archives of it: {shown}. Keep one, and give --from."
        else:
            shown = ", ".join(archive.name for archive in source.archives)
            problems[name] = f"{name}: {source.name} holds no archive of it. It holds {shown}.{elsewhere(entry)}"
    return found, problems


def elsewhere(entry: CatalogEntry) -> str:
    """Where else pictures can be had, as the end of a message; empty where the catalogue knows of none."""
    places = [f"{address} (MD5 {checksum})" for address, checksum in entry.elsewhere.items()]
    if not places:
        return ""
    lists = f"; {entry.split} is linked in CoOp's DATASETS.md" if entry.split else ""
    return f" Its pictures are also at {', '.join(places)}{lists}. Lay them out as in docs/data.md."


def need(archives: Iterable[Archive], work: Path) -> Need:
    """What these archives, one after another, take of the disk that the data folder is on."""
    fetched = held = peak = 0
    for archive in archives:
        missing = 0 if archive.path else archive.size - min(archive.size, size_of(archive.growing(work)))
        fetched += missing
        peak = max(peak, held + missing + archive.size)
        held += archive.size - (0 if archive.path else archive.size - missing)
    return Need(fetched=fetched, peak=peak)


def install(name: str, archive: Path, data: Path) -> None:
    """Unpack an archive beside its place, see that the dataset can be read from there, and move it there in one step.

    Raises:
        ArchiveError: it is damaged, not to be trusted, or no whole dataset; the data folder is as it was.
        DataError: something else is missing, space say; the data folder is as it was.
    """
    entry = load_catalog()[name]
    root = data / WORK / f"unpacking-{name}"
    try:
        shutil.rmtree(root, ignore_errors=True)
        unpack(archive, entry, root / entry.folder)
        if (data / IMAGENET).is_dir():  # shifted versions take class names from there
            (root / IMAGENET).symlink_to((data / IMAGENET).resolve(), target_is_directory=True)
        if problem := why_incomplete(name, root):
            needs_names = entry.layout.startswith("image_folder")  # these may come from elsewhere
            raise (DataError if needs_names else ArchiveError)(
                f"{archive.name} is no whole dataset. {problem.replace(str(root), str(data))}"
            )
        if hasattr(os, "sync"):
            os.sync()  # after a power cut, too, what has its name is whole
        try:
            os.rename(root / entry.folder, data / entry.folder)
        except OSError as error:
            raise DataError(f"{data / entry.folder}: cannot be put in place ({error.strerror}).") from error
    finally:
        shutil.rmtree(root, ignore_errors=True)


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


def write_record(name: str, archive: Archive, source: Source, file: Path, *, data: Path) -> None:
    """Add where a dataset is from.

    Args:
        file: the archive as it lies here.
    Raises:
        DataError: it cannot be written.
    """
    entry = {
        "repository" if source.revision else "folder": source.name,
        "revision": source.revision,
        "file": archive.inside or archive.name,
        "sha256": archive.sha256 or sha256_file(file),
        "size": archive.size,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    content = json.dumps(read_record(data) | {name: entry}, indent=2, sort_keys=True) + "\n"
    try:
        write_whole(data / RECORD, content.encode())
    except RecordError as error:
        raise DataError(f"{name} is in place, but where it is from could not be noted. {error}") from error


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
