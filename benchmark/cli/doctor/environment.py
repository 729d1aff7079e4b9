"""Collect what a run finds on this machine: device, memory, disks, caches and versions; nothing is changed."""

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from packaging.version import Version

from benchmark.common.files import REPOSITORY
from benchmark.errors import ConfigError
from benchmark.features.cache import cache_folder, cache_limit

REQUIREMENTS = REPOSITORY / "requirements.txt"
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # a container's
LITTLE_SPACE = 1_000_000_000  # free bytes, below which there is a note


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where runs compute; the memory is that of a GPU, None for other devices."""

    device: str
    name: str | None
    precision: str
    processes: int
    threads: int
    total_bytes: int | None = None
    free_bytes: int | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of this machine, or of the container around this process."""

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The disk of a folder that exists or would be created."""

    what: str
    folder: str
    exists: bool
    writable: bool
    free_bytes: int
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A cache with its size and its limit; None where nothing is ever deleted."""

    what: str
    folder: str
    size_bytes: int
    limit_bytes: int | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Package:
    """The installed and the tested version of a package, with a note if it is missing or too old."""

    name: str
    installed: str | None
    tested: str | None
    note: str | None = None


def look_at_device(device: str, *, precision: str, processes: int, threads: int) -> Device:
    """Name and free memory of a device that choose_device returned."""
    how = {"device": device, "precision": precision, "processes": processes, "threads": threads}
    if not device.startswith("cuda"):
        return Device(**how, name=None)
    try:
        free, total = torch.cuda.mem_get_info(torch.device(device))
        return Device(**how, name=torch.cuda.get_device_name(device), total_bytes=total, free_bytes=free)
    except RuntimeError as error:  # used exclusively by another process, or a number too high
        return Device(**how, name=None, problem=f"{device} cannot be used: {str(error).splitlines()[0]}")


def look_at_memory() -> Memory:
    """Total and free memory; a lower limit of a container counts."""
    memory = psutil.virtual_memory()
    limits = [int(text) for path in CGROUP_LIMITS if (text := _text(path)).isdigit()]
    total = min([memory.total, *limits])
    return Memory(total_bytes=total, available_bytes=min(memory.available, total))


def look_at_disk(what: str, folder: Path) -> Disk:
    """Free space and write permission of a folder, or of the place where it would be created."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    free = shutil.disk_usage(there).free
    note = f"less than {LITTLE_SPACE / 1e9:.0f} GB is free" if free < LITTLE_SPACE else None
    return Disk(
        what=what, folder=str(folder), exists=there == folder.absolute(), writable=writable, free_bytes=free, note=note
    )


def hub_cache() -> Path:
    """Folder of the downloads from the Hugging Face hub."""
    return Path(HF_HUB_CACHE)


def look_at_caches() -> tuple[Cache, ...]:
    """Caches of image features, of generated images and of downloads from the hub."""
    features, problem, limit = cache_folder() / "features", None, None
    try:
        limit = cache_limit()
    except ConfigError as error:
        problem = str(error)
    everything = _size(cache_folder())
    kept = _size(features)
    return (
        Cache(what="image features", folder=str(features), size_bytes=kept, limit_bytes=limit, problem=problem),
        Cache(what="all else in the cache", folder=str(cache_folder()), size_bytes=everything - kept),
        Cache(what="Hugging Face hub", folder=str(hub_cache()), size_bytes=_size(hub_cache())),
    )


def look_at_versions(requirements: Path = REQUIREMENTS) -> tuple[Package, ...]:
    """Python and the packages of requirements.txt, compared with the lowest versions that its first lines name."""
    text = requirements.read_text(encoding="utf-8")
    least = dict(re.findall(r"([\w-]+) >= ([\d.]+\d)", text))
    lowest, highest = re.search(r"Python ([\d.]+\d) to ([\d.]+\d)", text).groups()
    version = platform.python_version()
    note = None
    if Version(version) < Version(lowest) or Version(version).release[:2] > Version(highest).release:
        note = f"{lowest} to {highest} are known to work"
    found = [Package(name="python", installed=version, tested=None, note=note)]
    for name, tested in re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE):
        found.append(_package(name, tested, least.get(name)))
    return tuple(found)


def _package(name: str, tested: str, least: str | None) -> Package:
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        note = "not installed: pip install -r requirements.txt"
        return Package(name=name, installed=None, tested=tested, note=note)
    old = least is not None and Version(installed) < Version(least)
    note = f"too old, {least} is the lowest known to work: pip install -r requirements.txt" if old else None
    return Package(name=name, installed=installed, tested=tested, note=note)


def _size(folder: Path) -> int:
    """Bytes of all files in a folder, without links."""
    return sum(entry.stat(follow_symlinks=False).st_size for entry in _files(folder))


def _files(folder: str | Path) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            inside = list(entries)
    except OSError:  # missing, unreadable, or deleted meanwhile
        return
    for entry in inside:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
        elif entry.is_file(follow_symlinks=False):
            yield entry


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""
