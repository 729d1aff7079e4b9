"""Print one line for each method: what it learns, where, how many values, seconds a run, base, new and H.

python -m tables.methods --from results/synthetic
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open
from tabulate import tabulate

from benchmark.common.command import Parser, answer, in_utf8, path_option
from benchmark.common.yaml import read_yaml
from benchmark.errors import RecordError
from benchmark.plugins.discovery import method_names, source_of
from benchmark.records.metrics import mean
from benchmark.records.record import RunRecord
from benchmark.records.store import collect
from tables.aggregate import AVERAGE, METHOD_ORDER, headline, method_title
from tables.protocols.base2new import COLUMNS, make_sheet_of_halves
from tables.selection import shorten

HEADINGS = ("method", "learns", "where", "parameters", "seconds", *COLUMNS.values())
ABSENT = "-"
READING = (
    "Parameters: learned values, without those of CLIP. Seconds: of a run, mean; seeds that share a pass "
    "have equal parts of its time. Base, new: accuracy in percent, mean over seeds and datasets; H: their harmonic "
    f"mean. {ABSENT}: no run."
)


def main(arguments: list[str] | None = None) -> int:
    """Print the table in Markdown; exit code 0, or 2 with one message."""
    folder = parse(arguments).folder
    return answer(lambda: _print(folder))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    summary, _, usage = (__doc__ or "").strip().partition("\n\n")  # python -OO leaves no text
    parser = Parser(prog="python -m tables.methods", description=summary, epilog=usage)
    parser.add_argument("--from", dest="folder", type=path_option, default=Path("results/synthetic"), metavar="RESULTS",
                        help="records of base2new (default: results/synthetic)")  # fmt: skip
    return parser.parse_args(arguments)


def _print(folder: Path) -> int:
    found, problems = collect(folder)
    for problem in shorten(problems):
        sys.stderr.write(f"left out: {problem}\n")
    records = [record for record in found if record.spec.protocol == "base2new"]
    if not records:
        raise RecordError(f"{folder}: holds no record of base2new. Run python run_all.py --protocol base2new.")
    table = tabulate(rows(records, folder), HEADINGS, tablefmt="pipe", disable_numparse=True, colalign=ALIGNED)
    sys.stdout.write(f"{headline(records)}\n\n{table}\n\n{READING}\n")
    return 0


ALIGNED = ("left", "left", "left", *["right"] * (len(HEADINGS) - 3))


def rows(records: Sequence[RunRecord], folder: Path) -> list[list[str]]:
    """The lines of the table: all methods of the repository, then others that have records."""
    sheet = make_sheet_of_halves(records, [record.spec for record in records])
    by_method: dict[str, list[RunRecord]] = {}
    for record in records:
        by_method.setdefault(record.spec.method, []).append(record)
    names = dict.fromkeys([*METHOD_ORDER, *sorted(method_names()), *by_method])
    lines = []
    for name in names:
        values = [sheet.values.get((name, AVERAGE, column)) for column in COLUMNS]
        cells = [ABSENT if value is None else f"{value.mean:.2f}" for value in values]
        own = by_method.get(name, [])
        count, seconds = (_parameters(own[0], folder), _seconds(own)) if own else (ABSENT, ABSENT)
        lines.append([method_title(name), *_about(name), count, seconds, *cells])
    return lines


def _about(name: str) -> tuple[str, str]:
    """What a method learns, and where, as its recipe says."""
    try:
        recipe = read_yaml(source_of(name).recipe)
    except (KeyError, OSError):  # a plugin that is not at hand
        return ABSENT, ABSENT
    return recipe.get("learns", ABSENT), recipe.get("where", ABSENT)


def _parameters(record: RunRecord, folder: Path) -> str:
    """The number of learned values of a run."""
    name = record.spec.record_path(Path()).with_suffix(".safetensors").name
    path = next(folder.rglob(name), None)
    if path is None:
        return "0"
    with safe_open(path, "numpy") as file:
        return f"{sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys()):,}"  # noqa: SIM118


def _seconds(records: Sequence[RunRecord]) -> str:
    return f"{mean([r.training.get('seconds', 0.0) + r.evaluation_seconds for r in records]):.1f}"


if __name__ == "__main__":
    in_utf8()
    sys.exit(main())
