"""Faults made on purpose: a disk that takes no more, and a user with fewer rights than the superuser."""

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOBODY = 65534


@contextlib.contextmanager
def full_disk(largest: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: a write fails halfway, as on a full disk, in native code too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def as_plain_user(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Run Python code in a process that file modes hold for; the superuser becomes nobody after the imports."""
    drop = f"if os.geteuid() == 0: os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    head = f"import os, sys\nsys.path.insert(0, {str(ROOT)!r})\nimport run_all, benchmark.commands\n{drop}\n"
    command = [sys.executable, "-c", head + code, *map(str, arguments)]
    return subprocess.run(command, cwd="/", env=os.environ | environment, capture_output=True, text=True, timeout=300)
