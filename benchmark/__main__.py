"""Run a tool of the benchmark: `python -m benchmark doctor`, `download`, `export`, `new-method`, `plan`, ..."""

import sys
from collections.abc import Sequence

from benchmark.cli.main import run_command
from benchmark.cli.parser import parse_verb, verb_parser
from benchmark.common.command import in_utf8


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one tool, or print the help without one. Returns the exit code."""
    options = parse_verb(arguments)
    if options.verb is None:
        verb_parser().print_help()
        return 0
    return run_command(options)


if __name__ == "__main__":
    in_utf8()
    sys.exit(main())
