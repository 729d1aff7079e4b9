"""Keep values in memory up to a number of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable


class BoundedMemory:
    """A thread-safe mapping that drops the least recently used values once they exceed a number of bytes.

    Attributes:
        used: bytes of the values.
    """

    def __init__(self, limit_bytes: int):
        self.limit_bytes, self.used = limit_bytes, 0
        self._values: OrderedDict[object, tuple[object, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._making: dict[object, threading.Lock] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get(self, key: object, make: Callable[[], object], size: Callable[[object], int]) -> object:
        """Return the value of a key, made if it is missing; other threads that ask for it meanwhile wait."""
        with self._lock:
            if key in self._values:
                return self._touch(key)
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._touch(key)
            try:
                value = make()
                with self._lock:
                    self._keep(key, value, size(value))
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def _touch(self, key: object) -> object:
        self._values.move_to_end(key)
        return self._values[key][0]

    def _keep(self, key: object, value: object, size: int) -> None:
        self._values[key] = (value, size)
        self.used += size
        while self.used > self.limit_bytes and len(self._values) > 1:
            self.used -= self._values.popitem(last=False)[1][1]
