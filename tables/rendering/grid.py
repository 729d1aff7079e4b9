"""Render a finished table, rows of cells under headings, to Markdown and LaTeX."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from tables.rendering import markup

MANY_COLUMNS = 12  # more columns are set in a smaller font
PAGE_CHARACTERS = 130  # characters of a row that fit a two-column page; a wider table is scaled down


@dataclass(frozen=True)
class Cell:
    """Unescaped text, whether it is bold, and the number that it sorts by."""

    text: str
    best: bool = False
    value: float | None = None

    @classmethod
    def number(cls, value: float, form: str = "{}") -> "Cell":
        """A cell that shows a number in this format."""
        return cls(form.format(value), value=float(value))


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A finished table.

    Attributes:
        name: the id in HTML and the label in LaTeX.
        caption, explained: how it was measured, and how to read it.
        columns: the headings, that of the row names first.
        groups: (heading, number of columns) above all columns but the first; may be empty.
        rows: cells in the order of `columns`, the name of the row first.
        ruled: number of rows above the rule that separates averages.
    """

    name: str
    caption: str
    explained: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    groups: Sequence[tuple[str, int]] = ()
    ruled: int = 0


def to_markdown(grid: Grid) -> str:
    """A pipe table, its caption above and its explanation below; each column repeats the heading of its group."""
    over = [heading for heading, span in grid.groups for _ in range(span)]
    header = [markup.markdown(column) for column in grid.columns]
    if over:
        header[1:] = [f"{markup.markdown(g)}<br>{c}" for g, c in zip(over, header[1:], strict=True)]
    rows = [[_emphasize(cell, markup.markdown, "**{}**") for cell in row] for row in grid.rows]
    parts = [f"**{markup.markdown(grid.caption)}**", markup.markdown_table(header, rows)]
    return "\n\n".join([*parts, *([markup.markdown(grid.explained)] if grid.explained else [])]) + "\n"


def to_latex(grid: Grid) -> str:
    """A table* for booktabs; one wider than a two-column page is scaled down."""
    columns = zip(grid.columns, *([cell.text for cell in row] for row in grid.rows), strict=True)
    wide = sum(max(map(len, column)) for column in columns) > PAGE_CHARACTERS
    spans = [rf"\multicolumn{{{span}}}{{c}}{{{markup.latex(heading)}}}" for heading, span in grid.groups]
    ends = list(accumulate((span for _, span in grid.groups), initial=1))
    rules = [rf"\cmidrule(lr){{{first + 1}-{last}}}" for first, last in pairwise(ends)]
    caption = markup.latex(f"{grid.caption} {grid.explained}".strip())
    lines = [
        r"% needs \usepackage{booktabs}" + (r" and \usepackage{graphicx}" if wide else ""),
        r"\begin{table*}[t]", r"\centering",
        *([r"\tiny", r"\setlength{\tabcolsep}{1.5pt}"] if len(grid.columns) > MANY_COLUMNS
          else [r"\scriptsize", r"\setlength{\tabcolsep}{2.5pt}"]),
        rf"\caption{{{caption}}}", rf"\label{{tab:{grid.name}}}",
        *([r"\resizebox{\textwidth}{!}{%"] if wide else []),
        rf"\begin{{tabular}}{{l{'r' * (len(grid.columns) - 1)}}}", r"\toprule",
        *([" & ".join(["", *spans]) + r" \\", "".join(rules)] if spans else []),
        " & ".join(map(markup.latex, grid.columns)) + r" \\", r"\midrule",
    ]  # fmt: skip
    for number, row in enumerate(grid.rows, start=1):
        lines.append(" & ".join(_emphasize(cell, markup.latex, r"\textbf{{{}}}") for cell in row) + r" \\")
        lines += [r"\midrule"] if number == grid.ruled < len(grid.rows) else []
    end = r"\end{tabular}}" if wide else r"\end{tabular}"
    return "\n".join([*lines, r"\bottomrule", end, r"\end{table*}"]) + "\n"


def _emphasize(cell: Cell, escape: Callable[[str], str], form: str) -> str:
    return form.format(escape(cell.text)) if cell.best else escape(cell.text)
