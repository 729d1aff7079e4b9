"""Compare two results folders run by run: accuracies, missing runs, settings, versions and commits.

python -m tables.compare RESULTS_A RESULTS_B [--fail-above 0.5]
"""

import argparse
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.common.command import Parser, answer, path_option
from benchmark.common.config import canonical_json
from benchmark.errors import RecordError
from benchmark.records.metrics import mean, sample_std
from benchmark.records.record import RunRecord
from tables.aggregate import commits, in_order, run_count, to_percent
from tables.publish import read_results
from tables.rendering import markup
from tables.rendering.grid import Cell, Grid, to_markdown
from tables.report.missing_runs import Run, run_of
from tables.selection import shorten

ABSENT = "—"
SIDES = ("A", "B")
IGNORED = ("seed", "suite", "protocol", "method", "dataset", "shots")  # of a spec: what runs are matched by
EXPLAINED = (
    "Accuracy in percent, mean over the seeds that both have; B − A in points. Spread: the root mean square of the "
    "sample standard deviations of A and B over these seeds; one seed has none."
)

Place = tuple[str, str, str, int, str]  # protocol, method, dataset, shots, class set
Runs = Mapping[Run, RunRecord]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One cell: a class set of the runs that differ in their seed, in the seeds that both sides have.

    Attributes:
        by_seed: seed to the accuracies of A and B in percent.
        same_sums: whether log-likelihood and confidences are the same too; None if a side has none.
    """

    place: Place
    by_seed: Mapping[int, tuple[float, float]]
    same_sums: bool | None

    @property
    def points(self) -> dict[int, float]:
        """Seed to B - A in points."""
        return {seed: b - a for seed, (a, b) in self.by_seed.items()}

    @property
    def largest(self) -> float:
        """The largest distance of a seed in points."""
        return max(map(abs, self.points.values()))

    @property
    def spread(self) -> float | None:
        """The root mean square of the sample standard deviations of A and B over seeds; None for one seed."""
        deviations = [sample_std(values) for values in zip(*self.by_seed.values(), strict=True)]
        return None if None in deviations else math.sqrt(mean([each**2 for each in deviations]))

    @property
    def verdict(self) -> str:
        """Whether the mean difference is within the spread over seeds."""
        if self.spread is None:
            return ABSENT
        return "within" if abs(mean(list(self.points.values()))) <= self.spread else "outside"


def by_run(records: Iterable[RunRecord], name: str) -> dict[Run, RunRecord]:
    """The records of one folder by what they are matched by.

    Raises:
        RecordError: two records of one run, with other settings for example.
    """
    runs: dict[Run, RunRecord] = {}
    for record in records:
        first = runs.setdefault(run_of(record.spec), record)
        if first is not record:
            pair = " and ".join(each.spec.record_path("").as_posix() for each in (first, record))
            raise RecordError(f"{name}: holds two runs of {record.spec.label()}: {pair}. Remove one of them.")
    return runs


def differences(a: Runs, b: Runs) -> list[Difference]:
    """The cells that both sides have, in the order of A."""
    cells: dict[Place, dict[int, tuple[float, float]]] = {}
    sums: dict[Place, list[bool | None]] = {}
    for run in (run for run in a if run in b):
        for class_set in (name for name in a[run].scores if name in b[run].scores):
            pair = [side[run].scores[class_set] for side in (a, b)]
            place = (*run[:-1], class_set)
            cells.setdefault(place, {})[run.seed] = tuple(map(to_percent, pair))
            known = all(score.breakdown for score in pair)
            sums.setdefault(place, []).append(pair[0] == pair[1] if known else None)
    return [
        Difference(place=place, by_seed=dict(sorted(cells[place].items())),
                   same_sums=None if None in sums[place] else all(sums[place]))
        for place in cells
    ]  # fmt: skip


def settings_of(record: RunRecord) -> dict[str, object]:
    """What was set and what it was computed from; options, training and targets by their keys."""
    found: dict[str, object] = {}
    for key, value in record.spec.to_json().items():
        if key in ("options", "training", "targets"):
            found |= {f"{key}.{inner}": each for inner, each in (value or {}).items()}
        elif key not in IGNORED:
            found[key] = value
    return found | {f"--set {key}": value for key, value in record.overrides.items()}


def origin_of(record: RunRecord) -> dict[str, object]:
    """Versions, commit and machine; None where the record does not say."""
    found, machine = record.provenance, record.provenance.get("machine") or {}
    versions = {f"version of {name}": version for name, version in (found.get("versions") or {}).items()}
    return versions | {
        "commit": commits([record])[0],
        "device": found.get("device"),
        "threads": found.get("threads"),
        "processor": machine.get("processor"),
        "vector units": machine.get("instructions"),
    }


def setting_differences(a: Runs, b: Runs) -> dict[tuple[str, str, str], list[Run]]:
    """(what, value in A, value in B) to the runs of both sides that differ so; an unknown origin is no difference."""
    found: dict[tuple[str, str, str], list[Run]] = {}
    for run in (run for run in a if run in b):
        one, other = settings_of(a[run]), settings_of(b[run])
        pairs = {key: (one.get(key), other.get(key)) for key in dict.fromkeys([*one, *other])}
        one, other = origin_of(a[run]), origin_of(b[run])
        pairs |= {key: (one[key], other[key]) for key in one if None not in (one[key], other.get(key))}
        for key, pair in pairs.items():
            if pair[0] != pair[1]:
                found.setdefault((key, *map(_text, pair)), []).append(run)
    return found


def _text(value: object) -> str:
    if value is None or value == "":
        return ABSENT
    return value if isinstance(value, str) else canonical_json(value)


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


if __name__ == "__main__":
    sys.exit(main())
