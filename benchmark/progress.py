"""What a person sees while a grid runs: two bars on a terminal, one line a run where the output goes elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm


class Progress:
    """The grid with its time left and, under it, the run under way.

    Args:
        total: runs in the grid.
        stream: where it is shown; bars if that is a terminal, else a line for each finished run.
    """

    def __init__(self, total: int, *, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._bars = self._stream.isatty()
        self._grid = tqdm(total=total, unit="run", desc="grid", file=self._stream, disable=not self._bars)
        self._run: tqdm | None = None
        self._done, self._total = 0, total

    @contextmanager
    def run(self, label: str, epochs: int) -> Iterator[None]:
        """Show one run; `epochs` is the length of its bar."""
        self._run = tqdm(
            total=epochs, unit="epoch", desc=label, file=self._stream, disable=not self._bars, leave=False, position=1
        )
        try:
            yield
        finally:
            self._run.close()
            self.advance()

    def advance(self) -> None:
        """One run more is done."""
        self._done += 1
        self._grid.update()

    def epoch(self, done: int) -> None:
        """Move the run's bar to this many epochs."""
        if self._run is not None:
            self._run.update(done - self._run.n)

    def line(self, text: str) -> None:
        """One finished run in words; above the bars, or numbered in a log."""
        if self._bars:
            self._grid.write(text, file=self._stream)
        else:
            self._stream.write(f"[{self._done}/{self._total}] {text}\n")
            self._stream.flush()

    def close(self) -> None:
        """Leave the terminal clean."""
        self._grid.close()
