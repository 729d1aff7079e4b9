"""Faults made on purpose: a disk that takes no more, and a process that may not write where it wants."""

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2  # linux/prctl.h, linux/capability.h


@contextlib.contextmanager
def full_disk(largest: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: a write fails halfway, as on a full disk, in native code too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def under_modes(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """run_all.py in a process that the modes of files hold for, which they do not for the superuser elsewhere."""
    command = [sys.executable, str(ROOT / "run_all.py"), *map(str, arguments)]
    options = {"env": os.environ | environment, "capture_output": True, "text": True, "timeout": 300}
    return subprocess.run(command, preexec_fn=_give_up_privileges, **options)


def _give_up_privileges() -> None:
    if os.geteuid() == 0 and sys.platform == "linux":
        for capability in CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH:
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # in force from the coming exec on
