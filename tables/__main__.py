"""Render tables from stored records, without torch: python -m tables --from results/synthetic"""

import argparse
import sys
from pathlib import Path

from benchmark.common.command import Parser, answer, in_utf8, made_to_last, path_option
from benchmark.errors import ConfigError, RecordError
from tables.metrics import ACCURACY, METRICS, split_by
from tables.protocols.writers import COMMANDS, FORMATS, GRIDS, write
from tables.publish import read_results
from tables.rendering.options import TableOptions
from tables.selection import add_options, select, shorten, suite_of


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m tables", description=__doc__)
    add = parser.add_argument
    add("--from", dest="folder", type=path_option, required=True, metavar="PATH",
        help="records of a suite or of a protocol, e.g. results/synthetic or results/synthetic/base2new, or a CSV of "
        "python -m tables.publish")  # fmt: skip
    add("--format", nargs="+", choices=tuple(FORMATS), default=list(FORMATS), metavar="NAME",
        help="markdown, latex (default: both)")  # fmt: skip
    add("--out", type=path_option, metavar="FOLDER", help="folder of the tables (default: the folder of the suite; "
        "of a CSV, FILE-tables next to it)")  # fmt: skip
    add_options(parser)
    add("--metric", choices=tuple(METRICS), default=ACCURACY.name, metavar="NAME",
        help=f"{', '.join(METRICS)} (default: accuracy), docs/metrics.md")  # fmt: skip
    add("--std", action="store_true", help="show the standard deviation over seeds")
    add("--published", action=argparse.BooleanOptionalAction, help="add published values (default: as the suite says)")
    add("--per-seed", action="store_true", help="add the values of each seed, outliers marked")
    add("--interval", action="store_true", help="add 95 %% intervals of the means, by Student's t")
    add("--baseline", metavar="METHOD", help="add mean differences to this method, paired by seed, with intervals")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Write the tables and print the Markdown; exit code 0, or 2 with one message."""
    parsed = parse(arguments)
    return answer(lambda: _write(parsed))


def _write(parsed: argparse.Namespace) -> int:
    paths = render(parsed)
    for path in paths:
        if path.suffix == ".md":
            sys.stdout.write(path.read_text(encoding="utf-8") + "\n")
    sys.stdout.write("Written: " + ", ".join(map(str, paths)) + "\n")
    return 0


def render(parsed: argparse.Namespace) -> list[Path]:
    """Write the tables that the options ask for; returns their files."""
    with made_to_last():
        records, problems = read_results(parsed.folder)
    for problem in shorten(problems):
        sys.stderr.write(f"left out: {problem}\n")
    if not records:
        protocol = next((name for name in parsed.folder.resolve().parts[::-1] if name in GRIDS), None)
        command = f"python run_all.py --protocol {protocol}" if protocol else COMMANDS
        raise RecordError(f"{parsed.folder}: holds no record. Run: {command}")
    suite, metric = suite_of(records), METRICS[parsed.metric]
    if parsed.published and metric != ACCURACY:
        raise ConfigError(f"--published: published values are accuracies. Leave it out with --metric {metric.name}.")
    published = {} if parsed.published is None else {"published": parsed.published}
    options = TableOptions.of_suite(
        suite,
        std=parsed.std,
        per_seed=parsed.per_seed,
        interval=parsed.interval,
        baseline=parsed.baseline,
        metric=metric,
        **published,
    )
    out = parsed.out or _suite_folder(parsed.folder)
    selected = select(records, parsed, suite)
    shown, problems = split_by(selected, metric)
    for problem in shorten(problems):
        sys.stderr.write(f"left out: {problem}\n")
    if not shown:
        raise RecordError(f"{parsed.folder}: no record holds what {metric.name} needs; all are of earlier versions.")
    return write(shown, out, options, planned=[record.spec for record in selected], formats=parsed.format)


def _suite_folder(folder: Path) -> Path:
    """The folder itself, or the parent of the protocol's folder that it is in; for a file, a folder next to it."""
    if folder.is_file():
        return folder.with_name(f"{folder.stem}-tables")
    for part in (folder, *folder.parents):
        if part.name in GRIDS:
            return part.parent
    return folder


if __name__ == "__main__":
    in_utf8()
    sys.exit(main())
