"""Download datasets: print what is there, what is to download and whether it fits, then download it."""

import argparse
import contextlib
import shutil
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.cli.arguments import split_names
from benchmark.data.catalog import load_catalog
from benchmark.data.download import imagenet
from benchmark.data.download.archives import ArchiveError
from benchmark.data.download.install import (
    ALL,
    IMAGENET,
    WORK,
    choose,
    install,
    is_absent,
    need,
    read_record,
    why_incomplete,
    write_record,
)
from benchmark.data.download.sources import AUTHORS, Download, fall_back, find_downloads
from benchmark.data.download.transfer import Archive, SourceError, fetch, size_of
from benchmark.errors import BenchmarkError, ConfigError, DataError, listed


def run(options: argparse.Namespace) -> int:
    """Download the named datasets; returns 0 if all are there now, 1 if some are missing, 2 if all are."""
    check_options(options)
    names = choose(split_names(options.download))
    data = options.data
    failed: dict[str, str] = {}
    with contextlib.nullcontext() if options.plan else _alone(data):
        read_record(data)  # refused before anything is fetched, not after
        wanted = []
        for name in names:
            if name == IMAGENET:
                prepare_imagenet(options, data, failed)
            elif is_absent(name, data):
                wanted.append(name)
            elif problem := why_incomplete(name, data):
                place = data / load_catalog()[name].folder
                _fail([name], f"{problem} Complete it, or move {place} away and it is fetched whole.", failed)
            else:
                print(f"{name}: is there, in {data / load_catalog()[name].folder}.")
        if wanted:
            fetch_all(wanted, options, data, failed)
    if ALL in split_names(options.download) and why_incomplete(IMAGENET, data):
        print(imagenet.instructions(data))
    return 0 if not failed else 2 if len(failed) == len(names) else 1


def check_options(options: argparse.Namespace) -> None:
    """Refuse options that do not fit together.

    Raises:
        ConfigError: all that is wrong, in one message.
    """
    problems = []
    if options.data is None:
        problems.append("--data FOLDER is needed: the folder of the datasets")
    elif options.data.exists() and not options.data.is_dir():
        problems.append(f"--data {options.data} is not a folder")
    if (options.imagenet or options.classnames) and IMAGENET not in split_names(options.download):
        problems.append("--imagenet and --classnames belong to `download imagenet`")
    if problems:
        raise ConfigError(listed("download", problems))


def prepare_imagenet(options: argparse.Namespace, data: Path, failed: dict[str, str]) -> None:
    """Link the user's tree and write class names on request; print how to get ImageNet if it is missing."""
    try:
        for line in imagenet.link(options.imagenet, data) if options.imagenet and not options.plan else ():
            print(f"{IMAGENET}: {line}")
        if options.classnames and not options.plan:
            print(f"{IMAGENET}: class names are those of {imagenet.write_class_names(data)}.")
    except BenchmarkError as error:
        _fail([IMAGENET], str(error), failed)
        return
    if is_absent(IMAGENET, data):
        if not options.plan:
            failed[IMAGENET] = "is not there"
        print(imagenet.instructions(data))
    elif problem := why_incomplete(IMAGENET, data):
        _fail([IMAGENET], f"{problem}\n{imagenet.instructions(data)}", failed)
    else:
        print(f"{IMAGENET}: is there, in {data / load_catalog()[IMAGENET].folder}.")


def fetch_all(names: list[str], options: argparse.Namespace, data: Path, failed: dict[str, str]) -> None:
    """Find, print and download the archives of missing datasets; the others go on if one fails.

    Raises:
        DataError: nothing can be listed, or it does not fit on the disk.
    """
    offers, problems = find_downloads(names, data, folder=options.archives)
    for problem in dict.fromkeys(problems.values()):
        _fail([name for name in problems if problems[name] == problem], problem, failed)
    if not offers:
        return
    _show(offers, data)
    if options.plan:
        return
    for number, (name, offer) in enumerate(offers.items(), start=1):
        print(f"[{number}/{len(offers)}] {name}: {offer.archive.name} ...", flush=True)  # a log file shows no bar
        try:
            _put_or_fall_back(name, offer, data, options.archives)
        except BenchmarkError as error:
            _fail([name], str(error), failed)
        else:
            print(f"[{number}/{len(offers)}] {name}: is in {data / load_catalog()[name].folder}.", flush=True)


def _put_or_fall_back(name: str, offer: Download, data: Path, folder: Path | None) -> None:
    """Install one dataset, from its authors' archive if that of the hub is missing or damaged."""
    try:
        _put(name, offer, data)
    except (SourceError, ArchiveError) as error:
        of_hub = offer.source.revision is not None  # neither a user's folder nor the authors
        if not of_hub or size_of(offer.archive.partial(data / WORK)):  # what came already is gone on from
            raise
        reason = error if isinstance(error, SourceError) else SourceError(str(error))
        others, problems = fall_back({name: reason}, data, folder=folder)
        if problems:
            raise DataError(problems[name]) from error
        _show(others, data)
        _put(name, others[name], data)


def _put(name: str, offer: Download, data: Path) -> None:
    """Download and install one dataset."""
    file = fetch(offer.archive, data / WORK)
    try:
        install(name, file, data, split=offer.split)
        write_record(name, offer, file, data=data)
    except ArchiveError:
        _throw_away(file, offer.archive)
        raise
    _throw_away(file, offer.archive)


def _throw_away(file: Path, archive: Archive) -> None:
    """Delete a downloaded archive; one that was there before belongs to the user."""
    if file != archive.path:
        shutil.rmtree(file.parent)


def _show(offers: dict[str, Download], data: Path) -> None:
    """Print names, sources and sizes; refuse what does not fit on the disk."""
    width = max(map(len, offers))
    for source in dict.fromkeys(offer.source for offer in offers.values()):
        at = f", revision {source.revision[:12]}" if source.revision else ""
        print(f"From {source.name}{at}:")
        for name, archive in ((name, offer.archive) for name, offer in offers.items() if offer.source == source):
            what = archive.address if source is AUTHORS else archive.name
            print(f"  {name:<{width}}  {_size(archive.size):>10}  {what}{' (here)' if archive.path else ''}")
    there = next(folder for folder in (data, *data.absolute().parents) if folder.is_dir())
    fetched, peak = need((offer.archive for offer in offers.values()), data / WORK)
    free = shutil.disk_usage(there).free
    print(
        f"{_size(fetched)} to fetch; with what is unpacked about {_size(peak)} of the disk, of which "
        f"{_size(free)} are free.",
        flush=True,
    )
    if peak > free:
        raise DataError(
            f"{data}: about {_size(peak)} are needed and {_size(free)} are free; nothing was fetched. "
            "Name fewer datasets, or give --data on another disk."
        )


def _alone(data: Path) -> contextlib.AbstractContextManager:
    """Lock the data folder, since two downloads into one folder would disturb each other."""
    try:
        (data / WORK).mkdir(parents=True, exist_ok=True)
        return FileLock(data / WORK / "lock").acquire(timeout=0)
    except Timeout as error:
        raise DataError(f"{data}: another download into it is running. Wait for it, or stop it.") from error
    except OSError as error:
        raise DataError(f"{data}: cannot be written ({error.strerror}). Give another with --data.") from error


def _fail(names: list[str], problem: str, failed: dict[str, str]) -> None:
    failed |= dict.fromkeys(names, problem)
    where = "" if problem.startswith(names[0]) else f"{', '.join(names)}: "
    print(f"error: {where}{problem}", file=sys.stderr, flush=True)


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
