"""Render tables again from stored records, without torch: python -m tables --from results/synthetic/base2new"""

import argparse
import sys
from pathlib import Path

from benchmark.config import Suite, load_suite, read_yaml
from benchmark.errors import BenchmarkError, ConfigError, RecordError, did_you_mean
from benchmark.records import RunRecord, collect
from tables import base2new

WRITERS = {"base2new": base2new.write}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tables", description=__doc__)
    add = parser.add_argument
    add("--from", dest="folder", type=Path, required=True, metavar="FOLDER", help="records of one protocol, e.g. "
        "results/synthetic/base2new")  # fmt: skip
    add("--format", nargs="+", choices=tuple(base2new.FORMATS), default=list(base2new.FORMATS), metavar="NAME",
        help="markdown, latex (default: both)")  # fmt: skip
    add("--out", type=Path, metavar="FOLDER", help="where the tables go (default: beside FOLDER)")
    add("--methods", nargs="+", metavar="NAME", help="only these")
    add("--datasets", nargs="+", metavar="NAME", help="only these, in this order")
    add("--std", action="store_true", help="with the standard deviation over seeds")
    add(
        "--published",
        action=argparse.BooleanOptionalAction,
        help="published values beside (default: as the suite says)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Read, check, render; prints the Markdown. Exit code 0, or 2 with one message."""
    options = parse(arguments)
    try:
        records, problems = collect(options.folder)
        for problem in problems:
            sys.stderr.write(f"left out: {problem}\n")
        records = chosen(records, "method", options.methods)
        records = chosen(records, "dataset", options.datasets)
        if not records:
            raise RecordError(f"{options.folder}: holds no record. Run: python run_all.py --protocol base2new")
        protocol = records[0].spec.protocol
        if protocol not in WRITERS:
            raise ConfigError(
                f"{options.folder}: there is no table for protocol '{protocol}'. Known: {', '.join(WRITERS)}."
            )
        suite = _suite(records[0].spec.suite)
        paths = WRITERS[protocol](
            sorted(records, key=_order(options.datasets or (suite.datasets if suite else ()))),
            options.out or options.folder.parent,
            formats=options.format,
            std=options.std,
            published=suite.published if options.published is None and suite else bool(options.published),
            note=suite.note if suite else "",
            titles=dataset_titles(),
        )
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for path in paths:
        if path.suffix == ".md":
            sys.stdout.write(path.read_text() + "\n")
    sys.stdout.write("Written: " + ", ".join(map(str, paths)) + "\n")
    return 0


def chosen(records: list[RunRecord], field: str, names: list[str] | None) -> list[RunRecord]:
    """The records whose spec names one of these; all of them without names."""
    if names is None:
        return records
    there = {getattr(record.spec, field) for record in records}
    for name in names:
        if name not in there:
            raise ConfigError(f"--{field}s {name}: no record has it. {did_you_mean(name, there)}")
    return [record for record in records if getattr(record.spec, field) in names]


def dataset_titles() -> dict[str, str]:
    """Dataset to the name of its row, from both catalogues."""
    data = Path(__file__).resolve().parents[1] / "benchmark" / "data"
    catalogues = (data / "catalog.yaml", data / "synthetic" / "catalog.yaml")
    return {name: entry["title"] for path in catalogues for name, entry in read_yaml(path).items()}


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
