"""Compare two results folders run by run: accuracies, missing runs, settings, versions and commits.

python -m tables.compare RESULTS_A RESULTS_B [--fail-above 0.5]
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.common.command import Parser, answer, path_option
from benchmark.errors import RecordError
from benchmark.records.metrics import mean
from tables.aggregate import commits, in_order, run_count
from tables.compare.differences import ABSENT, Difference, Runs, by_run, differences, setting_differences
from tables.publish import read_results
from tables.rendering import markup
from tables.rendering.grid import Cell, Grid, to_markdown
from tables.report.missing_runs import Run
from tables.selection import shorten

SIDES = ("A", "B")
EXPLAINED = (
    "Accuracy in percent, mean over the seeds that both have; B − A in points. Spread: the root mean square of the "
    "sample standard deviations of A and B over these seeds; one seed has none."
)


def to_report(a: Runs, b: Runs, names: Sequence[str], limit: float | None) -> tuple[str, int]:
    """The comparison as Markdown, and the number of seeds of cells whose distance is above the limit."""
    cells = differences(a, b)
    changed = sorted((cell for cell in cells if cell.largest > 0), key=lambda cell: -cell.largest)
    values = [points for cell in cells for points in cell.points.values()]
    above = 0 if limit is None else sum(abs(points) > limit for points in values)
    alone = _alone_grid(a, b)
    settings = setting_differences(a, b)
    parts = ["# Two results compared", _summary(a, b, names, cells, changed)]
    if limit is not None:
        parts.append(f"Above {limit:g} points: {above} of {len(values)} differences.")
    parts += ["## Accuracy", to_markdown(_cells_grid(changed)).strip() if changed else "No accuracy differs."]
    parts += ["## Runs of one side", to_markdown(alone).strip() if alone.rows else "None."]
    parts += ["## Settings, versions and commits"]
    parts += [to_markdown(_settings_grid(settings)).strip() if settings else "No difference."]
    return "\n\n".join(parts) + "\n", above


def _summary(a: Runs, b: Runs, names: Sequence[str], cells: Sequence[Difference], changed: Sequence[Difference]) -> str:
    lines = [
        f"- {side}: {markup.markdown(name)}, {run_count(list(runs))}, commit "
        f"{markup.markdown(', '.join(commits(runs.values())))}"
        for side, name, runs in zip(SIDES, names, (a, b), strict=True)
    ]
    verdicts = [cell.verdict for cell in changed]
    equal = [cell for cell in cells if cell.largest == 0]
    lines.append(f"- in both: {run_count(list(a.keys() & b.keys()))}, in A alone {len(a.keys() - b.keys())}, "
                 f"in B alone {len(b.keys() - a.keys())}")  # fmt: skip
    lines.append(
        f"- cells (a class set of all seeds): {len(cells)}, of which {len(equal)} with the same accuracies, "
        f"{sum(cell.same_sums is True for cell in equal)} of them with the same confidences and log-likelihood"
    )
    lines.append(
        f"- cells that differ: {len(changed)}; mean difference within the spread over seeds: "
        f"{verdicts.count('within')}, outside: {verdicts.count('outside')}, without a spread: {verdicts.count(ABSENT)}"
    )
    return "\n".join(lines)


def _cells_grid(changed: Sequence[Difference]) -> Grid:
    rows = []
    for cell in changed:
        a, b = (mean(values) for values in zip(*cell.by_seed.values(), strict=True))
        spread = ABSENT if cell.spread is None else f"{cell.spread:.2f}"
        by_seed = ", ".join(f"{seed}: {points:+.2f}" for seed, points in cell.points.items())
        protocol, method, dataset, shots, class_set = map(str, cell.place)
        texts = (protocol, method, dataset, shots, class_set, f"{a:.2f}", f"{b:.2f}", f"{b - a:+.2f}", spread,
                 cell.verdict, by_seed)  # fmt: skip
        rows.append([Cell(text) for text in texts])
    return Grid(
        name="differences",
        caption="Cells whose accuracies differ, the largest difference of a seed first.",
        explained=EXPLAINED,
        columns=("protocol", "method", "dataset", "shots", "class set", *SIDES, "B − A", "spread",
                 "within the spread", "B − A by seed"),
        rows=rows,
    )  # fmt: skip


def _alone_grid(a: Runs, b: Runs) -> Grid:
    seeds: dict[tuple, list[int]] = {}
    for side, own, other in (("A", a, b), ("B", b, a)):
        for run in (run for run in own if run not in other):
            seeds.setdefault((side, *run[:-1]), []).append(run.seed)
    rows = [[Cell(str(part)) for part in (*key, ", ".join(map(str, sorted(found))))] for key, found in seeds.items()]
    return Grid(name="alone", caption="Runs that one side alone has.", explained="", rows=rows,
                columns=("side", *Run._fields[:-1], "seeds"))  # fmt: skip


def _settings_grid(settings: Mapping[tuple[str, str, str], Sequence[Run]]) -> Grid:
    rows = [
        [*map(Cell, key), Cell(", ".join(in_order(run.method for run in runs))), Cell(str(len(runs)))]
        for key, runs in settings.items()
    ]
    return Grid(name="settings", caption="What differs in the runs of both sides.", explained="", rows=rows,
                columns=("what", *SIDES, "methods", "runs"))  # fmt: skip


def parse(arguments: list[str] | None) -> argparse.Namespace:
    summary, _, usage = (__doc__ or "").strip().partition("\n\n")  # python -OO leaves no text
    parser = Parser(prog="python -m tables.compare", description=summary, epilog=usage)
    for side in SIDES:
        parser.add_argument(side.lower(), type=path_option, metavar=f"RESULTS_{side}",
                            help="records of a suite, or a CSV of python -m tables.publish")  # fmt: skip
    parser.add_argument("--fail-above", type=_points, metavar="POINTS",
                        help="exit code 1 if an accuracy differs by more")  # fmt: skip
    return parser.parse_args(arguments)


def _points(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of points from 0 on")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Print the comparison; exit code 0, 1 with --fail-above if an accuracy differs by more, 2 with one message."""
    parsed = parse(arguments)
    return answer(lambda: _compare((parsed.a, parsed.b), parsed.fail_above))


def _compare(paths: Sequence[Path], limit: float | None) -> int:
    sides = []
    for path in paths:
        records, problems = read_results(path)
        for problem in shorten(problems):
            sys.stderr.write(f"left out: {problem}\n")
        if not records:
            raise RecordError(f"{path}: holds no record.")
        sides.append(records)
    suites = [sorted({record.spec.suite for record in records}) for records in sides]
    if suites[0] != suites[1] or len(suites[0]) > 1:
        held = " and ".join(f"{path} {', '.join(found)}" for path, found in zip(paths, suites, strict=True))
        raise RecordError(
            f"Only runs of one suite are compared, but the suites are: {held}. Give folders of one suite."
        )
    a, b = (by_run(records, str(path)) for records, path in zip(sides, paths, strict=True))
    if not a.keys() & b.keys():
        raise RecordError(f"{paths[0]} and {paths[1]}: have no run (protocol, method, dataset, shots, seed) in common.")
    text, above = to_report(a, b, [str(path) for path in paths], limit)
    sys.stdout.write(text)
    return 1 if above else 0
