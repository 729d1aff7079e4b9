"""List the known datasets and load one of them: names, paths and labels, no pixels.

Importing this module imports neither torch nor Pillow.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from benchmark.common.files import expand
from benchmark.common.validation import build
from benchmark.common.yaml import read_yaml
from benchmark.data.checks import check_listing
from benchmark.data.layouts import READERS, Listing
from benchmark.data.synthetic.names import CATALOG as SYNTHETIC_CATALOG
from benchmark.data.synthetic.names import generated_names, suite_version
from benchmark.errors import ConfigError, DataError, did_you_mean

CATALOGS = (Path(__file__).with_name("catalog.yaml"), SYNTHETIC_CATALOG)


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """One entry of catalog.yaml: where a dataset is stored and how its classes become prompts.

    Attributes:
        title: row label in the tables.
        folder: relative to the data folder.
        images: image folder, relative to `folder`.
        layout: format of its lists; a key of layouts.READERS.
        split: name of the split file, for layout split_json.
        template: prompt with one {} for the class name.
        classes, counts: of the original dataset. The doctor shows them; no check requires them.
        mirrors: for a generated dataset, the dataset of the paper that it imitates.
        aliases: other names that an archive of it may have.
        elsewhere: address of the authors' own archive to the MD5 of that file.
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
        name: its key in the catalog, or the name of a custom dataset.
        class_names: C names, by label. Labels identify classes; names may repeat (ImageNet's do).
        template: prompt with one {} for the class name.
        train, val, test: items in the order of the split file.
        image_root: the folder that image paths are relative to.
        split_sha256: hash of everything that determines the lists and the class names.
        version: of a generated dataset; it stands for the content of the images.
        digests: path to hash of the content, for the images that planned runs read; shared by halves and samples.
        notes: what a user should know about its files and names before a run.
    """

    name: str
    class_names: tuple[str, ...]
    template: str
    train: list[Item] = field(repr=False)
    val: list[Item] = field(repr=False)
    test: list[Item] = field(repr=False)
    image_root: str = ""
    split_sha256: str = ""
    version: str = ""
    digests: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    notes: tuple[str, ...] = ()


@cache
def load_catalog() -> dict[str, CatalogEntry]:
    """Return all known datasets by name: the paper's, the shifted ImageNets, the generated ones."""
    return {
        name: build(CatalogEntry, raw, f"{path.name}: {name}")
        for path in CATALOGS
        for name, raw in read_yaml(path).items()
    }


def load_dataset(name: str, root: str | Path, *, check_files: bool = False) -> Dataset:
    """Load a dataset from the data folder; nothing is written there.

    Args:
        name: a name of the catalog.
        root: the data folder, in CoOp's layout (docs/data.md).
        check_files: also check that every listed image exists, has a valid header and is not truncated.
    Raises:
        ConfigError: the name is unknown.
        DataError: files are missing or wrong; one message lists all problems.
    """
    catalog = load_catalog()
    if name not in catalog:
        raise ConfigError(f"'{name}' is not a dataset. {did_you_mean(name, catalog)}")
    entry = catalog[name]
    folder, images = folders_of(entry, root)
    missing = [path for path in (folder, images) if not path.is_dir()]
    if missing:
        advice = f"Put the dataset there in CoOp's layout (docs/data.md), or run `python -m benchmark download {name}`."
        if folder.parent.name == entry.folder:
            advice = f"The data folder is the one that holds {entry.folder}: give {folder.parent.parent}."
        raise DataError(f"{name}: there is no folder {missing[0]}. {advice}")
    listing = READERS[entry.layout](folder, images, entry.split)
    again = "Fetch the dataset or its split file again (docs/data.md)."
    check_listing(
        listing,
        images,
        where=f"{name} ({folder})",
        remedy="Correct its folders (docs/data.md)." if entry.layout == "image_folder" else again,
        check_files=check_files,
    )
    return to_dataset(name, listing, images=images, template=entry.template)


def folders_of(entry: CatalogEntry, root: str | Path) -> tuple[Path, Path]:
    """Return a dataset's folder in the data folder, and its image folder."""
    folder = Path(os.path.abspath(expand(root))) / entry.folder  # resolves "..", keeps links
    return folder, folder / entry.images if entry.images != "." else folder


def to_dataset(name: str, listing: Listing, *, images: Path, template: str) -> Dataset:
    """Build a dataset from a listing that passed check_listing."""
    lists = {
        part: [Item(f"{images}/{path}", label, class_name) for path, label, class_name in entries]
        for part, entries in listing.parts.items()
    }
    names = {label: name for entries in listing.parts.values() for _, label, name in entries}
    return Dataset(
        name=name,
        class_names=tuple(names[label] for label in sorted(names)),
        template=template,
        image_root=str(images),
        split_sha256=listing.digest,
        version=suite_version() if name in generated_names() else "",
        notes=tuple(listing.notes),
        **lists,
    )


def relative_path(dataset: Dataset, item: Item) -> str:
    """Return an item's path relative to the image folder, which identifies the image on any machine."""
    return item.path.removeprefix(f"{dataset.image_root}/")


def count_by_label(items: Iterable[Item], classes: int) -> list[int]:
    """Count the items of each label."""
    counts = [0] * classes
    for item in items:
        counts[item.label] += 1
    return counts
