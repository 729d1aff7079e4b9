"""Unpacking a zip of somebody else: all of its index is judged before a byte of it is written."""

import contextlib
import shutil
import stat
import sys
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from benchmark import stopping
from benchmark.data.catalog import CatalogEntry
from benchmark.data.layouts import leaves_folder
from benchmark.errors import DataError, listed

MOST_ENTRIES = 2_000_000  # files and folders; ImageNet has 1.3 million
MOST_RATIO = 20  # bytes out of each byte of the archive; pictures give 1, deflate can give 1000
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED = 1  # bit of a zip entry's flags
CHUNK = 1 << 20  # bytes between two looks at whether somebody asked to end
SHOWN = 8  # problems, or names at the top, written out; the rest are counted
LITTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")  # of file managers
LISTS = {"split_json": "{split}", "aircraft": "variants.txt"}  # by layout, the file beside the images; others need none
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)

Files = dict[PurePosixPath, zipfile.ZipInfo]


class ArchiveError(DataError):
    """An archive that will never become a dataset; a fetched one is thrown away."""


def unpack(archive: Path, entry: CatalogEntry, target: Path) -> None:
    """Write a dataset's folder out of an archive; what lies in the archive outside of it is left there.

    Args:
        target: a folder that is not there yet. The caller deletes it if this raises.
    Raises:
        ArchiveError: the archive is damaged, would write elsewhere or far too much, or holds no such dataset.
        DataError: it cannot be written, on a full disk say.
        Terminated: somebody asked to end.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            files = safe_files(opened, archive)
            inside = find_content(list(files), entry, archive)
            chosen = {path: info for path, info in files.items() if path.is_relative_to(inside)}
            _check_space(chosen, target.parent, archive)
            target.mkdir(parents=True)
            name, quiet = archive.name, not sys.stderr.isatty()
            for path, info in tqdm(chosen.items(), desc=f"unpacking {name}", unit="file", disable=quiet):
                _write(opened, info, target / path.relative_to(inside))
    except DAMAGE as error:
        raise ArchiveError(f"{archive.name}: is damaged ({error}). Fetch it again.") from error
    except OSError as error:
        raise DataError(
            f"{archive.name}: cannot be unpacked ({error.strerror or error}); nothing of it was left. "
            "Free space or rights, and give the same command again."
        ) from error


def safe_files(opened: zipfile.ZipFile, archive: Path) -> Files:
    """The files of an archive by their paths, litter left out.

    Raises:
        ArchiveError: what makes it no archive to unpack, all of it in one message.
    """
    entries = opened.infolist()
    if len(entries) > MOST_ENTRIES:
        raise ArchiveError(f"{archive.name}: is refused, it holds {len(entries)} entries; {MOST_ENTRIES} are allowed.")
    problems = _bombs(entries, archive.stat().st_size)
    files: Files = {}
    spellings: dict[str, str] = {}
    for info in entries:
        name = info.orig_filename.replace("\\", "/")
        if found := _problem(info, name):
            problems.append(f"{name[:80]!r} {found}")
        elif not info.is_dir():
            path = PurePosixPath(name)
            folded = unicodedata.normalize("NFC", str(path)).casefold()
            if folded in spellings:
                problems.append(f"{name[:80]!r} and {spellings[folded][:80]!r} would be one file")
            spellings[folded] = name
            if not any(part in LITTER or part.startswith("._") for part in path.parts):
                files[path] = info
    if problems:
        shown = problems[:SHOWN] + ([f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])
        raise ArchiveError(
            listed(f"{archive.name}: is refused", shown, "Nothing of it was unpacked. Take another copy.")
        )
    return files


def find_content(paths: list[PurePosixPath], entry: CatalogEntry, archive: Path) -> PurePosixPath:
    """The folder in an archive that holds what the catalogue says the dataset's folder holds: its top, or one below.

    Raises:
        ArchiveError: there is none, or more than one as good.
    """
    known = LISTS.get(entry.layout, "").format(split=entry.split)
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
    raise ArchiveError(
        f"{archive.name}: one folder with {wanted} is needed, and it holds {seen}. Is it another dataset?"
    )


def _problem(info: zipfile.ZipInfo, name: str) -> str | None:
    """Why one entry may not be unpacked."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if leaves_folder(name):
        return "leaves the folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link" if kind == stat.S_IFLNK else "is neither file nor folder"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in METHODS:
        return f"is packed by method {info.compress_type}, which is not known here"
    return None


def _bombs(entries: list[zipfile.ZipInfo], size: int) -> list[str]:
    """Signs that an archive is made to fill a disk; what an entry really gives is cut at what it declares."""
    packed, unpacked = sum(info.compress_size for info in entries), sum(info.file_size for info in entries)
    problems = []
    if packed > size:
        problems.append(f"its entries overlap: {packed} bytes of them in a file of {size}")
    if unpacked > MOST_RATIO * size:
        problems.append(f"it would become {unpacked} bytes, more than {MOST_RATIO} times its size of {size}")
    return problems


def _check_space(files: Files, folder: Path, archive: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = sum(info.file_size for info in files.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{archive.name}: would become {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free in {folder}. "
            "Free space, and give the same command again."
        )


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    """One file, with the rights that new files have, whatever the archive says; never through or over another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(opened.open(info)) as source, open(path, "xb") as file:
        while chunk := source.read(CHUNK):
            stopping.check()
            file.write(chunk)
