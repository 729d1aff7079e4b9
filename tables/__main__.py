"""Render tables again from stored records, without torch: python -m tables --from results/synthetic"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmark.config import Suite, load_suite
from benchmark.errors import BenchmarkError, ConfigError, RecordError, did_you_mean
from benchmark.records import RunRecord, collect
from tables.aggregate import TRANSFERS, dataset_titles
from tables.table import Extras
from tables.writers import COMMANDS, FORMATS, GRIDS, write


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tables", description=__doc__)
    add = parser.add_argument
    add("--from", dest="folder", type=Path, required=True, metavar="FOLDER", help="records of a suite or of one of its "
        "protocols, e.g. results/synthetic or results/synthetic/base2new")  # fmt: skip
    add("--format", nargs="+", choices=tuple(FORMATS), default=list(FORMATS), metavar="NAME",
        help="markdown, latex (default: both)")  # fmt: skip
    add("--out", type=Path, metavar="FOLDER", help="where the tables go (default: the suite's folder)")
    add("--methods", nargs="+", metavar="NAME", help="only these")
    add("--datasets", nargs="+", metavar="NAME", help="only these, in this order; transfer tables keep their own")
    add("--source", metavar="NAME", help="of transfer tables, only runs trained on this dataset")
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
    for problem in problems:
        sys.stderr.write(f"left out: {problem}\n")
    if not records:
        protocol = next((name for name in options.folder.resolve().parts[::-1] if name in GRIDS), None)
        command = f"python run_all.py --protocol {protocol}" if protocol else COMMANDS
        raise RecordError(f"{options.folder}: holds no record. Run: {command}")
    records = chosen(records, "methods", options.methods, lambda record: record.spec.method)
    records = chosen(records, "datasets", options.datasets, _row)
    records = chosen(records, "source", options.source and [options.source], _source)
    suite = _suite(records[0].spec.suite)
    return write(
        sorted(records, key=_order(options.datasets or (suite.datasets if suite else ()))),
        options.out or _suite_folder(options.folder),
        formats=options.format,
        std=options.std,
        published=suite.published if options.published is None and suite else bool(options.published),
        note=suite.note if suite else "",
        titles=dataset_titles(),
        extras=Extras(per_seed=options.per_seed, interval=options.interval, baseline=options.baseline),
    )


def chosen(
    records: list[RunRecord], option: str, names: list[str] | None, name_of: Callable[[RunRecord], str | None]
) -> list[RunRecord]:
    """The records that have one of these names, and those that have none; all of them if nothing is asked."""
    if names is None:
        return records
    there = {name for record in records if (name := name_of(record)) is not None}
    for name in names:
        if name not in there:
            raise ConfigError(f"--{option} {name}: no record has it. {did_you_mean(name, there)}")
    return [record for record in records if name_of(record) in (None, *names)]


def _row(record: RunRecord) -> str | None:
    return None if record.spec.protocol in TRANSFERS else record.spec.dataset


def _source(record: RunRecord) -> str | None:
    return record.spec.dataset if record.spec.protocol in TRANSFERS else None


def _suite_folder(folder: Path) -> Path:
    """The folder itself, or what holds the protocol's folder that it lies in."""
    for part in (folder, *folder.parents):
        if part.name in GRIDS:
            return part.parent
    return folder


def _suite(name: str) -> Suite | None:
    """The suite that records name; a user's own file is not known here, and then nothing is added."""
    try:
        return load_suite(name)
    except ConfigError:
        return None


def _order(datasets):
    place = {name: i for i, name in enumerate(datasets)}
    return lambda record: (place.get(record.spec.dataset, len(place)), record.spec.dataset, record.spec.seed)


if __name__ == "__main__":
    sys.exit(main())
