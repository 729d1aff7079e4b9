"""Render tables again from stored records, without torch: python -m tables --from results/synthetic"""

import argparse
import sys
from pathlib import Path

from benchmark.errors import BenchmarkError, RecordError
from benchmark.records.store import collect
from tables.aggregate import dataset_titles
from tables.protocols.writers import COMMANDS, FORMATS, GRIDS, write
from tables.rendering.table import Extras
from tables.selection import add_options, first_of, select, suite_of


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tables", description=__doc__)
    add = parser.add_argument
    add("--from", dest="folder", type=Path, required=True, metavar="FOLDER", help="records of a suite or of one of its "
        "protocols, e.g. results/synthetic or results/synthetic/base2new")  # fmt: skip
    add("--format", nargs="+", choices=tuple(FORMATS), default=list(FORMATS), metavar="NAME",
        help="markdown, latex (default: both)")  # fmt: skip
    add("--out", type=Path, metavar="FOLDER", help="where the tables go (default: the suite's folder)")
    add_options(parser)
    add("--std", action="store_true", help="with the standard deviation over seeds")
    add(
        "--published",
        action=argparse.BooleanOptionalAction,
        help="published values beside (default: as the suite says)",
    )
    add("--per-seed", action="store_true", help="below, the values of each seed; what stands out is marked")
    add("--interval", action="store_true", help="below, 95 %% intervals of the means, by Student's t")
    add("--baseline", metavar="METHOD", help="below, mean differences to this method, paired by seed, with intervals")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Read, check, render; prints the Markdown. Exit code 0, or 2 with one message."""
    options = parse(arguments)
    try:
        paths = render(options)
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for path in paths:
        if path.suffix == ".md":
            sys.stdout.write(path.read_text() + "\n")
    sys.stdout.write("Written: " + ", ".join(map(str, paths)) + "\n")
    return 0


def render(options: argparse.Namespace) -> list[Path]:
    """The files that were asked for."""
    records, problems = collect(options.folder)
    for problem in first_of(problems):
        sys.stderr.write(f"left out: {problem}\n")
    if not records:
        protocol = next((name for name in options.folder.resolve().parts[::-1] if name in GRIDS), None)
        command = f"python run_all.py --protocol {protocol}" if protocol else COMMANDS
        raise RecordError(f"{options.folder}: holds no record. Run: {command}")
    suite = suite_of(records)
    return write(
        select(records, options, suite),
        options.out or _suite_folder(options.folder),
        formats=options.format,
        std=options.std,
        published=suite.published if options.published is None and suite else bool(options.published),
        note=suite.note if suite else "",
        titles=dataset_titles(),
        extras=Extras(per_seed=options.per_seed, interval=options.interval, baseline=options.baseline),
    )


def _suite_folder(folder: Path) -> Path:
    """The folder itself, or what holds the protocol's folder that it lies in."""
    for part in (folder, *folder.parents):
        if part.name in GRIDS:
            return part.parent
    return folder


if __name__ == "__main__":
    sys.exit(main())
