"""The datasets by name: where each lies below the data folder, and reading one with every check short of pixels."""

import itertools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from PIL import Image

from benchmark.common.config import build, read_yaml
from benchmark.data.layouts import READERS, Listing, leaves_folder
from benchmark.errors import ConfigError, DataError, did_you_mean, listed

HERE = Path(__file__).resolve().parent
CATALOGUES = (HERE / "catalog.yaml", HERE / "synthetic" / "catalog.yaml")
SHOWN_GAPS = 10  # missing labels named
SHOWN = 50  # problems written out in full; the rest are counted
SHOWN_ENDS = 80  # characters of a long path's or name's beginning and end
LEAVES = "a link that leaves the image folder; put what it leads to in its place, or link the whole image folder"


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """Where a dataset lies and how its classes are put into words; one entry of catalog.yaml.

    Attributes:
        title: its row in the tables.
        folder: below the data folder.
        images: the image folder, below `folder`.
        layout: how its lists are written; a key of layouts.READERS.
        split: the split file, for layout split_json.
        template: with one {} for the class name.
        classes, counts: of the original, for the doctor; never held against what a user has.
        mirrors: of an embedded dataset, the one of the paper whose kind it has.
        aliases: other names that an archive of it may have.
        elsewhere: where its pictures are published too, by address, with the MD5 of the file there.
    """

    title: str
    folder: str
    images: str
    layout: Literal["split_json", "aircraft", "image_folder", "image_folder_test", "image_folder_numbered"]
    template: str
    classes: int
    counts: dict[str, int]
    split: str = ""
    mirrors: str | None = None
    aliases: tuple[str, ...] = ()
    elsewhere: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One image: absolute path, label from 0, class name."""

    path: str
    label: int
    class_name: str


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset, a half of it or a sample of it.

    Attributes:
        name: its key in the catalogue, or a user's own.
        class_names: C names, by label. Labels identify classes; names may repeat (ImageNet's do).
        template: with one {} for the class name.
        train, val, test: items in the order of the split file.
        image_root: the folder that image paths are relative to.
        split_sha256: of all that decides the lists and the class names.
    """

    name: str
    class_names: tuple[str, ...]
    template: str
    train: list[Item] = field(repr=False)
    val: list[Item] = field(repr=False)
    test: list[Item] = field(repr=False)
    image_root: str = ""
    split_sha256: str = ""


@cache
def load_catalog() -> dict[str, CatalogEntry]:
    """All known datasets by name: the paper's, the shifted ImageNets, the embedded suite's."""
    return {
        name: build(CatalogEntry, raw, f"{path.name}: {name}")
        for path in CATALOGUES
        for name, raw in read_yaml(path).items()
    }


def load_dataset(name: str, root: str | Path, *, check_files: bool = False) -> Dataset:
    """Read a dataset below the data folder, writing nothing there.

    Args:
        name: a name of the catalogue.
        root: the data folder, in CoOp's layout (docs/data.md).
        check_files: also open the header of every listed image, and see whether its file was cut off.
    Raises:
        ConfigError: the name is unknown.
        DataError: what is missing or wrong, all of it in one message.
    """
    catalog = load_catalog()
    if name not in catalog:
        raise ConfigError(f"'{name}' is not a dataset. {did_you_mean(name, catalog)}")
    entry = catalog[name]
    folder, images = folders_of(entry, root)
    missing = [path for path in (folder, images) if not path.is_dir()]
    if missing:
        advice = f"Put the dataset there in CoOp's layout (docs/data.md), or see --download {name}."
        if folder.parent.name == entry.folder:
            advice = f"The data folder is the one that holds {entry.folder}: give {folder.parent.parent}."
        raise DataError(f"{name}: there is no folder {missing[0]}. {advice}")
    listing = READERS[entry.layout](folder, images, entry.split)
    check_listing(
        listing,
        images,
        where=f"{name} ({folder})",
        remedy="Fetch the dataset or its split file again (docs/data.md).",
        check_files=check_files,
    )
    return to_dataset(name, listing, images=images, template=entry.template)


def folders_of(entry: CatalogEntry, root: str | Path) -> tuple[Path, Path]:
    """A dataset's folder below the data folder, and its image folder."""
    folder = Path(os.path.abspath(Path(root).expanduser())) / entry.folder  # links stay, ".." goes
    return folder, folder / entry.images if entry.images != "." else folder


def check_listing(listing: Listing, images: Path, *, where: str, remedy: str, check_files: bool) -> None:
    """Refuse lists that hold what no dataset may, and pictures that cannot be read.

    Args:
        images: the folder that the lists' paths are relative to.
        check_files: whether to look at the pictures too.
    Raises:
        DataError: what reading the lists found, and all that is found here.
    """
    problems = listing.problems + list_problems(listing)
    if check_files:
        problems += _image_problems(images, listing)
    if problems:
        shown = problems[:SHOWN] + ([f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])
        raise DataError(listed(where, shown, remedy))


def to_dataset(name: str, listing: Listing, *, images: Path, template: str) -> Dataset:
    """The dataset that a checked listing describes."""
    lists = {
        part: [Item(f"{images}/{path}", label, class_name) for path, label, class_name in entries]
        for part, entries in listing.parts.items()
    }
    return Dataset(
        name=name,
        class_names=_names(listing),
        template=template,
        image_root=str(images),
        split_sha256=listing.digest,
        **lists,
    )


def _names(listing: Listing) -> tuple[str, ...]:
    names = {label: name for entries in listing.parts.values() for _, label, name in entries}
    return tuple(names[label] for label in sorted(names))


def list_problems(listing: Listing) -> list[str]:
    """What is wrong with the lists themselves: paths, labels, names, repeats, empty classes."""
    problems: list[str] = []
    names: dict[int, str] = {}
    seen: dict[str, str] = {}
    parts = listing.parts if listing.val != listing.test else {"train": listing.train, "test": listing.test}
    for part, entries in parts.items():
        for number, (path, label, name) in enumerate(entries):
            where = listing.place(part, number)
            if not _is_text(path + name):
                problems.append(f"{where}: {quoted(path)}, {quoted(name)} is no text")
            if leaves_folder(path):
                problems.append(f"{where}: the path {quoted(path)} leaves the image folder")
            if label < 0:
                problems.append(f"{where}: label {label} is below 0")
            elif names.setdefault(label, name) != name:
                problems.append(
                    f"{where}: label {label} is called {quoted(name)}, and {quoted(names[label])} elsewhere"
                )
            if path in seen:
                problems.append(f"{where}: {quoted(path)} is listed in {seen[path]} already")
            seen[path] = part
    if not listing.test:
        problems.append("the list 'test' is empty")
    absent = (label for label in range(max(names, default=-1) + 1) if label not in names)
    if gaps := list(itertools.islice(absent, SHOWN_GAPS)):  # a label of billions has billions of gaps below it
        problems.append(f"labels must run from 0 without gaps; {', '.join(map(str, gaps))} are missing")
    for part in ("train", "test"):
        entries = listing.parts[part]
        empty = sorted(names.keys() - {label for _, label, _ in entries}) if entries else []
        problems += [f"class {label} ({quoted(names[label])}) has no image in {part}" for label in empty]
    return problems


def _image_problems(images: Path, listing: Listing) -> list[str]:
    """See that every image is there, is no link out of its image folder, and is a whole picture of a sane size."""
    left, problems, is_outside = paths_inside(images, listing)
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda path: _image_problem(images, path, is_outside), left, chunksize=64)
        return problems + [problem for problem in found if problem]


def paths_inside(images: Path, listing: Listing) -> tuple[list[str], list[str], Callable[[str], bool]]:
    """The images to look at, what is wrong with the folders of the others, and whether a path leads out of its own."""
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


def _image_problem(images: Path, path: str, is_outside: Callable[[str], bool]) -> str | None:
    from benchmark.data.images import check_image  # here: it imports torch, and names are checked without it

    file = images / path
    try:
        if not file.is_file():
            return f"{quoted(path)} is missing"
        if file.is_symlink() and is_outside(path):
            return f"{quoted(path)} is {LEAVES}"
        check_image(str(file))
    except Image.DecompressionBombError as error:
        return f"{quoted(path)} has too many pixels ({error})"
    except Exception as error:  # Pillow raises many kinds for a damaged file
        return f"{quoted(path)} cannot be read as a picture ({type(error).__name__})"
    return None


def _is_text(text: str) -> bool:
    """Whether text can be written down: half of a pair of surrogates, which JSON may hold, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def quoted(text: str) -> str:
    """What a list holds as a message shows it: in quotes, escaped, the middle of a long one left out."""
    return repr(text if len(text) <= 2 * SHOWN_ENDS else f"{text[:SHOWN_ENDS]}...{text[-SHOWN_ENDS:]}")


def relative_path(dataset: Dataset, item: Item) -> str:
    """An item's path below the image folder, which identifies the image on any machine."""
    return item.path.removeprefix(f"{dataset.image_root}/")


def count_by_label(items: Iterable[Item], classes: int) -> list[int]:
    """How many items each label has."""
    counts = [0] * classes
    for item in items:
        counts[item.label] += 1
    return counts
