"""The base-to-new table: datasets by rows with their average first, base, new and H of every method by columns."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.config import RunSpec
from benchmark.errors import RecordError
from benchmark.metrics import harmonic_mean, mean
from benchmark.records import RunRecord, write_whole
from tables import markup
from tables.aggregate import (
    METHOD_TITLES,
    Value,
    check_comparable,
    in_order,
    planned_seeds,
    to_frame,
    values_over_seeds,
)
from tables.published import published_base2new

COLUMNS = ("base", "new", "h")
TITLES = {"base": "base", "new": "new", "h": "H"}
AVERAGE = "average"
ABSENT = "—"
BELOW = "↓"
EXPLAINED = (
    "Accuracy in percent, mean over seeds; H is the harmonic mean of the base and new shown, in the first row of their "
    f"averages. Best in bold. {BELOW}: below zero-shot CLIP. (2/3): measured on two of three."
)
FORMATS = {"markdown": ".md", "latex": ".tex"}


@dataclass(frozen=True)
class Table:
    """Everything that is printed: rows and methods in order, a value for each (method, dataset, column) measured."""

    methods: list[str]
    datasets: list[str]
    titles: Mapping[str, str]
    values: Mapping[tuple[str, str, str], Value]
    published: Mapping[tuple[str, str, str], float]
    caption: str
    std: bool

    @property
    def rows(self) -> list[str]:
        """The average, then the datasets."""
        return [AVERAGE, *self.datasets]

    def title(self, row: str) -> str:
        """How a row is called."""
        return "Average" if row == AVERAGE else self.titles.get(row, row)

    def text(self, method: str, row: str, column: str) -> str:
        """A cell without its emphasis."""
        value = self.values.get((method, row, column))
        if value is None:
            return ABSENT
        spread = f" ± {value.std:.2f}" if self.std and value.std is not None else ""
        partial = "" if value.complete else f" ({value.count}/{value.planned})"
        zero_shot = self.values.get(("zero_shot", row, column))
        below = method != "zero_shot" and zero_shot is not None and round(value.mean, 2) < round(zero_shot.mean, 2)
        return f"{value.mean:.2f}{spread}{partial}{BELOW if below else ''}"

    def is_best(self, method: str, row: str, column: str) -> bool:
        """Whether no method prints a higher complete value in this row and column."""
        complete = {
            m: round(v.mean, 2)
            for m in self.methods
            if (v := self.values.get((m, row, column))) is not None and v.complete
        }
        return len(complete) > 1 and complete.get(method) == max(complete.values())


def make_table(
    records: Sequence[RunRecord],
    *,
    planned: Sequence[RunSpec] | None = None,
    std: bool = False,
    published: bool = False,
    note: str = "",
    titles: Mapping[str, str] | None = None,
) -> Table:
    """Numbers out of records.

    Args:
        planned: the runs that were meant to be; decides rows, their order, and which cells are partial.
        published: show the published values of the same cells.
        note: a sentence for the caption.
        titles: dataset to the name of its row.
    Raises:
        RecordError: no records, or records that cannot stand in one table.
    """
    if not records:
        raise RecordError("There is no record to make a table of. Run: python run_all.py --protocol base2new")
    check_comparable(records)
    specs = list(planned) if planned is not None else [record.spec for record in records]
    datasets = list(dict.fromkeys(spec.dataset for spec in specs))
    methods = in_order(spec.method for spec in specs)
    values = _cells(records, planned_seeds(specs))
    values |= _averages(values, methods, datasets)
    return Table(
        methods, datasets, titles or {}, values, published_base2new() if published else {}, _caption(records, note), std
    )


def _cells(records: Sequence[RunRecord], planned: Mapping[tuple[str, str], int]) -> dict[tuple[str, str, str], Value]:
    """Base, new and H of every (method, dataset). The spread of H is that of each seed's own."""
    values = {}
    for (method, dataset), runs in to_frame(records).groupby(["method", "dataset"]):
        by_seed = runs.pivot(index="seed", columns="class_set", values="accuracy")
        count = planned.get((method, dataset), len(by_seed))
        base, new = (values_over_seeds(list(by_seed[column]), count) for column in ("base", "new"))
        each = values_over_seeds(
            [harmonic_mean(b, n) for b, n in zip(by_seed["base"], by_seed["new"], strict=True)], count
        )
        combined = Value(harmonic_mean(base.mean, new.mean), each.std, each.count, each.planned)
        values |= {(method, dataset, "base"): base, (method, dataset, "new"): new, (method, dataset, "h"): combined}
    return values


def _averages(
    values: Mapping[tuple[str, str, str], Value], methods: Sequence[str], datasets: Sequence[str]
) -> dict[tuple[str, str, str], Value]:
    """The first row: means over datasets, and H of those means."""
    averages = {}
    for method in methods:
        there = [d for d in datasets if (method, d, "base") in values]
        if not there:
            continue
        whole = sum(values[method, d, "base"].complete for d in there)
        of = {c: mean([values[method, d, c].mean for d in there]) for c in ("base", "new")}
        of["h"] = harmonic_mean(of["base"], of["new"])
        averages |= {(method, AVERAGE, c): Value(of[c], None, whole, len(datasets)) for c in COLUMNS}
    return averages


def _caption(records: Sequence[RunRecord], note: str) -> str:
    """What a reader must know to believe the table."""
    spec = records[0].spec
    seeds = sorted({record.spec.seed for record in records})
    commits = sorted({_commit(record) for record in records})
    date = datetime.date.today().isoformat()
    return (
        f"Base-to-new, suite {spec.suite}: backbone {spec.backbone}, {spec.precision}, {spec.shots} shots, "
        f"seeds {', '.join(map(str, seeds))}, {len(records)} runs, commit {', '.join(commits)}, {date}."
        + (f" {note}" if note else "")
    )


def _commit(record: RunRecord) -> str:
    git = record.provenance.get("git") or {}
    return f"{git.get('commit') or 'unknown'}{'+changes' if git.get('dirty') else ''}"


def to_markdown(table: Table) -> str:
    """The table, its explanation, and the published values where they are wanted."""

    def cell(method: str, row: str, column: str) -> str:
        text = table.text(method, row, column)
        return f"**{text}**" if table.is_best(method, row, column) else text

    header = ["dataset", *(f"{markup.markdown(_method(m))}<br>{TITLES[c]}" for m in table.methods for c in COLUMNS)]
    rows = [
        [markup.markdown(table.title(row)), *(cell(m, row, c) for m in table.methods for c in COLUMNS)]
        for row in table.rows
    ]
    parts = [f"**{markup.markdown(table.caption)}**", markup.markdown_table(header, rows), markup.markdown(EXPLAINED)]
    if table.published:
        rows = [
            [markup.markdown(table.title(row)), *(_published(table, m, row, c) for m in table.methods for c in COLUMNS)]
            for row in table.rows
        ]
        parts += [
            "**Published values, and ours less theirs in brackets.** Sources: tables/reference/base2new.csv.",
            markup.markdown_table(header, rows),
        ]
    return "\n\n".join(parts) + "\n"


def _published(table: Table, method: str, row: str, column: str) -> str:
    """A published figure and our difference; an average over other datasets than the published one has none."""
    figure, measured = table.published.get((method, row, column)), table.values.get((method, row, column))
    if figure is None:
        return ABSENT
    if row == AVERAGE and {AVERAGE, *table.datasets} != {dataset for _, dataset, _ in table.published}:
        measured = None
    return f"{figure:.2f}" + (f" ({measured.mean - figure:+.2f})" if measured is not None else "")


def to_latex(table: Table) -> str:
    """A table* for booktabs; the published values are a second one."""

    def cell(method: str, row: str, column: str) -> str:
        text = markup.latex(table.text(method, row, column))
        return rf"\textbf{{{text}}}" if table.is_best(method, row, column) else text

    parts = ["% needs \\usepackage{booktabs}", *_latex_table(table, cell, f"{table.caption} {EXPLAINED}", "base2new")]
    if table.published:
        caption = "Published values of the same cells, and ours less theirs in brackets."
        parts += _latex_table(table, lambda *key: markup.latex(_published(table, *key)), caption, "base2new-published")
    return "\n".join(parts) + "\n"


def _latex_table(table: Table, cell, caption: str, label: str) -> list[str]:
    width = len(COLUMNS)
    spans = [rf"\multicolumn{{{width}}}{{c}}{{{markup.latex(_method(m))}}}" for m in table.methods]
    rules = [rf"\cmidrule(lr){{{2 + i * width}-{1 + (i + 1) * width}}}" for i in range(len(table.methods))]
    lines = [
        r"\begin{table*}[t]", r"\centering", r"\scriptsize", r"\setlength{\tabcolsep}{2.5pt}",
        rf"\caption{{{markup.latex(caption)}}}", rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{'r' * width * len(table.methods)}}}", r"\toprule",
        " & ".join(["", *spans]) + r" \\", "".join(rules),
        " & ".join(["Dataset", *([TITLES[c] for c in COLUMNS] * len(table.methods))]) + r" \\", r"\midrule",
    ]  # fmt: skip
    for row in table.rows:
        cells = [cell(m, row, c) for m in table.methods for c in COLUMNS]
        lines.append(" & ".join([markup.latex(table.title(row)), *cells]) + r" \\")
        lines += [r"\midrule"] if row == AVERAGE else []
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]


def _method(name: str) -> str:
    return METHOD_TITLES.get(name, name)


def write(records: Sequence[RunRecord], out: Path, *, formats: Sequence[str] = tuple(FORMATS), **options) -> list[Path]:
    """Render into `out`/base2new.md and .tex, each whole or not at all; options are those of make_table."""
    table = make_table(records, **options)
    writers = {"markdown": to_markdown, "latex": to_latex}
    paths = []
    for name in formats:
        paths.append(Path(out) / f"base2new{FORMATS[name]}")
        write_whole(paths[-1], writers[name](table).encode())
    return paths
