"""List class folders and the images in them; count what is not read as an image."""

import os
from collections import Counter
from functools import cache
from pathlib import Path, PurePath

from benchmark.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".webp", ".ppm", ".pgm", ".pbm", ".pnm",
                  ".tif", ".tiff", ".gif")  # fmt: skip
AVIF = ".avif"  # an image where Pillow was built with it
SHOWN_SUFFIXES = 8
FOLDER = "folder"  # in the place of a suffix


def folders_in(path: Path) -> set[str]:
    """Return the names of the folders in a folder, without hidden ones."""
    return {name for name, is_folder in _entries(path) if is_folder and not name.startswith(".")}


def hidden_folders(path: Path) -> list[str]:
    """Return the sorted names of the folders that folders_in leaves out."""
    return sorted(name for name, is_folder in _entries(path) if is_folder and name.startswith("."))


def images_in(path: Path, unused: Counter[str] | None = None) -> list[str]:
    """Return the sorted names of the image files in a folder; [] if there is no folder.

    Args:
        unused: counts the other files by suffix, hidden ones and folders.
    """
    images = []
    for name, is_folder in _entries(path) if path.is_dir() else ():
        if not is_folder and not name.startswith(".") and name.lower().endswith(image_suffixes()):
            images.append(name)
        elif unused is not None:
            suffix = FOLDER if is_folder else PurePath(name).suffix.lower() or "without suffix"
            unused["hidden" if name.startswith(".") else suffix] += 1
    return sorted(images)


@cache
def image_suffixes() -> tuple[str, ...]:
    """Return the suffixes of the image files that Pillow can read here, in lower case."""
    from benchmark.data.headers import FORMATS  # imports Pillow, which reading lists of paths must not

    return (*IMAGE_SUFFIXES, AVIF) if "AVIF" in FORMATS else IMAGE_SUFFIXES


def describe_unused(unused: Counter[str]) -> str:
    """Return the counts by suffix in words: "2 .heic, 1 hidden"."""
    shown = [f"{count} {suffix!a}".replace("'", "") for suffix, count in unused.most_common(SHOWN_SUFFIXES)]
    return ", ".join(shown + ["..."] * (len(unused) > SHOWN_SUFFIXES))


def plural(count: int, noun: str) -> str:
    """Return a count and its noun: "1 file", "2 files"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def flat_problems(folder: Path) -> list[str]:
    """Return what to do with images and archives next to class folders; ImageNet's own archives unpack so."""
    where, problems = os.path.join(*folder.parts[-2:]), []
    if flat := images_in(folder):
        problems.append(
            f"{where} has {plural(len(flat), 'image')} in no class folder, the first is {flat[0]!a}; move "
            f"each into the folder of its class, {where}/nXXXXXXXX/. For ImageNet's val, run valprep.sh of "
            "https://github.com/soumith/imagenetloader.torch in that folder"
        )
    if archives := sorted(name for name, is_folder in _entries(folder) if not is_folder and name.endswith(".tar")):
        problems.append(
            f"{where} has {plural(len(archives), 'archive')}, the first is {archives[0]!a}; run in that folder "
            "`for f in *.tar; do mkdir -p ${f%.tar} && tar -xf $f -C ${f%.tar} && rm $f; done`"
        )
    return problems


def _entries(path: Path) -> list[tuple[str, bool]]:
    """Return the name of each entry of a folder, and whether it is a folder."""
    try:
        with os.scandir(path) as entries:
            return [(e.name, os.path.isdir(e.path) if e.is_symlink() else e.is_dir()) for e in entries]
    except OSError as error:
        raise DataError(f"{path}: cannot be listed ({error.strerror}).") from error
