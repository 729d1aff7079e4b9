"""Which archive a dataset can be had from: one that holds all of it, or else its authors' own with CoOp's list beside.

The authors' archives are the catalogue's fall-backs: for where the hub's repository is gone, or lacks a dataset. Their
pictures come without CoOp's lists, so a list must be there before anything is fetched.
"""

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from huggingface_hub import constants

from benchmark.common.provenance import digest_of
from benchmark.data.catalog import CatalogEntry, check_listing, folders_of, load_catalog
from benchmark.data.download.hub import REPOSITORY, SUFFIX, Source, list_folder, list_hub
from benchmark.data.download.transfer import Archive, Say, SourceError, size_at
from benchmark.data.layouts import READERS
from benchmark.errors import DataError, listed

AUTHORS = Source(name="the datasets' authors, as a fall-back", revision=None, archives=())
LISTS_AT = "CoOp's DATASETS.md (https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md)"
ASKED_AT_ONCE = 8  # servers: one that is dead keeps the others from nothing


@dataclass(frozen=True, kw_only=True)
class Offer:
    """An archive, where it is from, and the split file to lay beside its pictures if it brings none of its own."""

    archive: Archive
    source: Source
    split: Path | None = None


def find_offers(
    names: Iterable[str], data: Path, *, folder: Path | None, say: Say
) -> tuple[dict[str, Offer], dict[str, str]]:
    """The offer for each dataset, and for those that have none, why, in words.

    Args:
        data: the data folder, in which lists may lie already.
        folder: with archives, lists or both, asked instead of the hub.
        say: is told why it waits, and what is taken instead of what.
    Raises:
        DataError: the folder cannot be listed, or offline mode is on and nothing is cached.
    """
    try:
        source = list_folder(folder) if folder else list_hub(REPOSITORY, say=say)
    except SourceError as error:
        offers, problems, reasons = {}, {}, dict.fromkeys(names, error)
    else:
        offers, problems, reasons = match(names, source)
        theirs = {name: offer for name, offer in offers.items() if offer.archive.md5}
        held = {name: f"{source.name} holds {offer.archive.name}." for name, offer in theirs.items()}
        splits, lacking = find_lists(held, data, folder)
        offers |= {name: replace(theirs[name], split=splits[name]) for name in splits}
        problems |= lacking
    others, more = fall_back(reasons, data, folder=folder, say=say)
    found, problems = offers | others, problems | more
    return {name: found[name] for name in names if name in found and name not in problems}, problems


def match(names: Iterable[str], source: Source) -> tuple[dict[str, Offer], dict[str, str], dict[str, SourceError]]:
    """The archive of each dataset in a source; why none of several is taken; and what else is there where none is.

    An archive is a dataset's if it is called as its folder, its name or an alias of the catalogue, whatever the case,
    dashes and underscores. In a folder its authors' own is taken too, which the offer's MD5 tells.
    """
    found, several, lacking = {}, {}, {}
    held = ", ".join(archive.name for archive in source.archives) or "none"
    for name in names:
        entry = load_catalog()[name]
        wanted = {_plain(known) for known in (name, entry.folder, *entry.aliases)}
        theirs = [each for archive in source.archives if (each := _as_theirs(archive, entry, source))]
        fitting = [
            archive
            for archive in source.archives
            if archive.name.lower().endswith(SUFFIX)
            and _plain(archive.name[: -len(SUFFIX)]) in wanted
            and archive.path not in [each.path for each in theirs]
        ]
        if len(fitting) > 1:
            shown = ", ".join(archive.inside or archive.name for archive in fitting)
            several[name] = f"{source.name} holds several archives of it: {shown}. Keep one, and give --from."
        elif fitting or theirs:
            found[name] = Offer(archive=(fitting or theirs)[0], source=source)
        else:
            remedy = "Lay it out by hand (docs/data.md), or give --from FOLDER."
            lacking[name] = SourceError(f"{source.name} holds no archive of it. It holds {held}.", remedy)
    return found, several, lacking


def _as_theirs(archive: Archive, entry: CatalogEntry, source: Source) -> Archive | None:
    """An archive of a folder with the MD5 of the authors', if it has the name of theirs.

    A zip may be called so and hold all of the dataset, as the hub's are; only one with that MD5 is the authors'.
    """
    for address, md5 in entry.elsewhere.items() if source.revision is None else ():
        if archive.name.lower() == _file_name(address).lower() and (
            not archive.name.lower().endswith(SUFFIX) or digest_of(archive.path, "md5") == md5
        ):
            return replace(archive, md5=md5)
    return None


def fall_back(
    reasons: Mapping[str, SourceError], data: Path, *, folder: Path | None, say: Say
) -> tuple[dict[str, Offer], dict[str, str]]:
    """Offers of the authors' own archives, and why there are none, in words.

    Args:
        reasons: why nothing else is to be had, by dataset.
        say: is told that they are taken instead.
    """
    catalog = load_catalog()
    offline = constants.is_offline_mode()
    why = (
        "Offline mode (HF_HUB_OFFLINE) is on, so no other source is asked." if offline else "No other source is known."
    )
    problems = {name: f"{reason} {why}" for name, reason in reasons.items() if offline or not catalog[name].elsewhere}
    left = {name: reason for name, reason in reasons.items() if name not in problems}
    splits, lacking = find_lists({name: str(reason) for name, reason in left.items()}, data, folder)
    offers: dict[str, Offer] = {}
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        answers = pool.map(lambda name: _ask(catalog[name], say), splits)
        for name, answer in zip(splits, answers, strict=True):
            if isinstance(answer, Archive):
                offers[name] = Offer(archive=answer, source=AUTHORS, split=splits[name])
            else:
                problems[name] = f"{left[name]} Nor can its authors' archive be had: {answer}"
    for reason in dict.fromkeys(left[name].problem for name in offers):
        taken = ", ".join(name for name in offers if left[name].problem == reason)
        say(f"{reason} The authors' archives are taken instead: {taken}.")
    return offers, problems | lacking


def find_lists(
    reasons: Mapping[str, str], data: Path, folder: Path | None
) -> tuple[dict[str, Path | None], dict[str, str]]:
    """The split file that each authors' archive needs, None where it needs none; and what to do where one is missing.

    Args:
        reasons: why the authors' archives are looked at, by dataset.
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
            f"{LISTS_AT} links them. Put each there, or all into one folder and add --from FOLDER; then give the same "
            "command again."
        )
        where = f"{reason} The authors' archives can be taken once CoOp's lists are there"
        problems |= dict.fromkeys(lists, listed(where, [f"{path} is missing" for path in lists.values()], remedy))
    return splits, problems


def _list_problem(name: str, path: Path) -> str | None:
    """Why a split file is none, found before gigabytes are fetched for it: a saved web page, say."""
    entry = load_catalog()[name]
    try:
        listing = READERS[entry.layout](path.parent, path.parent / entry.images, path.name)
        remedy = f"Fetch it again: {LISTS_AT} links it."
        check_listing(listing, path.parent, where=str(path), remedy=remedy, check_files=False)
    except DataError as error:
        return str(error)
    return None


def _ask(entry: CatalogEntry, say: Say) -> Archive | str:
    """The authors' archive at the first address that answers, or why none does."""
    problems = []
    for address, md5 in entry.elsewhere.items():
        try:
            size = size_at(address, say=say)
        except SourceError as error:
            problems.append(error.problem)
        else:
            return Archive(name=_file_name(address), size=size, md5=md5, content=md5, address=address)
    return " ".join(problems)


def _file_name(address: str) -> str:
    return PurePosixPath(address).name


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
