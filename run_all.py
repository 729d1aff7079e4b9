"""Run the benchmark: `python run_all.py --protocol base2new`; everything else has a default."""

import sys
from collections.abc import Sequence
from pathlib import Path

if (folder := str(Path(__file__).resolve().parent)) not in sys.path:  # python -P and PYTHONSAFEPATH leave it out
    sys.path.insert(0, folder)

from benchmark.cli.main import run_command
from benchmark.cli.parser import parse
from benchmark.common.command import in_utf8


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan, run what is missing, write tables. Returns the exit code: 0, 1 if a run failed, 2 if nothing started."""
    return run_command(parse(arguments))


if __name__ == "__main__":
    in_utf8()
    sys.exit(main())
