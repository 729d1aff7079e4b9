"""Check a listing: paths, labels, class names and, on request, the image files."""

import itertools
import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmark.common.constants import MISSING
from benchmark.data.duplicates import File, find_copies, find_files
from benchmark.data.folders import FOLDER, describe_unused, plural
from benchmark.data.layouts import Listing, leaves_folder, way_inside
from benchmark.errors import DataError, listed

# Where CLIP's tokenizer ends a word; each digit is one. Blanks between the words leave no trace in the tokens.
WORDS = re.compile(r"'(?:s|t|re|ve|m|ll|d)|[^\W\d_]+|\d|[^\w\s]+")
SHOWN_GAPS = 10  # missing labels that a message names
SHOWN_PROBLEMS = 50  # problems written out in full; the rest are counted
SHOWN_NAMES = 5  # class names with several labels that a note names
SHOWN_ENDS = 80  # characters shown of the start and of the end of a long path or name
LEAVES = "a link that leaves the image folder; put the files themselves there, or link the whole image folder"


def check_listing(listing: Listing, images: Path, *, where: str, remedy: str, check_files: bool) -> None:
    """Raise one error for all problems of a listing and, on request, of its image files; else complete its notes.

    Args:
        images: the folder that the listed paths are relative to.
        check_files: whether to check the image files too.
    Raises:
        DataError: reading the lists found problems, or there are problems here.
    """
    problems = listing.problems + list_problems(listing)
    listing.notes += list_notes(listing)
    if check_files:
        problems += _file_problems(images, listing)
    if problems:
        hidden = len(problems) - SHOWN_PROBLEMS
        raise DataError(listed(where, problems[:SHOWN_PROBLEMS] + [f"and {hidden} more"] * (hidden > 0), remedy))


def list_problems(listing: Listing) -> list[str]:
    """Return the problems of the lists themselves: paths, labels, names, duplicates, empty classes."""
    names: dict[int, str] = {}
    problems = list(_entry_problems(listing, names))
    if not listing.test and not listing.problems:
        advice = "; rename the list 'val' to 'test' if it has the images to score" if listing.val else ""
        problems.append(f"the list 'test' is empty{advice}")
    absent = (label for label in range(max(names, default=-1) + 1) if label not in names)
    if gaps := list(itertools.islice(absent, SHOWN_GAPS)):  # a label of 10**12 would have as many gaps below it
        advice = "; subtract 1 from each" if gaps == [0] else ""
        problems.append(f"labels must run from 0 without gaps; missing: {', '.join(map(str, gaps))}{advice}")
    for part in ("train", "test"):
        entries = listing.parts[part]
        empty = sorted(names.keys() - {label for _, label, _ in entries}) if entries else []
        problems += [
            f"class {label} ({quoted(names[label])}) has no image in {part}{_spelling(label, names)}" for label in empty
        ]
    return problems


def _entry_problems(listing: Listing, names: dict[int, str]) -> Iterator[str]:
    """Yield the problems of single entries, and collect the class names by label."""
    seen: dict[str, tuple[str, str]] = {}
    for part, entries in listing.distinct_parts.items():
        for number, (path, label, name) in enumerate(entries):
            where = listing.place(part, number)
            if not _is_text(path + name):
                yield f"{where}: {quoted(path)}, {quoted(name)} is not valid text"
            if leaves_folder(path):
                yield f"{where}: the path {quoted(path)} leaves the image folder; {way_inside(path)}"
            if label < 0:
                yield f"{where}: label {label} is below 0"
            elif not as_in_prompt(name):
                yield f"{where}: the class name {quoted(name)} is blank in a prompt; give label {label} a name"
            elif names.setdefault(label, name) != name:
                yield f"{where}: label {label} is called {quoted(name)}, and {quoted(names[label])} elsewhere"
            plain = posixpath.normpath(path)
            if plain in seen:
                before, spelling = seen[plain]
                also = f" as {quoted(spelling)}" if spelling != path else ""
                yield f"{where}: {quoted(path)} is listed in {before} already{also}"
            seen[plain] = part, path


def list_notes(listing: Listing) -> list[str]:
    """Return what a user should know about lists that are allowed: unused files, class names with several labels."""
    notes, files = [], Counter({suffix: n for suffix, n in listing.unused.items() if suffix != FOLDER})
    if folders := listing.unused[FOLDER]:
        notes.append(
            f"{plural(folders, 'folder')} in class folders left out; move the images in them up, into the folder of "
            "their class"
        )
    if count := files.total():
        notes.append(
            f"{plural(count, 'file')} of class folders left out: {describe_unused(files)}; convert those that "
            "are images to .jpg or .png"
        )
    labels: dict[str, set[int]] = {}
    for entries in listing.parts.values():
        for _, label, name in entries:
            labels.setdefault(name, set()).add(label)
    by_prompt: dict[tuple[str, ...], list[str]] = {}
    for name in labels:
        by_prompt.setdefault(tuple(WORDS.findall(as_in_prompt(name))), []).append(name)
    several = [(as_in_prompt(alike[0]), set().union(*(labels[name] for name in alike))) for alike in by_prompt.values()]
    shared = [f"{quoted(name)} ({', '.join(map(str, sorted(of)))})" for name, of in several if len(of) > 1]
    unseen = [f"{name!a} ({min(of)})" for name, of in labels.items() if any(map(_is_invisible, name))]
    absent = [f"{name!a} ({min(of)})" for name, of in labels.items() if name.lower().strip(" <>()[]") in MISSING]
    for found, what in (
        (shared, "labels with one name, which prompts cannot tell apart"),
        (unseen, "class names with invisible characters, which change their prompts"),
        (absent, "class names that programs write for a missing value"),
    ):
        if found:
            notes.append(f"{what}: {', '.join(found[:SHOWN_NAMES] + ['...'] * (len(found) > SHOWN_NAMES))}")
    return notes


def as_in_prompt(name: str) -> str:
    """Return a class name as the tokenizer reads it: underscores are blanks, case and repeated blanks do not count."""
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").lower().split())


def _spelling(label: int, names: Mapping[int, str]) -> str:
    """What to do if another label has the name of this one in another spelling; empty if none has."""
    for other, name in names.items():
        if other != label and _letters(name) == _letters(names[label]):
            return (
                f"; class {other} ({quoted(name)}) is another spelling of it: rename the folder, or the entries of the "
                "list, so that they agree"
            )
    return ""


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, as_in_prompt(name)))


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf") and not character.isspace()


def same_files(listing: Listing, files: Mapping[str, File]) -> list[str]:
    """Return a problem for each path that opens a file of another list; note those that open one of their own list.

    Args:
        files: what the paths open, from find_files.
    """
    seen: dict[Hashable, tuple[str, str]] = {}
    problems, again = [], []
    for part, entries in listing.distinct_parts.items():
        for number, path in ((number, path) for number, (path, _, _) in enumerate(entries) if path in files):
            before, spelling = seen.setdefault(files[path].identity, (part, path))
            if posixpath.normpath(path) == posixpath.normpath(spelling):
                continue  # the check of the lists reports it
            if before != part:
                where = listing.place(part, number)
                problems.append(f"{where}: {quoted(path)} is the same file as {quoted(spelling)}, listed in {before}")
            else:
                again.append(f"{quoted(path)} in {part}, which is {quoted(spelling)}")
    if again:
        listing.notes.append(
            f"{plural(len(again), 'file')} listed twice in one list under two names, the first is {again[0]}"
        )
    return problems


def note_copies(images: Path, listing: Listing, files: Mapping[str, File]) -> None:
    """Note images with the same bytes: those of test that are in train or val too, and those of a list with two labels.

    The checks must have passed before.

    Raises:
        DataError: a file cannot be read.
    """
    labels = {part: {path: label for path, label, _ in of} for part, of in listing.distinct_parts.items()}
    groups = find_copies(images, files, [path for of in labels.values() for path in of])  # those of test come last
    test = labels["test"]
    copies = {path: group[0] for group in groups if group[0] not in test for path in group if path in test}
    if copies:
        path = next(filter(copies.get, test))
        listing.notes.append(
            f"{len(copies)} of {len(test)} test images have the same bytes as an image of train or val, the first is "
            f"{quoted(path)}, a copy of {quoted(copies[path])}; accuracies on them are not those of unseen images"
        )
    for part, label in labels.items():
        inside = [[path for path in group if path in label] for group in groups]
        if unclear := [group for group in inside if len({label[path] for path in group}) > 1]:
            one, other = unclear[0][0], next(path for path in unclear[0] if label[path] != label[unclear[0][0]])
            listing.notes.append(
                f"{sum(map(len, unclear))} images of {part} have the same bytes as one of it with another label, the "
                f"first are {quoted(one)} (label {label[one]}) and {quoted(other)} (label {label[other]}); keep one"
            )


def paths_inside(images: Path, listing: Listing) -> tuple[list[str], list[str], Callable[[str], bool]]:
    """Return the paths to check, the problems of folders that are links out, and a test for one path."""
    listed_paths = (path for entries in listing.parts.values() for path, _, _ in entries)
    paths = [path for path in dict.fromkeys(listed_paths) if _is_text(path) and not leaves_folder(path)]
    tops = {path.partition("/")[0] for path in paths} & {*listing.image_folders}
    roots = {folder: os.path.realpath(images / folder) for folder in ("", *tops)}

    def is_outside(path: str) -> bool:
        root = roots.get(path.partition("/")[0], roots[""])
        return not Path(os.path.realpath(images / path)).is_relative_to(root)

    folders = sorted({os.path.dirname(path) for path in paths})
    outside = {folder for folder in folders if is_outside(folder)}
    problems = [f"the folder {quoted(folder)} is {LEAVES}" for folder in sorted(outside)]
    return [path for path in paths if os.path.dirname(path) not in outside], problems, is_outside


def _file_problems(images: Path, listing: Listing) -> list[str]:
    """Check that each image exists, is not a link out of its folder, and is a whole image of an allowed size."""
    from benchmark.data.images import image_problem  # imports torch, which reading lists must not

    paths, problems, is_outside = paths_inside(images, listing)

    def problem(path: str) -> str | None:
        file = images / path
        if not os.path.isfile(file):
            return f"{quoted(path)} is missing"
        if file.is_symlink() and is_outside(path):
            return f"{quoted(path)} is {LEAVES}"
        found = image_problem(str(file))
        return found and f"{quoted(path)} {found}"

    with ThreadPoolExecutor() as pool:
        problems += [found for found in pool.map(problem, paths, chunksize=64) if found]
    files = find_files(images, paths)
    problems += same_files(listing, files)
    if not problems:
        note_copies(images, listing, files)
    return problems


def _is_text(text: str) -> bool:
    """Return whether text can be encoded: a lone surrogate, which JSON may contain, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def quoted(text: str) -> str:
    """Return text as messages show it: quoted, escaped, and shortened in the middle."""
    return repr(text if len(text) <= 2 * SHOWN_ENDS else f"{text[:SHOWN_ENDS]}...{text[-SHOWN_ENDS:]}")
