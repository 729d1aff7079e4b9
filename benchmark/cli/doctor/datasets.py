"""Survey datasets for the doctor: what exists and what a run would refuse, without decoding images."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from benchmark.data.catalog import CatalogEntry, Dataset, Item, folders_of, load_catalog, to_dataset
from benchmark.data.checks import LEAVES, list_notes, list_problems, note_copies, paths_inside, quoted, same_files
from benchmark.data.custom.dataset import read_custom
from benchmark.data.download.install import IMAGENET
from benchmark.data.duplicates import find_files
from benchmark.data.headers import LONGEST_RATIO, SHORTEST_SIDE, inspect_files
from benchmark.data.layouts import READERS, Listing
from benchmark.data.synthetic.names import suite_version
from benchmark.data.synthetic.suite import GENERATED, PER_CLASS, path_of
from benchmark.errors import ConfigError, DataError

NAMED = 5  # files or problems that are named; the rest are counted
DECODED_LATER = "PNG"  # by a run before it starts; of the other formats but JPEG, this is done here


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The state of a dataset.

    Attributes:
        folder: of the dataset, which may not exist.
        images: number of listed images, without duplicates.
        catalogue_images: number in the original; None for a custom dataset.
        counts, catalogue_counts: of train, val and test.
        problems: messages about its folders and lists.
        warnings: what the plan of a run notes about its files and names.
        missing, unreadable: listed files that do not exist, and files without a valid header or end; their number, and
            the first few with details.
        odd: the same of very small or very long images; no run refuses them.
        peculiar: what is ignored or changed when images are read, which is no problem, and the same of these images.
        undecoded: readable images that a run will decode to check them.
        needed: whether the run needs it.
        next_command: what repairs it.
        dataset: loaded, if a run would accept it.
    """

    name: str
    state: Literal["present", "to be generated", "missing", "damaged"]
    folder: str
    images: int = 0
    catalogue_images: int | None = None
    counts: dict[str, int] | None = None
    catalogue_counts: dict[str, int] | None = None
    classes: int | None = None
    catalogue_classes: int | None = None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    missing: dict[str, object] = field(default_factory=lambda: _files([]))
    unreadable: dict[str, object] = field(default_factory=lambda: _files([]))
    odd: dict[str, object] = field(default_factory=lambda: _files([]))
    peculiar: dict[str, dict[str, object]] = field(default_factory=dict)
    undecoded: int = 0
    needed: bool = False
    next_command: str | None = None
    dataset: Dataset | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, object]:
        """The entry of the doctor's JSON, which docs/data.md explains."""
        return {key: value for key, value in vars(self).items() if key != "dataset"} | {"note": self.note}

    @property
    def note(self) -> str:
        """Notes on the dataset, as one text."""
        notes = [*self.problems, *_named(self.missing, f"of {self.images} listed images are not there")]
        notes += _named(self.unreadable, "files cannot be read")
        if self.state == "to be generated":
            notes.append("the first run generates it")
        elif self.images and self.catalogue_images not in (None, self.images):
            notes.append(f"{self.images} of {self.catalogue_images} images")
        if self.classes and self.catalogue_classes not in (None, self.classes):
            notes.append(f"{self.classes} of {self.catalogue_classes} classes")
        limits = f"below {SHORTEST_SIDE} pixels or longer than 1:{LONGEST_RATIO}"
        notes += _named(self.odd, f"images have an odd size ({limits}), which is no fault")
        notes += self.warnings
        for what, files in self.peculiar.items():
            notes += _named(files, f"images have this, which is no fault ({what})")
        if self.dataset is None and self.name == IMAGENET:
            notes.append("each user gets it by hand: docs/data.md")
        return "; ".join(notes)


@dataclass(frozen=True, kw_only=True)
class SurveyOptions:
    """How to check files.

    Attributes:
        deep: decode the images.
        processes: to use if there are many files.
        bar: shows the files of the current dataset.
    """

    deep: bool
    processes: int
    bar: tqdm


def survey_known(name: str, root: str | Path, options: SurveyOptions) -> Survey:
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
    return _survey(known, listing, images, folder=str(folder), template=entry.template, options=options)


def survey_custom(name: str, path: str | Path, options: SurveyOptions) -> Survey:
    """Survey a custom dataset."""
    folder = str(path)
    if not os.path.exists(folder):
        return Survey(name=name, state="missing", folder=folder, problems=(f"there is no file or folder {folder}",))
    try:
        source, listing = read_custom(name, path)
    except (ConfigError, DataError) as error:
        return Survey(name=name, state="damaged", folder=folder, problems=(str(error),))
    template = source.settings.template
    return _survey({"name": name}, listing, source.images, folder=str(source.data), template=template, options=options)


def survey_generated(name: str, root: Path, options: SurveyOptions) -> Survey:
    """Survey a generated dataset in `root`; if it does not exist yet, describe what will be generated."""
    entry = load_catalog()[name]
    folder, _ = folders_of(entry, root)
    if folder.is_dir():
        return survey_known(name, root, options)
    known, generated = _original(name, entry), GENERATED[name]
    lists = {
        part: [
            Item(path_of(class_name, part, number), label, class_name)
            for label, class_name in enumerate(generated.classes)
            for number in range(PER_CLASS[part] if part in generated.lists else 0)
        ]
        for part in PER_CLASS
    }
    dataset = Dataset(
        name=name, class_names=tuple(generated.classes), template=entry.template, version=suite_version(), **lists
    )
    return Survey(**known, state="to be generated", folder=str(folder), dataset=dataset)


def _original(name: str, entry: CatalogEntry) -> dict:
    """Return the catalog's numbers; ImageNet's 'val' equals its 'test', whose images count once."""
    twice = entry.layout == "image_folder"
    return {
        "name": name,
        "catalogue_counts": dict(entry.counts),
        "catalogue_images": sum(entry.counts.values()) - (entry.counts["val"] if twice else 0),
        "catalogue_classes": entry.classes,
    }


def _survey(
    known: dict, listing: Listing, images: Path, *, folder: str, template: str, options: SurveyOptions
) -> Survey:
    paths, outside, is_outside = paths_inside(images, listing)
    problems = [*listing.problems, *list_problems(listing), *outside]
    options.bar.reset(total=len(paths))
    options.bar.set_description(known["name"])
    findings, formats = inspect_files(
        str(images), paths, deep=options.deep, processes=options.processes, advance=options.bar.update
    )
    links = [
        f"{quoted(found.path)} is {LEAVES}" for found in findings if found.kind == "link" and is_outside(found.path)
    ]
    files = find_files(images, paths)
    problems += [*links, *same_files(listing, files)]
    by_kind = {
        kind: [_describe(found.path, found.text) for found in findings if found.kind == kind]
        for kind in ("missing", "unreadable", "odd")
    }
    damaged = by_kind["missing"] or by_kind["unreadable"] or problems
    listing.notes += list_notes(listing)
    if not damaged:
        note_copies(images, listing, files)
    all_missing = len(by_kind["missing"]) == len(paths) and not problems
    labels = {label for entries in listing.parts.values() for _, label, _ in entries}
    return Survey(
        **known,
        state="missing" if all_missing else "damaged" if damaged else "present",
        folder=folder,
        images=len({path for entries in listing.parts.values() for path, _, _ in entries}),
        counts={part: len(entries) for part, entries in listing.parts.items()},
        classes=len(labels),
        problems=_first(problems),
        warnings=tuple(listing.notes),
        peculiar={
            text: _files([found.path for found in findings if (found.kind, found.text) == ("peculiar", text)])
            for text in sorted({found.text for found in findings if found.kind == "peculiar"})
        },
        undecoded=0 if options.deep else formats[DECODED_LATER],
        dataset=None
        if damaged or all_missing
        else to_dataset(known["name"], listing, images=images, template=template),
        **{kind: _files(found) for kind, found in by_kind.items()},
    )


def _files(described: Sequence[str]) -> dict[str, object]:
    """Files with the same problem: their number, and the first few."""
    return {"count": len(described), "first": list(described[:NAMED])}


def _named(files: dict[str, object], what: str) -> list[str]:
    more = ", ..." if files["count"] > len(files["first"]) else ""
    return [f"{files['count']} {what}: {', '.join(files['first'])}{more}"] if files["count"] else []


def _describe(path: str, text: str) -> str:
    return f"{path} ({text})" if text else path


def _first(problems: Sequence[str]) -> tuple[str, ...]:
    left = len(problems) - NAMED
    return (*problems[:NAMED], *([f"and {left} more problems"] if left > 0 else []))
