"""Handle SIGTERM: work continues to a point from which it can be resumed, then the process ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CODE = 128 + 15  # of a process ended by SIGTERM, as shells report it

_requested = threading.Event()


class Terminated(BaseException):
    """Work ended on request. Not an Exception, so that code that handles failures does not catch it."""


def requested() -> bool:
    """Whether this process received SIGTERM."""
    return _requested.is_set()


def check() -> None:
    """Raise Terminated if the process received SIGTERM; called at points from which work can be resumed."""
    if _requested.is_set():
        raise Terminated


@contextmanager
def on_sigterm() -> Iterator[None]:
    """Treat SIGTERM as a request within this context; without effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _requested.clear()
    before = signal.signal(signal.SIGTERM, lambda *_: _requested.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _requested.clear()
