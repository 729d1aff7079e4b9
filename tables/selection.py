"""Select the stored records that a command shows, and order them."""

import argparse
from collections.abc import Callable, Sequence

from benchmark.common.config import Suite, load_suite
from benchmark.errors import ConfigError, did_you_mean
from benchmark.records.record import RunRecord
from tables.aggregate import TRANSFERS

MOST_PROBLEMS = 5  # that are listed; an older version may have left hundreds of unreadable files


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --methods, --datasets and --source."""
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="show only these methods")
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help="show only these datasets, in this order; "
                        "transfer tables show all")  # fmt: skip
    parser.add_argument("--source", metavar="NAME", help="in transfer tables, show only runs trained on this dataset")


def select(records: list[RunRecord], options: argparse.Namespace, suite: Suite | None) -> list[RunRecord]:
    """The records that the options select, in the order of --datasets or of the suite.

    Raises:
        ConfigError: no record has a given name.
    """
    records = _keep(records, "methods", options.methods, lambda record: record.spec.method)
    records = _keep(records, "datasets", options.datasets, _row)
    records = _keep(records, "source", options.source and [options.source], _source)
    place = {name: i for i, name in enumerate(options.datasets or (suite.datasets if suite else ()))}
    return sorted(records, key=lambda r: (place.get(r.spec.dataset, len(place)), r.spec.dataset, r.spec.seed))


def shorten(problems: Sequence[str]) -> list[str]:
    """The first few of the problems, and the number of the others."""
    more = len(problems) - MOST_PROBLEMS
    return [*problems[:MOST_PROBLEMS], *([f"and {more} more files, for similar reasons."] if more > 0 else [])]


def suite_of(records: Sequence[RunRecord]) -> Suite | None:
    """The suite of the records; None for a suite file of a user, whose path records do not hold."""
    try:
        return load_suite(records[0].spec.suite)
    except ConfigError:
        return None


def _keep(
    records: list[RunRecord], option: str, names: list[str] | None, name_of: Callable[[RunRecord], str | None]
) -> list[RunRecord]:
    """The records with one of these names, and those without a name; all records if `names` is None."""
    if names is None:
        return records
    found = {name for record in records if (name := name_of(record)) is not None}
    for name in names:
        if name not in found:
            raise ConfigError(f"--{option} {name}: there is no record of it. {did_you_mean(name, found)}")
    return [record for record in records if name_of(record) in (None, *names)]


def _row(record: RunRecord) -> str | None:
    return None if record.spec.protocol in TRANSFERS else record.spec.dataset


def _source(record: RunRecord) -> str | None:
    return record.spec.dataset if record.spec.protocol in TRANSFERS else None
