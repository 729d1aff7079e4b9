"""Show the progress of a grid: bars on a terminal, else one line per run."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tqdm import tqdm


class Progress:
    """A bar for the grid with its remaining time and, below it, one for each current run.

    Args:
        total: runs in the grid.
        stream: where it is shown; bars on a terminal, else a line for each finished run.
        name: name of this process if several share the grid and the terminal; then only lines.
        on_record: called with the path of each record that was written.
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
        """Show one run of this process."""
        self.start(label, epochs)
        try:
            yield
        finally:
            self.end()

    def start(self, label: str, epochs: int, *, slot: int = 0) -> None:
        """Start the bar of a run in the process of this slot; `epochs` is its length."""
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
        """Close the bar of this slot."""
        self._runs.pop(slot).close()

    def line(self, text: str, record: Path | None = None) -> None:
        """Print the line of a finished run, above the bars or numbered in a log, and report its record."""
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
        """Print a line above the bars."""
        tqdm.write(text, file=self._stream)

    def close(self) -> None:
        """Leave the terminal clean."""
        for bar in [*self._runs.values(), self._grid]:
            bar.close()
