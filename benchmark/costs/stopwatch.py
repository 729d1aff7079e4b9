"""Measure seconds on a device, each kind of work once."""

import time
from collections.abc import Callable
from typing import Any

import torch


class Stopwatch:
    """A clock that waits for a GPU, and remembers what was measured."""

    def __init__(self, device: torch.device):
        self._device = device
        self._known: dict[tuple, Any] = {}

    def now(self) -> float:
        """The time in seconds, after all work given to the device is done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def once(self, key: tuple, measure: Callable[[], Any]) -> Any:
        """The measurement with this key; it is made at the first call."""
        if key not in self._known:
            self._known[key] = measure()
        return self._known[key]
