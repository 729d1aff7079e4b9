"""Unpack an untrusted archive: check all entries before writing any of them."""

import contextlib
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tqdm import tqdm

from benchmark.common import shutdown
from benchmark.data.catalog import CatalogEntry
from benchmark.data.download.archives import DAMAGE, MOST_RATIO, ArchiveError, Entry, Tar, Zip, opened
from benchmark.data.layouts import leaves_folder
from benchmark.errors import DataError, listed

MOST_ENTRIES = 2_000_000  # files and folders; ImageNet has 1.3 million
CHUNK = 1 << 20  # bytes between two checks whether the user asked to stop
SHOWN = 8  # problems, or top-level names, that a message shows; the rest are counted
JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")  # files of file managers
LISTS = {"split_json": "{split}", "aircraft": "variants.txt"}  # layout to its list file, if it needs one
INNER = (".tar.gz", ".tgz")  # suffixes of an image folder that is an archive in the archive

Files = dict[PurePosixPath, Entry]


def unpack(archive: Path, entry: CatalogEntry, target: Path, *, split: Path | None = None) -> None:
    """Unpack a dataset's folder from an archive, without other files of the archive.

    Args:
        target: a new folder. The caller deletes it if this raises.
        split: the split file, if the archive has the images only; it is copied next to them.
    Raises:
        ArchiveError: the archive is damaged, would write outside of `target` or too much, or has no such dataset.
        DataError: it cannot be written, e.g. the disk is full.
        Terminated: the user asked to stop.
    """
    try:
        with open(archive, "rb") as file:
            size = archive.stat().st_size
            _unpack(file, archive.name, size, entry, target, images_only=split is not None)
            if split is not None:
                shutil.copyfile(split, target / entry.split)
    except DAMAGE as error:
        raise ArchiveError(f"{archive.name}: is damaged ({error}). Fetch it again.") from error
    except OSError as error:
        raise DataError(
            f"{archive.name}: cannot be unpacked ({error.strerror or error}); no part of it was kept. "
            "Free space or change permissions, and run the same command again."
        ) from error


def _unpack(
    file: BinaryIO, name: str, size: int, entry: CatalogEntry, target: Path, *, images_only: bool, within: bool = False
) -> None:
    """Unpack the dataset's folder, or its image folder only.

    The latter may be an archive of the folder's name in the archive, but not nested twice.
    """
    with opened(file, name, size) as archive:
        files = safe_files(archive, name)
        packed = [path for path in files if path.name in [entry.images + end for end in INNER]]
        unpacked = within or not images_only or any(entry.images in path.parts[:-1] for path in files)
        if len(packed) == 1 and not unpacked:
            with contextlib.closing(archive.open(files[packed[0]])) as inner:
                _unpack(inner, packed[0].name, size, entry, target, images_only=True, within=True)
            return
        inside = find_content(list(files), entry, name, listed_inside=not images_only)
        part = entry.images if images_only else ""
        _write_all(archive, name, _below(inside / part, files), target / part)


def _below(folder: PurePosixPath, files: Files) -> Files:
    return {path.relative_to(folder): entry for path, entry in files.items() if path.is_relative_to(folder)}


def safe_files(archive: Zip | Tar, name: str) -> Files:
    """Return the files of an archive by their paths, in its order, without junk files.

    Raises:
        ArchiveError: the archive is unsafe; one message lists all problems.
    """
    problems: list[str] = []
    files: Files = {}
    spellings: dict[str, str] = {}
    try:
        for written, entry in _bounded(archive):
            if problem := "leaves the folder" if leaves_folder(written) else entry.problem:
                problems.append(f"{written[:80]!r} {problem}")
            elif not entry.is_folder:
                path = PurePosixPath(written)
                folded = unicodedata.normalize("NFC", str(path)).casefold()
                if folded in spellings:
                    problems.append(f"{written[:80]!r} and {spellings[folded][:80]!r} would be one file")
                spellings[folded] = written
                if not any(part in JUNK or part.startswith("._") for part in path.parts):
                    files[path] = entry
    except ArchiveError as error:
        problems.append(str(error))
    if problems:
        shown = problems[:SHOWN] + ([f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])
        raise ArchiveError(listed(f"{name}: is refused", shown, "Nothing was unpacked. Get another copy."))
    return files


def _bounded(archive: Zip | Tar) -> Iterator[tuple[str, Entry]]:
    """Yield the entries with their names as paths; refuse too many entries and too large contents.

    Declared sizes suffice: an entry never gives more than it declares.
    """
    total = 0
    for count, entry in enumerate(tqdm(archive.entries(), desc="checking", unit="file", disable=None), 1):
        shutdown.check()
        total += entry.size
        if count > MOST_ENTRIES:
            raise ArchiveError(f"it contains more than {MOST_ENTRIES} entries")
        if total > MOST_RATIO * archive.size:
            raise ArchiveError(f"it would become more than {MOST_RATIO} times its size of {archive.size} bytes")
        yield entry.name.replace("\\", "/"), entry


def find_content(
    paths: list[PurePosixPath], entry: CatalogEntry, name: str, *, listed_inside: bool = True
) -> PurePosixPath:
    """Return the folder in an archive that has the contents of the dataset's folder: its top level, or a folder in it.

    Args:
        name: of the archive.
        listed_inside: require the split file too.
    Raises:
        ArchiveError: there is no such folder, or there are several equally good ones.
    """
    known = LISTS.get(entry.layout, "").format(split=entry.split) if listed_inside else ""
    present = set(paths)
    if entry.images == ".":
        found = {path.parent for path in paths if path.name == known}
    else:
        found = {
            PurePosixPath(*path.parts[:depth])
            for path in paths
            for depth, part in enumerate(path.parts[:-1])
            if part == entry.images and (not known or PurePosixPath(*path.parts[:depth], known) in present)
        }
    shallowest = min((len(folder.parts) for folder in found), default=0)
    best = sorted(folder for folder in found if len(folder.parts) == shallowest)
    best = [folder for folder in best if folder.name == entry.folder] or best
    if len(best) == 1:
        return best[0]
    wanted = " and ".join([f"{entry.images}/"] * (entry.images != ".") + [known] * bool(known))
    tops = sorted({path.parts[0] for path in paths})
    more = f" and {len(tops) - SHOWN} more" if len(tops) > SHOWN else ""
    seen = f"{len(best)} of them" if best else f"none; at its top level: {', '.join(tops[:SHOWN]) or 'nothing'}{more}"
    raise ArchiveError(f"{name}: must contain one folder with {wanted}, and contains {seen}. Is it another dataset?")


def _write_all(archive: Zip | Tar, name: str, files: Files, target: Path) -> None:
    """Write files to a folder, in the archive's order; refuse before the first if they do not fit on the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    needed, free = sum(entry.size for entry in files.values()), shutil.disk_usage(target.parent).free
    if needed > free:
        raise DataError(
            f"{name}: needs {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free in {target.parent}. "
            "Free space, and run the same command again."
        )
    target.mkdir()
    for path, entry in tqdm(files.items(), desc=f"unpacking {name}", unit="file", disable=None):
        _write(archive, entry, target / path)


def _write(archive: Zip | Tar, entry: Entry, path: Path) -> None:
    """Write one file with default permissions, never the archive's; never overwrite or follow an existing file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(archive.open(entry)) as source, open(path, "xb") as file:
        while chunk := source.read(CHUNK):
            shutdown.check()
            file.write(chunk)
