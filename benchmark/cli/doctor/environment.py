"""Collect what a run finds on this machine: device, memory, disks, caches and versions; nothing is changed."""

import importlib.metadata
import os
import platform
import re
import shutil
from pathlib import Path

import psutil
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from packaging.version import Version

from benchmark.common.files import REPOSITORY, cache_folder
from benchmark.common.memory import total_memory
from benchmark.errors import ConfigError
from benchmark.features.cache import cache_limit

REQUIREMENTS = REPOSITORY / "requirements.txt"
LITTLE_SPACE = 1_000_000_000  # free bytes, below which there is a note

Row = dict[str, object]  # of a list in the JSON of the doctor, docs/data.md; unknown values are None


def look_at_device(device: str, *, precision: str, processes: int, threads: int) -> Row:
    """Where runs compute; the name and memory are those of a GPU, None for other devices.

    Args:
        device: what choose_device returned.
    """
    row: Row = {"device": device, "name": None, "precision": precision, "processes": processes, "threads": threads}
    row |= dict.fromkeys(("total_bytes", "free_bytes", "problem"))
    if device.startswith("cuda"):
        try:
            row["free_bytes"], row["total_bytes"] = torch.cuda.mem_get_info(torch.device(device))
            row["name"] = torch.cuda.get_device_name(device)
        except RuntimeError as error:  # used exclusively by another process, or a number too high
            row["problem"] = f"{device} cannot be used: {str(error).splitlines()[0]}"
    return row


def look_at_memory() -> Row:
    """Total and free memory; a lower limit of a job or container counts."""
    total = total_memory()
    return {"total_bytes": total, "available_bytes": min(psutil.virtual_memory().available, total)}


def look_at_disk(what: str, folder: Path) -> Row:
    """Free space and write permission of a folder, or of the place where it would be created."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    free = shutil.disk_usage(there).free
    return {
        "what": what,
        "folder": str(folder),
        "exists": there == folder.absolute(),
        "writable": there.is_dir() and os.access(there, os.W_OK | os.X_OK),
        "free_bytes": free,
        "note": f"less than {LITTLE_SPACE / 1e9:.0f} GB is free" if free < LITTLE_SPACE else None,
    }


def hub_cache() -> Path:
    """Folder of the downloads from the Hugging Face hub."""
    return Path(HF_HUB_CACHE)


def look_at_caches() -> list[Row]:
    """Caches of image features, of generated images and of the hub; where there is no limit, nothing is deleted."""
    problem, limit = None, None
    try:
        limit = cache_limit()
    except ConfigError as error:
        problem = str(error)
    features = cache_folder() / "features"
    everything, kept = _size(cache_folder()), _size(features)
    rows = (
        ("image features", str(features), kept, limit, problem),
        ("all else in the cache", str(cache_folder()), everything - kept, None, None),
        ("Hugging Face hub", str(hub_cache()), _size(hub_cache()), None, None),
    )
    keys = ("what", "folder", "size_bytes", "limit_bytes", "problem")
    return [dict(zip(keys, row, strict=True)) for row in rows]


def look_at_versions(requirements: Path = REQUIREMENTS) -> list[Row]:
    """Python and the packages of requirements.txt, compared with the lowest versions that its first lines name."""
    text = requirements.read_text(encoding="utf-8")
    least = dict(re.findall(r"([\w-]+) >= ([\d.]+\d)", text))
    lowest, highest = re.search(r"Python ([\d.]+\d) to ([\d.]+\d)", text).groups()
    version = platform.python_version()
    note = None
    if Version(version) < Version(lowest) or Version(version).release[:2] > Version(highest).release:
        note = f"{lowest} to {highest} are known to work"
    rows = [{"name": "python", "installed": version, "tested": None, "note": note}]
    for name, tested in re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE):
        installed, note = _installed(name, least.get(name))
        rows.append({"name": name, "installed": installed, "tested": tested, "note": note})
    return rows


def _installed(name: str, least: str | None) -> tuple[str | None, str | None]:
    """The version of a package and a note, if it is missing or too old."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None, "not installed: pip install -r requirements.txt"
    old = least is not None and Version(version) < Version(least)
    note = f"too old, {least} is the lowest known to work: pip install -r requirements.txt" if old else None
    return version, note


def _size(folder: Path) -> int:
    """Bytes of all files in a folder, without links; files that are unreadable or deleted meanwhile count nothing."""
    paths = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sum(path.lstat().st_size for path in paths if path.is_file() and not path.is_symlink())
