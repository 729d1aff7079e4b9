"""Find an archive for each dataset: a complete one, or else the authors' own together with CoOp's split file.

The authors' archives, from the catalog, are the fallback if the hub's repository is gone or lacks a dataset. They have
no CoOp lists, so the split file must exist before anything is downloaded.
"""

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from huggingface_hub import constants

from benchmark.common.provenance import digest_of
from benchmark.data.catalog import CatalogEntry, folders_of, load_catalog
from benchmark.data.checks import check_listing
from benchmark.data.download.hub import REPOSITORY, SUFFIX, Source, list_folder, list_hub
from benchmark.data.download.transfer import Archive, SourceError, note, size_at
from benchmark.data.layouts import READERS
from benchmark.errors import DataError, listed

AUTHORS = Source(name="the datasets' authors, as a fallback", revision=None, archives=())
LISTS_AT = "CoOp's DATASETS.md (https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md)"
ASKED_AT_ONCE = 8  # servers, so that one that is down does not delay the others


@dataclass(frozen=True, kw_only=True)
class Download:
    """An archive to download, its source, and the split file to add if the archive has none."""

    archive: Archive
    source: Source
    split: Path | None = None


def find_downloads(
    names: Iterable[str], data: Path, *, folder: Path | None
) -> tuple[dict[str, Download], dict[str, str]]:
    """Return the download of each dataset, and a message for each dataset that has none.

    Args:
        data: the data folder, which may contain split files.
        folder: with archives, split files or both, used instead of the hub.
    Raises:
        DataError: the folder cannot be listed, or offline mode is on and nothing is cached.
    """
    try:
        source = list_folder(folder) if folder else list_hub(REPOSITORY)
    except SourceError as error:
        downloads, problems, reasons = {}, {}, dict.fromkeys(names, error)
    else:
        downloads, problems, reasons = match(names, source)
        of_authors = {name: download for name, download in downloads.items() if download.archive.md5}
        held = {name: f"{source.name} contains {download.archive.name}." for name, download in of_authors.items()}
        splits, lacking = find_lists(held, data, folder)
        downloads |= {name: replace(of_authors[name], split=splits[name]) for name in splits}
        problems |= lacking
    others, more = fall_back(reasons, data, folder=folder)
    found, problems = downloads | others, problems | more
    return {name: found[name] for name in names if name in found and name not in problems}, problems


def match(names: Iterable[str], source: Source) -> tuple[dict[str, Download], dict[str, str], dict[str, SourceError]]:
    """Match the archives of a source to datasets: return the matches, the ambiguous datasets, and those without one.

    An archive matches if its name is the dataset's folder, name or alias in the catalog, ignoring case, dashes and
    underscores. In a folder the authors' own archive matches too; its download has an MD5.
    """
    found, several, lacking = {}, {}, {}
    held = ", ".join(archive.name for archive in source.archives) or "none"
    for name in names:
        entry = load_catalog()[name]
        wanted = {_plain(known) for known in (name, entry.folder, *entry.aliases)}
        authors = [each for archive in source.archives if (each := _as_authors(archive, entry, source))]
        fitting = [
            archive
            for archive in source.archives
            if archive.name.lower().endswith(SUFFIX)
            and _plain(archive.name[: -len(SUFFIX)]) in wanted
            and archive.path not in [each.path for each in authors]
        ]
        if len(fitting) > 1:
            shown = ", ".join(archive.inside or archive.name for archive in fitting)
            several[name] = f"{source.name} contains several archives of it: {shown}. Keep one, and give --from."
        elif fitting or authors:
            found[name] = Download(archive=(fitting or authors)[0], source=source)
        else:
            remedy = "Set it up by hand (docs/data.md), or give --from FOLDER."
            lacking[name] = SourceError(f"{source.name} contains no archive of it. It contains {held}.", remedy)
    return found, several, lacking


def _as_authors(archive: Archive, entry: CatalogEntry, source: Source) -> Archive | None:
    """Return an archive of a folder with the authors' MD5 if it has the name of the authors' archive.

    The hub's complete zip may have the same name, so a zip must also have that MD5.
    """
    for address, md5 in entry.elsewhere.items() if source.revision is None else ():
        if archive.name.lower() == _file_name(address).lower() and (
            not archive.name.lower().endswith(SUFFIX) or digest_of(archive.path, "md5") == md5
        ):
            return replace(archive, md5=md5)
    return None


def fall_back(
    reasons: Mapping[str, SourceError], data: Path, *, folder: Path | None
) -> tuple[dict[str, Download], dict[str, str]]:
    """Return downloads of the authors' own archives, and a message for each dataset that has none.

    Args:
        reasons: why no other archive is available, by dataset.
    """
    catalog = load_catalog()
    offline = constants.is_offline_mode()
    why = (
        "Offline mode (HF_HUB_OFFLINE) is on, so no other source is asked." if offline else "No other source is known."
    )
    problems = {name: f"{reason} {why}" for name, reason in reasons.items() if offline or not catalog[name].elsewhere}
    left = {name: reason for name, reason in reasons.items() if name not in problems}
    splits, lacking = find_lists({name: str(reason) for name, reason in left.items()}, data, folder)
    downloads: dict[str, Download] = {}
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        answers = pool.map(lambda name: _ask(catalog[name]), splits)
        for name, answer in zip(splits, answers, strict=True):
            if isinstance(answer, Archive):
                downloads[name] = Download(archive=answer, source=AUTHORS, split=splits[name])
            else:
                problems[name] = f"{left[name]} The authors' archive is not available either: {answer}"
    for reason in dict.fromkeys(left[name].problem for name in downloads):
        taken = ", ".join(name for name in downloads if left[name].problem == reason)
        note(f"{reason} The authors' archives are used instead: {taken}.")
    return downloads, problems | lacking


def find_lists(
    reasons: Mapping[str, str], data: Path, folder: Path | None
) -> tuple[dict[str, Path | None], dict[str, str]]:
    """Return the split file for each authors' archive, None if it needs none, and messages about missing ones.

    Args:
        reasons: why the authors' archives are used, by dataset.
    """
    splits: dict[str, Path | None] = {}
    problems, missing = {}, {}
    for name, reason in reasons.items():
        entry = load_catalog()[name]
        place = folders_of(entry, data)[0]
        places = [place, folder, folder / entry.folder] if folder else [place]
        present = next((each / entry.split for each in places if (each / entry.split).is_file()), None)
        if not entry.split:
            splits[name] = None
        elif present is None:
            missing.setdefault(reason, {})[name] = place / entry.split
        elif problem := _list_problem(name, present):
            problems[name] = problem
        else:
            splits[name] = present
    for reason, lists in missing.items():
        remedy = (
            f"{LISTS_AT} links them. Put each there, or all into one folder and add --from FOLDER; then run the same "
            "command again."
        )
        where = f"{reason} The authors' archives can be used once CoOp's lists are there"
        problems |= dict.fromkeys(lists, listed(where, [f"{path} is missing" for path in lists.values()], remedy))
    return splits, problems


def _list_problem(name: str, path: Path) -> str | None:
    """Return why a split file is invalid, e.g. a saved web page, before gigabytes are downloaded for it."""
    entry = load_catalog()[name]
    try:
        listing = READERS[entry.layout](path.parent, path.parent / entry.images, path.name)
        remedy = f"Fetch it again: {LISTS_AT} links it."
        check_listing(listing, path.parent, where=str(path), remedy=remedy, check_files=False)
    except DataError as error:
        return str(error)
    return None


def _ask(entry: CatalogEntry) -> Archive | str:
    """Return the authors' archive at the first address that answers, or why none does."""
    problems = []
    for address, md5 in entry.elsewhere.items():
        try:
            size = size_at(address)
        except SourceError as error:
            problems.append(error.problem)
        else:
            return Archive(name=_file_name(address), size=size, md5=md5, content=md5, address=address)
    return " ".join(problems)


def _file_name(address: str) -> str:
    return PurePosixPath(address).name


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
