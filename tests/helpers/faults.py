"""Cause faults: a full disk, file modes that hold for the superuser too, a killed process.

It imports nothing large, so that a process that uses it starts quickly.
"""

import contextlib
import ctypes
import os
import resource
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

CAPABILITY_VERSION_3, DAC_OVERRIDE, DAC_READ_SEARCH = 0x20080522, 1, 2  # linux/capability.h


@contextlib.contextmanager
def full_disk(largest: int) -> Iterator[None]:
    """Let no file grow beyond `largest` bytes: a write fails halfway, as on a full disk, in native code too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def under_modes() -> Iterator[None]:
    """Apply file modes to the superuser too, in this thread and those that it starts (Linux)."""
    if os.geteuid() != 0 or sys.platform != "linux":
        yield
        return
    before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 capabilities
    _call("capget", before)
    changed = type(before)(*before)
    changed[0] &= ~(1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH)
    _call("capset", changed)
    try:
        yield
    finally:
        _call("capset", before)  # they are still permitted


def _call(name: str, capabilities: ctypes.Array) -> None:
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)  # 0: the calling thread
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[name](header, capabilities):
        raise OSError(ctypes.get_errno(), name)


def say(mouth: Connection, late: bool) -> None:
    """Send one message after a while, or wait to be killed."""
    if late:
        time.sleep(0.5)
        mouth.send(("line", "finished"))
    else:
        mouth.send(("start", "run", 1))
        time.sleep(60)
