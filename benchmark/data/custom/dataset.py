"""A user's own datasets: a tree of class folders, a CSV or a CoOp split file; docs/your-own-data.md describes each.

What must hold for every dataset is checked where the catalogue's are.
"""

import csv
import difflib
import hashlib
import io
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmark.common.config import check_name
from benchmark.data.catalog import Dataset, check_listing, load_catalog, to_dataset
from benchmark.data.custom.settings import GUIDE, OwnSplit, Source, find_source
from benchmark.data.layouts import Listing, folders_in, leaves_folder, pictures_in, read_split_json
from benchmark.errors import ConfigError, DataError

CSV_COLUMNS = ("path", "label", "class_name", "split")
PARTS = ("train", "val", "test")
RESERVED = ("average",)  # a row of every table
LABEL = r"[0-9]{1,9}"
ROUNDING = 1e-9  # 0.29 of 100 images are 29, though the product of floats is below
NAMED = 10  # folders or classes named in a message

Paths = dict[str, list[str]]  # by class folder


def name_problems(names: Iterable[str]) -> list[str]:
    """Why own datasets cannot be called so: no folder could be, or something else is, in capitals or not."""
    catalog = load_catalog()
    keys, titles = {*catalog, *RESERVED}, {entry.title for entry in catalog.values()}
    problems, seen = [], {}
    for name in names:
        try:
            check_name("--dataset", name)
        except ConfigError as error:
            problems.append(str(error))
        if name.lower() in keys or name in titles:
            problems.append(f"--dataset {name}: the tables know something of this name already; choose another")
        if seen.setdefault(name.lower(), name) != name:
            problems.append(f"--dataset {name}: differs from {seen[name.lower()]} in capitals alone; choose another")
    return problems


def load_own(name: str, path: str | Path, *, check_files: bool = False) -> Dataset:
    """Read an own dataset, writing nothing there.

    Args:
        path: a class-folder tree, a .csv, a .json, or a YAML whose `data` is one of them.
        check_files: also open the header of every image, and see whether its file was cut off.
    Raises:
        ConfigError: the YAML is wrong.
        DataError: there is nothing to read; or what is wrong with it, all in one message.
    """
    source, listing = read_own(name, path)
    check_listing(
        listing,
        source.images,
        where=f"{name} ({source.data})",
        remedy=f"Mend the data or their YAML; what is allowed is in {GUIDE}.",
        check_files=check_files,
    )
    return to_dataset(name, listing, images=source.images, template=source.settings.template)


def read_own(name: str, path: str | Path) -> tuple[Source, Listing]:
    """Where an own dataset lies and what it lists, as yet unchecked; raises as load_own."""
    source = find_source(name, path)
    listing = _read(name, source)
    _correct_names(listing, source.settings.classes)
    _refuse_broken_names(listing)
    listing.digest = _hash(json.dumps(listing.parts, ensure_ascii=False))
    return source, listing


def _read(name: str, source: Source) -> Listing:
    data, settings = source.data, source.settings
    if data.is_dir():
        listing = read_tree(data, settings.split)
        if settings.images is not None:
            listing.problems.append("'images' is for a CSV or JSON; a tree of class folders holds its images itself")
        return listing
    if data.suffix.lower() == ".csv":
        listing = read_csv(data)
    elif data.suffix.lower() == ".json":
        listing = read_split_json(data.parent, source.images, data.name)
    else:
        raise DataError(
            f"{name}: {data} is no folder, and no .csv, .json or .yaml file. What may be given is in {GUIDE}."
        )
    if settings.split is not None:
        listing.problems.append(
            "'split' is for a tree of class folders; a CSV or JSON says itself what is for training"
        )
    return listing


def read_tree(folder: Path, split: OwnSplit | None) -> Listing:
    """Class folders, directly or below train, val and test; labels are in the order of the folders' names, as text.

    Args:
        split: how a tree without those three is cut; None: as by default.
    Raises:
        DataError: a folder without folders, or with only some of those three.
    """
    inside, listing = folders_in(folder), Listing()
    if not inside:
        raise DataError(f"{folder}: holds no folder. Put the images of each class into a folder of its own ({GUIDE}).")
    if not {name.lower() for name in inside} & set(PARTS):
        _enter(listing, _cut(_by_class(folder, "", listing), split or OwnSplit(), listing))
        return listing
    if inside not in ({"train", "test"}, set(PARTS), {"test"}):
        raise DataError(
            f"{folder}: holds {', '.join(sorted(inside)[:NAMED])}. Allowed are train and test, these and val, test "
            "alone (a dataset that is only scored), or class folders alone. A class of such a name goes into a folder "
            "called otherwise, and 'classes' of the YAML gives its name."
        )
    if split is not None:
        listing.problems.append("'split' is for a tree that is not split yet, but this one has train and test folders")
    _enter(listing, {part: _by_class(folder, f"{part}/", listing) for part in PARTS if part in inside})
    return listing


def _by_class(folder: Path, below: str, listing: Listing) -> Paths:
    """The images of each class folder; what else such a folder holds is left out, folders are a problem."""
    found = {}
    for name in sorted(folders_in(folder / below), key=_composed):
        where = folder / below / name
        found[name] = [f"{below}{name}/{file}" for file in pictures_in(where)]
        if inside := folders_in(where):
            listing.problems.append(
                f"the class folder '{below}{name}' holds the folder '{min(inside)}'; images lie directly in the folder "
                "of their class"
            )
        elif not found[name]:
            listing.problems.append(f"the class folder '{below}{name}' holds no image; fill it or remove it")
    return found


def _cut(classes: Paths, split: OwnSplit, listing: Listing) -> dict[str, Paths]:
    """Each class cut in three by a hash of the seed and the path, so that an image more moves few of the others."""
    cut: dict[str, Paths] = {part: {} for part in PARTS}
    for name, paths in classes.items():
        if len(paths) == 1:
            listing.problems.append(f"class '{name}' has 1 image; 2 are needed, one to train on and one to test")
            continue
        ranked = sorted(paths, key=lambda path: _hash(f"{split.seed} {path}"))
        train = max(1, math.floor(len(paths) * split.train + ROUNDING))
        val = train + max(0, min(math.floor(len(paths) * split.val + ROUNDING), len(paths) - 1 - train))
        for part, chosen in zip(PARTS, (ranked[:train], ranked[train:val], ranked[val:]), strict=True):
            cut[part][name] = sorted(chosen)
    return cut


def _enter(listing: Listing, found: Mapping[str, Paths]) -> None:
    """Paths into the lists, with labels; a class without any image has none, so that it is one problem and not two."""
    names = sorted({_composed(name) for classes in found.values() for name, paths in classes.items() if paths})
    labels = {name: label for label, name in enumerate(names)}
    for part, classes in found.items():
        for name, paths in ((_composed(name), paths) for name, paths in classes.items()):
            listing.parts[part].extend((path, labels[name], name) for path in paths)


def read_csv(path: Path) -> Listing:
    """Lines of path, label, class_name and split, in the order that the header gives.

    Raises:
        DataError: another header, or no text.
    """
    listing = Listing(lines={part: [] for part in PARTS})
    rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    line = 1
    try:
        header = [cell.strip() for cell in next(rows, [])]
        if sorted(header) != sorted(CSV_COLUMNS):
            raise DataError(
                f"{path}: the first line is '{','.join(header)[:80]}'; it must name the columns "
                f"{','.join(CSV_COLUMNS)}, in any order, with commas between them."
            )
        line = rows.line_num + 1
        for cells in rows:
            if any(cell.strip() for cell in cells):
                _take_row(listing, header, [cell.strip() for cell in cells], line)
            line = rows.line_num + 1
    except csv.Error as error:
        listing.problems.append(f"line {line}: is no line of a CSV ({error}); the rest could not be read")
    return listing


def _take_row(listing: Listing, header: list[str], cells: list[str], line: int) -> None:
    """A line into the list that it belongs to, or what is wrong with it into the problems."""
    if len(cells) != len(header):
        problem = f"{len(cells)} values, not {len(header)}; put a value that holds a comma into double quotes"
        listing.problems.append(f"line {line}: {problem}")
        return
    row = dict(zip(header, cells, strict=True))
    problems = [f"the {key} is empty" for key in ("path", "class_name") if not row[key]]
    if not re.fullmatch(LABEL, row["label"]):
        problems.append(f"the label is '{row['label'][:20]}', not a whole number from 0")
    if row["split"] not in PARTS:
        problems.append(f"the split is '{row['split'][:20]}', not train, val or test")
    if row["path"] and leaves_folder(row["path"]):
        problems.append(f"the path '{row['path'][:80]}' leaves the image folder; 'images' of the YAML names another")
    if problems:
        listing.problems.append(f"line {line}: {'; '.join(problems)}")
        return
    listing.parts[row["split"]].append((row["path"].replace("\\", "/"), int(row["label"]), row["class_name"]))
    listing.lines[row["split"]].append(line)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def _correct_names(listing: Listing, classes: Mapping[str, str]) -> None:
    """Class names as prompts are to hold them; a correction of no class is a problem."""
    corrections = {_composed(written): name.strip() for written, name in classes.items()}
    written = {_composed(name) for entries in listing.parts.values() for _, _, name in entries}
    for name in sorted(corrections.keys() - written):
        near = difflib.get_close_matches(name, written, n=1, cutoff=0.5)
        guess = f"did you mean '{near[0]}'? " if near else ""
        more = f" and {len(written) - NAMED} more" if len(written) > NAMED else ""
        there = ", ".join(sorted(written)[:NAMED]) + more
        listing.problems.append(f"'classes' names '{name}', which is no class here; {guess}Classes: {there}.")
    for entries in listing.parts.values():
        entries[:] = [(path, label, corrections.get(_composed(name), _composed(name))) for path, label, name in entries]


def _refuse_broken_names(listing: Listing) -> None:
    """Names that are no Unicode text, as old archives leave them: nothing could write them down."""
    for part, entries in listing.parts.items():
        for number, (path, _, name) in enumerate(entries):
            broken = [text for text in (path, name) if text.encode(errors="replace").decode() != text]
            if broken:
                listing.problems.append(f"{listing.place(part, number)}: {broken[0]!a} is no UTF-8 name; rename it")


def _composed(text: str) -> str:
    """One spelling of letters with accents: the disks and archives of different systems have two."""
    return unicodedata.normalize("NFC", text)


def _hash(text: str) -> str:
    return hashlib.sha256(_composed(text).encode(errors="surrogatepass")).hexdigest()
