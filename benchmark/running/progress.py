"""What a person sees while a grid runs: bars on a terminal, one line a run where the output goes elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tqdm import tqdm


class Progress:
    """The grid with its time left and, under it, the runs under way: one, or one for each process.

    Args:
        total: runs in the grid.
        stream: where it is shown; bars if that is a terminal, else a line for each finished run.
        name: of this process where it is one of several that share the grid and the terminal; then lines alone.
        on_record: told of each record that was written.
    """

    def __init__(
        self,
        total: int,
        *,
        stream: TextIO | None = None,
        name: str = "",
        on_record: Callable[[Path], None] = lambda path: None,
    ):
        self._stream, self._name, self._on_record = stream or sys.stderr, name, on_record
        self._bars = self._stream.isatty() and not name
        self._grid = tqdm(total=total, unit="run", desc="grid", file=self._stream, disable=not self._bars)
        self._runs: dict[int, tqdm] = {}
        self._done, self._total = 0, total

    @contextmanager
    def run(self, label: str, epochs: int) -> Iterator[None]:
        """Show one run of this process while it lasts."""
        self.start(label, epochs)
        try:
            yield
        finally:
            self.end()

    def start(self, label: str, epochs: int, *, slot: int = 0) -> None:
        """A run begins, in the process that has this slot; `epochs` is the length of its bar."""
        self._runs[slot] = tqdm(
            total=epochs,
            unit="epoch",
            desc=label,
            file=self._stream,
            disable=not self._bars,
            leave=False,
            position=1 + slot,
        )

    def epoch(self, done: int, *, slot: int = 0) -> None:
        """Move a run's bar to this many epochs."""
        if slot in self._runs:
            self._runs[slot].update(done - self._runs[slot].n)

    def end(self, *, slot: int = 0) -> None:
        """What began in this slot is over, well or not."""
        self._runs.pop(slot).close()

    def line(self, text: str, record: Path | None = None) -> None:
        """One finished run in words, above the bars or numbered in a log, and its record if it left one."""
        self._done += 1
        self._grid.update()
        if self._bars:
            self._grid.write(text, file=self._stream)
        else:
            self._stream.write(f"[{self._name or f'{self._done}/{self._total}'}] {text}\n")
            self._stream.flush()
        if record is not None:
            self._on_record(record)

    def note(self, text: str) -> None:
        """Something that is no run, above the bars."""
        tqdm.write(text, file=self._stream)

    def close(self) -> None:
        """Leave the terminal clean."""
        for bar in [*self._runs.values(), self._grid]:
            bar.close()
