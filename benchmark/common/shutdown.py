"""A request to end, by SIGTERM: what is under way is brought to a point from which it goes on later, then all ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CODE = 128 + 15  # as a shell reports a process that SIGTERM ended

_asked = threading.Event()


class Terminated(BaseException):
    """Work ended on request. No Exception: nothing that deals with failures takes it for one."""


def asked() -> bool:
    """Whether somebody asked this process to end."""
    return _asked.is_set()


def check() -> None:
    """End here if somebody asked for it; called where nothing is half done.

    Raises:
        Terminated: somebody did.
    """
    if _asked.is_set():
        raise Terminated


@contextmanager
def on_sigterm() -> Iterator[None]:
    """Take SIGTERM as a request for a while, instead of dying of it; only the main thread of a process can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    before = signal.signal(signal.SIGTERM, lambda *_: _asked.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _asked.clear()
