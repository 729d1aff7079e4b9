"""Load custom datasets: class folders, a CSV file or a CoOp split file (docs/your-own-data.md)."""

import csv
import difflib
import hashlib
import io
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmark.common.config import check_name
from benchmark.data.catalog import Dataset, load_catalog, to_dataset
from benchmark.data.checks import check_listing
from benchmark.data.custom.settings import GUIDE, CustomSplit, Source, find_source
from benchmark.data.folders import describe_unused, folders_in, hidden_folders, images_in, plural
from benchmark.data.layouts import Listing, leaves_folder, read_split_json, way_inside
from benchmark.data.parts import PARTS, meant_part, rename_advice, renames
from benchmark.errors import ConfigError, DataError, unreadable

CSV_COLUMNS = ("path", "label", "class_name", "split")
TREES = ({"train", "test"}, set(PARTS), {"test"})  # folders of a tree that is split
RESERVED = ("average",)  # the label of a row in every table
LABEL = r"[0-9]{1,9}"
ROUNDING = 1e-9  # 0.29 * 100 is below 29 in floating point
NAMED = 10  # folders or classes named in a message

Paths = dict[str, list[str]]  # by class folder


def name_problems(names: Iterable[str]) -> list[str]:
    """Return why names cannot be used for custom datasets: invalid as a folder, or taken, ignoring case."""
    catalog = load_catalog()
    keys, titles = {*catalog, *RESERVED}, {entry.title for entry in catalog.values()}
    problems, seen = [], {}
    for name in names:
        try:
            check_name("--dataset", name)
        except ConfigError as error:
            problems.append(str(error))
        if name.lower() in keys or name in titles:
            problems.append(f"--dataset {name}: this name is taken already; choose another")
        if seen.setdefault(name.lower(), name) != name:
            problems.append(f"--dataset {name}: differs from {seen[name.lower()]} in capitals only; choose another")
    return problems


def load_custom(name: str, path: str | Path, *, check_files: bool = False) -> Dataset:
    """Load a custom dataset; nothing is written to its folder.

    Args:
        path: a class-folder tree, a .csv, a .json, or a YAML whose `data` is one of them.
        check_files: also check that every image has a valid header and is not truncated.
    Raises:
        ConfigError: the YAML is wrong.
        DataError: the data are missing or wrong; one message lists all problems.
    """
    source, listing = read_custom(name, path)
    check_listing(
        listing,
        source.images,
        where=f"{name} ({source.data})",
        remedy=f"Fix the data or their YAML; {GUIDE} says what is allowed.",
        check_files=check_files,
    )
    return to_dataset(name, listing, images=source.images, template=source.settings.template)


def read_custom(name: str, path: str | Path) -> tuple[Source, Listing]:
    """Return the source and the unchecked listing of a custom dataset; raises as load_custom."""
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
            listing.problems.append("'images' is for a CSV or JSON; class folders contain their images")
        return listing
    if data.suffix.lower() == ".csv":
        listing = read_csv(data)
    elif data.suffix.lower() == ".json":
        listing = read_split_json(data.parent, source.images, data.name)
    else:
        raise DataError(
            f"{name}: {data} is not a folder, nor a .csv, .json or .yaml file. {GUIDE} says what is allowed."
        )
    if settings.split is not None:
        listing.problems.append("'split' is for class folders; a CSV or JSON lists its own training images")
    return listing


def read_tree(folder: Path, split: CustomSplit | None) -> Listing:
    """Read class folders, directly or in train, val and test; labels follow the alphabetical order of the names.

    Args:
        split: shares for folders without train, val and test; None: the default.
    Raises:
        DataError: there are no class folders, or train and test are incomplete.
    """
    inside, listing = folders_in(folder), Listing()
    if not inside:
        raise DataError(
            f"{folder}: contains no folder. Put the images of each class into a folder of its own ({GUIDE})."
        )
    spread = all(map(meant_part, inside)) and any(folders_in(folder / name) for name in inside)
    if not spread and not {name.lower() for name in inside} & set(PARTS):
        _add(listing, _cut(_by_class(folder, "", listing), split or CustomSplit(), listing))
        return listing
    if inside not in TREES:
        changes = renames(inside)
        fits = {changes.get(name, name) for name in inside} in TREES
        advice = f"R{rename_advice(inside)[1:]}. " if fits else ""
        raise DataError(
            f"{folder}: contains {', '.join(sorted(inside)[:NAMED])}. {advice}Allowed are train and test, these and "
            "val, test only (a dataset that is only scored), or class folders only. For a class called train, val or "
            "test, rename its folder and set its name with 'classes' in the YAML."
        )
    if split is not None:
        listing.problems.append("'split' is for a tree that is not split yet, but this one has train and test folders")
    _note_loose(folder, "", listing)
    _add(listing, {part: _by_class(folder, f"{part}/", listing) for part in PARTS if part in inside})
    return listing


def _by_class(folder: Path, below: str, listing: Listing) -> Paths:
    """Return the images of each class folder; report folders in class folders, and count other files."""
    found = {}
    _note_loose(folder, below, listing)
    for name in sorted(folders_in(folder / below), key=_composed):
        where = folder / below / name
        unused: Counter[str] = Counter()
        found[name] = [f"{below}{name}/{file}" for file in images_in(where, unused)]
        listing.unused += unused
        if inside := folders_in(where):
            listing.problems.append(
                f"the class folder '{below}{name}' contains the folder '{min(inside)}'; put images directly in the "
                "folder of their class; folders of lists are called train, val and test"
            )
        elif not found[name]:
            others = f" (only {describe_unused(unused)})" if unused else ""
            listing.problems.append(f"the class folder '{below}{name}' contains no image; fill it or remove it{others}")
    return found


def _note_loose(folder: Path, below: str, listing: Listing) -> None:
    """Note images next to class folders, and hidden folders with images: neither are of a class."""
    if flat := images_in(folder / below):
        listing.notes.append(
            f"{plural(len(flat), 'image')} in no class folder left out, the first is {below}{flat[0]}; move each into "
            "the folder of its class"
        )
    if hidden := [name for name in hidden_folders(folder / below) if images_in(folder / below / name)]:
        listing.notes.append(
            f"{plural(len(hidden), 'hidden folder')} with images left out, the first is {below}{hidden[0]}; rename it "
            "and set its name with 'classes' in the YAML if it is a class"
        )


def _cut(classes: Paths, split: CustomSplit, listing: Listing) -> dict[str, Paths]:
    """Split each class by a hash of the seed and the path, so that an added image moves few of the others."""
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


def _add(listing: Listing, found: Mapping[str, Paths]) -> None:
    """Add paths and labels to the lists; a class without images gets no label, so it is one problem, not two."""
    names = sorted({_composed(name) for classes in found.values() for name, paths in classes.items() if paths})
    labels = {name: label for label, name in enumerate(names)}
    for part, classes in found.items():
        for name, paths in ((_composed(name), paths) for name, paths in classes.items()):
            listing.parts[part].extend((path, labels[name], name) for path in paths)


def read_csv(path: Path) -> Listing:
    """Read a CSV file with the columns path, label, class_name and split, in any order.

    Raises:
        DataError: the header is wrong, or the file is not UTF-8.
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
        listing.problems.append(f"line {line}: is not valid CSV ({error}); the rest could not be read")
    return listing


def _take_row(listing: Listing, header: list[str], cells: list[str], line: int) -> None:
    """Add a line to its list, or its problems to the listing's."""
    if len(cells) != len(header):
        problem = f"{len(cells)} values, not {len(header)}; put a value with a comma in double quotes"
        listing.problems.append(f"line {line}: {problem}")
        return
    row = dict(zip(header, cells, strict=True))
    problems = [f"the {key} is empty" for key in ("path", "class_name") if not row[key]]
    if not re.fullmatch(LABEL, row["label"]):
        problems.append(f"the label is '{row['label'][:20]}', not a whole number from 0")
    if row["split"] not in PARTS:
        meant = f"; write {part}" if (part := meant_part(row["split"])) else ""
        problems.append(f"the split is '{row['split'][:20]}', not train, val or test{meant}")
    if row["path"] and leaves_folder(row["path"]):
        other = "set 'images' in the YAML for another folder, or " if ".." in row["path"] else ""
        advice = other + way_inside(row["path"])
        problems.append(f"the path '{row['path'][:80]}' leaves the image folder; {advice}")
    if problems:
        listing.problems.append(f"line {line}: {'; '.join(problems)}")
        return
    listing.parts[row["split"]].append((row["path"].replace("\\", "/"), int(row["label"]), row["class_name"]))
    listing.lines[row["split"]].append(line)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(unreadable(path, error)) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def _correct_names(listing: Listing, classes: Mapping[str, str]) -> None:
    """Replace class names as the YAML says; report replacements of unknown classes."""
    corrections = {_composed(written): name.strip() for written, name in classes.items()}
    written = {_composed(name) for entries in listing.parts.values() for _, _, name in entries}
    for name in sorted(corrections.keys() - written):
        close = difflib.get_close_matches(name, written, n=1, cutoff=0.5)
        guess = f"did you mean '{close[0]}'? " if close else ""
        more = f" and {len(written) - NAMED} more" if len(written) > NAMED else ""
        known = ", ".join(sorted(written)[:NAMED]) + more
        listing.problems.append(f"'classes' names '{name}', which is not a class here; {guess}Classes: {known}.")
    for entries in listing.parts.values():
        entries[:] = [(path, label, corrections.get(_composed(name), _composed(name))) for path, label, name in entries]


def _refuse_broken_names(listing: Listing) -> None:
    """Report names that are not valid Unicode, as some old archives contain; they cannot be written to a record."""
    for part, entries in listing.parts.items():
        for number, (path, _, name) in enumerate(entries):
            broken = [text for text in (path, name) if text.encode(errors="replace").decode() != text]
            if broken:
                listing.problems.append(f"{listing.place(part, number)}: {broken[0]!a} is not a UTF-8 name; rename it")


def _composed(text: str) -> str:
    """Return the composed form (NFC) of accented letters; some systems store them decomposed."""
    return unicodedata.normalize("NFC", text)


def _hash(text: str) -> str:
    return hashlib.sha256(_composed(text).encode(errors="surrogatepass")).hexdigest()
