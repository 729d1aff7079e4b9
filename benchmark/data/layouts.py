"""Read the directory layouts of the datasets into the same lists of (image path, label, class name)."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from benchmark.data.folders import flat_problems, folders_in, images_in
from benchmark.data.parts import PARTS, meant_part, rename_advice, renames
from benchmark.errors import DataError

CLASS_NAMES = "classnames.txt"

Entry = tuple[str, int, str]  # path relative to the image folder, label, class name


@dataclass
class Listing:
    """The lists that a layout reader found.

    Attributes:
        train, val, test: entries in the order of the files that list them.
        digest: hash of everything that determines the lists.
        problems: messages about the lists.
        lines: part to the line number of each of its entries, for files with lines.
        image_folders: folders in the image folder that count as image folders too; each may be a link to anywhere.
        notes: what a user should know, but no reason to refuse the lists.
        unused: suffix to number of the files in class folders that are not images.
    """

    train: list[Entry] = field(default_factory=list)
    val: list[Entry] = field(default_factory=list)
    test: list[Entry] = field(default_factory=list)
    digest: str = ""
    problems: list[str] = field(default_factory=list)
    lines: dict[str, list[int]] = field(default_factory=dict)
    image_folders: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)

    @property
    def parts(self) -> dict[str, list[Entry]]:
        """Return the three lists by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def distinct_parts(self) -> dict[str, list[Entry]]:
        """Return the lists by name, without a val that equals test, as ImageNet's does."""
        return {part: entries for part, entries in self.parts.items() if part != "val" or self.val != self.test}

    def place(self, part: str, number: int) -> str:
        """Return the position of an entry, for messages."""
        return f"line {self.lines[part][number]}" if part in self.lines else f"{part}[{number}]"


def read_split_json(folder: Path, images: Path, split: str) -> Listing:
    """Read CoOp's split file: {"train": [[path, label, class name], ...], "val": ..., "test": ...}."""
    listing, content = Listing(), _read_bytes(folder / split)
    listing.digest = hashlib.sha256(content).hexdigest()
    try:
        raw = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{folder / split}: is not JSON ({error}). Fix the split file or fetch it again (docs/data.md)."
        ) from error
    if not isinstance(raw, dict):
        raise DataError(f"{folder / split}: must hold 'train', 'val' and 'test', got a {type(raw).__name__}.")
    _check_keys(raw, split, listing)
    for part, entries in listing.parts.items():
        for number, entry in enumerate(raw[part] if isinstance(raw.get(part), list) else ()):
            if _is_entry(entry):
                entries.append((entry[0].replace("\\", "/"), entry[1], entry[2]))
            else:
                wanted = "[path, label as a whole number, class name]"
                listing.problems.append(f"{part}[{number}] is {repr(entry)[:80]}, not {wanted}")
    if images == folder:
        paths = [path for entries in listing.parts.values() for path, _, _ in entries]
        listing.image_folders = tuple({path.partition("/")[0] for path in paths if "/" in path})
    return listing


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a repeated key, of which JSON would keep the last without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)[:40]!a} is there twice")
    return found


def read_aircraft(folder: Path, images: Path, split: str) -> Listing:
    """Read FGVC-Aircraft's own lists: variants.txt, and images_variant_{train,val,test}.txt of "0034309 707-320"."""
    listing, digest = Listing(), hashlib.sha256()
    files = ["variants.txt", *(f"images_variant_{part}.txt" for part in listing.parts)]
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise DataError(f"{folder}: {', '.join(missing)} missing. Fetch the dataset again (docs/data.md).")
    contents = {name: _read_bytes(folder / name) for name in files}
    for content in contents.values():
        digest.update(content)
    variants = _lines(folder / "variants.txt", contents["variants.txt"])
    labels = {name.strip(): label for label, name in enumerate(variants) if name.strip()}
    for part, entries in listing.parts.items():
        name = f"images_variant_{part}.txt"
        for number, line in enumerate(_lines(folder / name, contents[name]), start=1):
            image, _, variant = line.strip().partition(" ")
            if variant in labels:
                entries.append((f"{image}.jpg", labels[variant], variant))
            elif line.strip():
                listing.problems.append(f"images_variant_{part}.txt:{number}: '{variant}' is not in variants.txt")
    listing.digest = digest.hexdigest()
    return listing


def read_image_folder(folder: Path, images: Path, split: str) -> Listing:
    """Read ImageNet: images/{train,val}/nXXXXXXXX/; its val folder is the test set."""
    names = _class_names(folder)
    listing = Listing(image_folders=("train", "val"))
    for inside in listing.image_folders:
        if not os.path.lexists(images / inside):
            others = sorted(name for name in folders_in(images) if meant_part(name) == inside)
            advice = f"Rename '{others[0]}' to '{inside}'." if others else "docs/data.md says what it holds."
            raise DataError(f"{images}: has no folder '{inside}'. {advice}")
    synsets = sorted(folders_in(images / "train") | folders_in(images / "val"))
    labels = _labels(synsets, names, listing)
    for part, inside in (("train", "train"), ("test", "val")):
        listing.problems += flat_problems(images / inside)
        for synset in (s for s in synsets if s in labels):
            files = images_in(images / inside / synset, listing.unused)
            listing.parts[part].extend((f"{inside}/{synset}/{file}", *labels[synset]) for file in files)
    listing.val = list(listing.test)
    listing.digest = _digest(listing, names)
    return listing


def read_image_folder_test(folder: Path, images: Path, split: str) -> Listing:
    """Read a shifted ImageNet: a folder per synset, test images only, labels in the order of the synsets present."""
    names, listing = _class_names(folder), Listing()
    labels = _labels(sorted(folders_in(images)), names, listing)
    listing.problems += flat_problems(images)
    for synset, (label, name) in labels.items():
        files = images_in(images / synset, listing.unused)
        listing.test.extend((f"{synset}/{file}", label, name) for file in files)
    listing.digest = _digest(listing, names)
    return listing


def read_image_folder_numbered(folder: Path, images: Path, split: str) -> Listing:
    """Read ImageNetV2: folder k holds the class on line k (from 0) of classnames.txt."""
    names, listing = _class_names(folder), Listing()
    in_order = list(names.values())
    listing.problems += flat_problems(images)
    for inside in sorted(folders_in(images), key=lambda name: (len(name), name)):
        if not inside.isdigit() or int(inside) >= len(in_order):
            listing.problems.append(f"folder '{inside}' is not a line of {CLASS_NAMES} (0 to {len(in_order) - 1})")
            continue
        name = in_order[int(inside)]
        files = images_in(images / inside, listing.unused)
        listing.test.extend((f"{inside}/{file}", int(inside), name) for file in files)
    listing.digest = _digest(listing, names)
    return listing


READERS: dict[str, Callable[[Path, Path, str], Listing]] = {
    "split_json": read_split_json,
    "aircraft": read_aircraft,
    "image_folder": read_image_folder,
    "image_folder_test": read_image_folder_test,
    "image_folder_numbered": read_image_folder_numbered,
}


def leaves_folder(path: str) -> bool:
    """Return whether a path, read by the rules of any operating system, could point outside the image folder."""
    if path and path[0] not in "/\\" and ".." not in path and ":" not in path and "\0" not in path:
        return False  # fast path: parsing a million paths is slow
    windows = PureWindowsPath(path)
    return (
        not path or path.startswith("/") or bool(windows.drive or windows.root) or ".." in windows.parts or "\0" in path
    )


def way_inside(path: str) -> str:
    """Return what to change about a path for which leaves_folder is true."""
    if "\0" in path:
        return "remove the null character"
    return "write it without '..'" if ".." in path else "write it relative to that folder"


def _check_keys(raw: dict, split: str, listing: Listing) -> None:
    """Report the lists that a split file lacks and what to rename or add; note lists with other names."""
    absent = [part for part in PARTS if not isinstance(raw.get(part), list)]
    if not absent:
        others = [key for key, value in raw.items() if key not in PARTS and isinstance(value, list)]
        listing.notes += [f"{split} has the list {key[:40]!a}; only train, val and test are used" for key in others[:3]]
        return
    changes = renames(raw)
    left = [part for part in PARTS if part not in changes.values() and (part in absent or part in changes)]
    advice = [rename_advice(raw)] if changes else []
    advice += [f'add "{part}": [] if there are no images for it' for part in left if part != "test"]
    advice += ["list the images to score as 'test'"] * ("test" in left)
    lacking = ", ".join(f"no list '{part}'" for part in absent)
    listing.problems.append(f"{split} has {lacking}; {', and '.join(advice)}")


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 3
        and isinstance(entry[0], str)
        and type(entry[1]) is int
        and isinstance(entry[2], str)
        and bool(entry[2].strip())
    )


def _class_names(folder: Path) -> dict[str, str]:
    """Return synset to name; a variant without the file uses ImageNet's, in the folder next to it."""
    own, path = folder / CLASS_NAMES, folder.parent / "imagenet" / CLASS_NAMES
    path = own if own.is_file() else path
    if not path.is_file():
        nor = "" if path == own else f" (nor is it in {path.parent})"
        raise DataError(
            f"{own}: is missing{nor}. It is part of CoOp's ImageNet preparation, 1000 lines "
            '"nXXXXXXXX name". Copy it from there, or see `download imagenet --classnames` in docs/data.md.'
        )
    pairs = [line.strip().split(" ", 1) for line in _lines(path, _read_bytes(path)) if line.strip()]
    wrong = [pair for pair in pairs if len(pair) != 2]
    if wrong or not pairs:
        raise DataError(f"{path}: every line must be a synset, a space and a name; got {wrong[:3] or 'an empty file'}.")
    return dict(pairs)


def _labels(synsets: list[str], names: dict[str, str], listing: Listing) -> dict[str, tuple[int, str]]:
    """Return synset to (label, name), labels in sorted order; report folders without a name."""
    listing.problems += [f"folder '{synset}' is not in {CLASS_NAMES}" for synset in synsets if synset not in names]
    known = [synset for synset in synsets if synset in names]
    return {synset: (label, names[synset]) for label, synset in enumerate(known)}


def _digest(listing: Listing, names: dict[str, str]) -> str:
    digest = hashlib.sha256("\n".join(f"{synset} {name}" for synset, name in names.items()).encode())
    for part in (listing.train, listing.test):
        digest.update("\n".join(path for path, _, _ in part).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _lines(path: Path, content: bytes) -> list[str]:
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8 text (byte {error.start}). Save it as UTF-8, or fetch it again (docs/data.md)."
        ) from error


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). It belongs to CoOp's layout of this dataset; docs/data.md "
            "says where to get it."
        ) from error
