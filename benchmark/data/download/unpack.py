"""Unpacking an archive of somebody else: all that stands in it is judged before a byte of it is written."""

import contextlib
import shutil
import sys
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
CHUNK = 1 << 20  # bytes between two looks at whether somebody asked to end
SHOWN = 8  # problems, or names at the top, written out; the rest are counted
LITTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")  # of file managers
LISTS = {"split_json": "{split}", "aircraft": "variants.txt"}  # by layout, the file beside the images; others need none
INNER = (".tar.gz", ".tgz")  # what a folder of pictures is called more, where it is an archive in the archive

Files = dict[PurePosixPath, Entry]


def unpack(archive: Path, entry: CatalogEntry, target: Path, *, split: Path | None = None) -> None:
    """Write a dataset's folder out of an archive; what lies in the archive outside of it is left there.

    Args:
        target: a folder that is not there yet. The caller deletes it if this raises.
        split: the split file, where the archive brings the pictures alone; it is laid beside them.
    Raises:
        ArchiveError: the archive is damaged, would write elsewhere or far too much, or holds no such dataset.
        DataError: it cannot be written, on a full disk say.
        Terminated: somebody asked to end.
    """
    try:
        with open(archive, "rb") as file:
            size = archive.stat().st_size
            if split is None:
                _unpack_whole(file, archive.name, size, entry, target)
            else:
                _unpack_pictures(file, archive.name, size, entry, target)
                shutil.copyfile(split, target / entry.split)
    except DAMAGE as error:
        raise ArchiveError(f"{archive.name}: is damaged ({error}). Fetch it again.") from error
    except OSError as error:
        raise DataError(
            f"{archive.name}: cannot be unpacked ({error.strerror or error}); nothing of it was left. "
            "Free space or rights, and give the same command again."
        ) from error


def _unpack_whole(file: BinaryIO, name: str, size: int, entry: CatalogEntry, target: Path) -> None:
    with opened(file, name, size) as archive:
        files = safe_files(archive, name)
        inside = find_content(list(files), entry, name)
        _write_all(archive, name, _below(inside, files), target)


def _unpack_pictures(
    file: BinaryIO, name: str, size: int, entry: CatalogEntry, target: Path, *, within: bool = False
) -> None:
    """The image folder alone, which may be an archive in the archive, called as the folder; not in that one again."""
    with opened(file, name, size) as archive:
        files = safe_files(archive, name)
        packed = [] if within else [path for path in files if path.name in [entry.images + end for end in INNER]]
        if len(packed) == 1 and not any(entry.images in path.parts[:-1] for path in files):
            with contextlib.closing(archive.open(files[packed[0]])) as inner:
                _unpack_pictures(inner, packed[0].name, size, entry, target, within=True)
            return
        inside = find_content(list(files), entry, name, listed_inside=False)
        _write_all(archive, name, _below(inside / entry.images, files), target / entry.images)


def _below(folder: PurePosixPath, files: Files) -> Files:
    return {path.relative_to(folder): entry for path, entry in files.items() if path.is_relative_to(folder)}


def safe_files(archive: Zip | Tar, name: str) -> Files:
    """The files of an archive by their paths, in its order, litter left out.

    Raises:
        ArchiveError: what makes it no archive to unpack, all of it in one message.
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
                if not any(part in LITTER or part.startswith("._") for part in path.parts):
                    files[path] = entry
    except ArchiveError as error:
        problems.append(str(error))
    if problems:
        shown = problems[:SHOWN] + ([f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])
        raise ArchiveError(listed(f"{name}: is refused", shown, "Nothing of it was unpacked. Take another copy."))
    return files


def _bounded(archive: Zip | Tar) -> Iterator[tuple[str, Entry]]:
    """The entries with their names as paths, as long as there are not too many, nor too much in them.

    What an entry really gives is cut at what it declares.
    """
    total = 0
    quiet = not sys.stderr.isatty()
    for count, entry in enumerate(tqdm(archive.entries(), desc="looking through it", unit="file", disable=quiet), 1):
        shutdown.check()
        total += entry.size
        if count > MOST_ENTRIES:
            raise ArchiveError(f"it holds more than {MOST_ENTRIES} entries")
        if total > MOST_RATIO * archive.size:
            raise ArchiveError(f"it would become more than {MOST_RATIO} times its size of {archive.size} bytes")
        yield entry.name.replace("\\", "/"), entry


def find_content(
    paths: list[PurePosixPath], entry: CatalogEntry, name: str, *, listed_inside: bool = True
) -> PurePosixPath:
    """The folder in an archive that holds what the catalogue says the dataset's folder holds: its top, or one below.

    Args:
        name: of the archive.
        listed_inside: whether the list must lie there too.
    Raises:
        ArchiveError: there is none, or more than one as good.
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
    seen = f"{len(best)} of them" if best else f"none; at its top: {', '.join(tops[:SHOWN]) or 'nothing'}{more}"
    raise ArchiveError(f"{name}: one folder with {wanted} is needed, and it holds {seen}. Is it another dataset?")


def _write_all(archive: Zip | Tar, name: str, files: Files, target: Path) -> None:
    """Files below a folder, in the archive's order; refused before the first where they do not fit on the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    needed, free = sum(entry.size for entry in files.values()), shutil.disk_usage(target.parent).free
    if needed > free:
        raise DataError(
            f"{name}: would become {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free in {target.parent}. "
            "Free space, and give the same command again."
        )
    target.mkdir()
    for path, entry in tqdm(files.items(), desc=f"unpacking {name}", unit="file", disable=not sys.stderr.isatty()):
        _write(archive, entry, target / path)


def _write(archive: Zip | Tar, entry: Entry, path: Path) -> None:
    """One file, with the rights that new files have, whatever the archive says; never through or over another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(archive.open(entry)) as source, open(path, "xb") as file:
        while chunk := source.read(CHUNK):
            shutdown.check()
            file.write(chunk)
