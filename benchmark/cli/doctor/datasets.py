"""Survey the files of a dataset for the doctor: what is there and what a run would refuse, without decoding images."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmark.data.catalog import (
    LEAVES,
    CatalogEntry,
    Dataset,
    Item,
    folders_of,
    list_problems,
    load_catalog,
    paths_inside,
    quoted,
    to_dataset,
)
from benchmark.data.custom.dataset import read_own
from benchmark.data.headers import look_at_all
from benchmark.data.layouts import READERS, Listing
from benchmark.data.synthetic.suite import DRAWN, PER_CLASS
from benchmark.errors import ConfigError, DataError

NAMED = 5  # files, or problems of lists, that are named; the rest is counted
NOT_DECODED = "JPEG"  # a run decodes images of every other kind before it starts


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files with the same problem: their number, and the first few with the reason."""

    count: int = 0
    first: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The state of a dataset.

    Attributes:
        folder: where it is or would be.
        images: number of listed images, each counted once.
        catalogue_images: number of images of the original; None for a custom dataset.
        counts, catalogue_counts: of train, val and test.
        problems: messages about its folders and lists.
        missing, unreadable: listed files that do not exist, and files that are not complete images.
        odd: very small or very long images; no run refuses them.
        undecoded: number of readable images that a run decodes before it starts.
        dataset: the dataset, if a run would use it.
    """

    name: str
    state: Literal["present", "to be drawn", "missing", "damaged"]
    folder: str
    images: int = 0
    catalogue_images: int | None = None
    counts: dict[str, int] | None = None
    catalogue_counts: dict[str, int] | None = None
    classes: int | None = None
    catalogue_classes: int | None = None
    problems: tuple[str, ...] = ()
    missing: Files = Files()
    unreadable: Files = Files()
    odd: Files = Files()
    undecoded: int = 0
    dataset: Dataset | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class How:
    """How files are checked: decoded or not, in how many processes, with which callbacks.

    Attributes:
        start: called with a dataset's name and its number of files.
        advance: called with each number of files that were checked.
    """

    deep: bool = False
    processes: int = 1
    start: Callable[[str, int], None] = lambda name, count: None
    advance: Callable[[int], None] = lambda count: None


def survey_known(name: str, root: str | Path, how: How) -> Survey:
    """Survey a dataset of the catalog in the data folder."""
    entry = load_catalog()[name]
    folder, images = folders_of(entry, root)
    known = _original(name, entry)
    if absent := [str(path) for path in (folder, images) if not os.path.isdir(path)]:
        return Survey(**known, state="missing", folder=str(folder), problems=(f"there is no folder {absent[0]}",))
    try:
        listing = READERS[entry.layout](folder, images, entry.split)
    except DataError as error:
        return Survey(**known, state="damaged", folder=str(folder), problems=(str(error),))
    return _survey(known, listing, images, folder=str(folder), template=entry.template, how=how)


def survey_own(name: str, path: str | Path, how: How) -> Survey:
    """Survey a custom dataset."""
    folder = str(Path(path).expanduser())
    if not os.path.exists(folder):
        return Survey(name=name, state="missing", folder=folder, problems=(f"there is no file or folder {folder}",))
    try:
        source, listing = read_own(name, path)
    except (ConfigError, DataError) as error:
        return Survey(name=name, state="damaged", folder=folder, problems=(str(error),))
    template = source.settings.template
    return _survey({"name": name}, listing, source.images, folder=str(source.data), template=template, how=how)


def survey_embedded(name: str, root: Path, how: How) -> Survey:
    """Survey a dataset of the embedded suite: its files in `root`, or what will be generated there."""
    entry = load_catalog()[name]
    folder, _ = folders_of(entry, root)
    if folder.is_dir():
        return survey_known(name, root, how)
    known, drawn = _original(name, entry), DRAWN[name]
    lists = {
        part: [
            Item(f"{part}/{label}-{number}", label, class_name)
            for label, class_name in enumerate(drawn.classes)
            for number in range(PER_CLASS[part] if part in drawn.lists else 0)
        ]
        for part in PER_CLASS
    }
    dataset = Dataset(name=name, class_names=tuple(drawn.classes), template=entry.template, **lists)
    return Survey(**known, state="to be drawn", folder=str(folder), dataset=dataset)


def _original(name: str, entry: CatalogEntry) -> dict:
    """What the catalog says. ImageNet's 'val' is its 'test' again, and each image is counted once."""
    twice = entry.layout == "image_folder"
    return {
        "name": name,
        "catalogue_counts": dict(entry.counts),
        "catalogue_images": sum(entry.counts.values()) - (entry.counts["val"] if twice else 0),
        "catalogue_classes": entry.classes,
    }


def _survey(known: dict, listing: Listing, images: Path, *, folder: str, template: str, how: How) -> Survey:
    paths, outside, is_outside = paths_inside(images, listing)
    problems = [*listing.problems, *list_problems(listing), *outside]
    how.start(known["name"], len(paths))
    findings, kinds = look_at_all(str(images), paths, deep=how.deep, processes=how.processes, advance=how.advance)
    links = [
        f"{quoted(found.path)} is {LEAVES}" for found in findings if found.kind == "link" and is_outside(found.path)
    ]
    problems += links
    by_kind = {
        kind: [_in_words(found.path, found.text) for found in findings if found.kind == kind]
        for kind in ("missing", "unreadable", "odd")
    }
    bad = by_kind["missing"] or by_kind["unreadable"] or problems
    nothing = len(by_kind["missing"]) == len(paths) and not problems
    labels = {label for entries in listing.parts.values() for _, label, _ in entries}
    return Survey(
        **known,
        state="damaged" if bad and not nothing else "missing" if nothing else "present",
        folder=folder,
        images=len({path for entries in listing.parts.values() for path, _, _ in entries}),
        counts={part: len(entries) for part, entries in listing.parts.items()},
        classes=len(labels),
        problems=_first(problems),
        undecoded=0 if how.deep else sum(kinds.values()) - kinds[NOT_DECODED],
        dataset=None if bad else to_dataset(known["name"], listing, images=images, template=template),
        **{kind: Files(count=len(found), first=tuple(found[:NAMED])) for kind, found in by_kind.items()},
    )


def _in_words(path: str, text: str) -> str:
    return f"{path} ({text})" if text else path


def _first(problems: Sequence[str]) -> tuple[str, ...]:
    left = len(problems) - NAMED
    return (*problems[:NAMED], *([f"and {left} more problems"] if left > 0 else []))
