"""Which of the stored records a command shows: the options that say so, and the order of what is left."""

import argparse
from collections.abc import Callable, Sequence

from benchmark.common.config import Suite, load_suite
from benchmark.errors import ConfigError, did_you_mean
from benchmark.records.record import RunRecord
from tables.aggregate import TRANSFERS

SHOWN = 5


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--methods`, `--datasets` and `--source`."""
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help="only these, in this order; transfer tables keep "
                        "their own")  # fmt: skip
    parser.add_argument("--source", metavar="NAME", help="of transfer tables, only runs trained on this dataset")


def select(records: list[RunRecord], options: argparse.Namespace, suite: Suite | None) -> list[RunRecord]:
    """The records that the options name, in the order of the datasets named or of the suite's.

    Raises:
        ConfigError: a name that no record has.
    """
    records = _having(records, "methods", options.methods, lambda record: record.spec.method)
    records = _having(records, "datasets", options.datasets, _row)
    records = _having(records, "source", options.source and [options.source], _source)
    place = {name: i for i, name in enumerate(options.datasets or (suite.datasets if suite else ()))}
    return sorted(records, key=lambda r: (place.get(r.spec.dataset, len(place)), r.spec.dataset, r.spec.seed))


def first_of(problems: Sequence[str]) -> list[str]:
    """What is wrong with files that are no records, the first few of many: an older version's may be hundreds."""
    more = len(problems) - SHOWN
    return [*problems[:SHOWN], *([f"and {more} more files, for reasons like these."] if more > 0 else [])]


def suite_of(records: Sequence[RunRecord]) -> Suite | None:
    """The suite that records name; a user's own file is not known here, and then nothing is added."""
    try:
        return load_suite(records[0].spec.suite)
    except ConfigError:
        return None


def _having(
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
