"""Faults made on purpose: a disk that takes no more, a superuser whom the modes of files hold for, a process that is
killed. Nothing large is imported, so that a process is soon up."""

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Iterator

CAPABILITY_VERSION_3, DAC_OVERRIDE, DAC_READ_SEARCH = 0x20080522, 1, 2  # linux/capability.h


@contextlib.contextmanager
def full_disk(largest: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: a write fails halfway, as on a full disk, in native code too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def under_modes() -> Iterator[None]:
    """The modes of files hold for this thread and those it starts, as they elsewhere do not for the superuser."""
    if os.geteuid() != 0 or sys.platform != "linux":
        yield
        return
    before = _capabilities()
    changed = _Capabilities.from_buffer_copy(before)
    changed.effective &= ~(1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH)
    _call("capset", changed)
    try:
        yield
    finally:
        _call("capset", before)  # they are still permitted


class _Capabilities(ctypes.Structure):
    """Of the calling thread, the first 32 of them; what follows are the others."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]
    _fields_ += [("others", ctypes.c_uint32 * 3)]


def _capabilities() -> _Capabilities:
    found = _Capabilities()
    _call("capget", found)
    return found


def _call(name: str, capabilities: _Capabilities) -> None:
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)  # 0: the calling thread
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[name](header, ctypes.byref(capabilities)):
        raise OSError(ctypes.get_errno(), name)
