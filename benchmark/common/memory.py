"""Find how much memory this process may use: that of the machine, or a lower limit of its control groups."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil

GROUPS = Path("/proc/self/cgroup")
UNIFIED, OLDER = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")  # version 2 and version 1


def total_memory() -> int:
    """Bytes that all processes here may use together; Slurm and containers limit a control group."""
    return min([psutil.virtual_memory().total, *_group_limits()])


def with_swap() -> int:
    """Bytes that no process here can exceed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of psutil, where a container hides how much was swapped
        return total_memory() + psutil.swap_memory().total


def _group_limits() -> Iterator[int]:
    """Yield the limits of the control group of this process and of those around it."""
    for line in _text(GROUPS).splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, file = (OLDER, "memory.limit_in_bytes") if controllers else (UNIFIED, "memory.max")
        folder = root / name.strip("/")
        for group in (folder, *folder.parents):
            if group.is_relative_to(root) and (text := _text(group / file)).isdigit():
                yield int(text)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
