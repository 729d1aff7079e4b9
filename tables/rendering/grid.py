"""A table as every format prints it: rows of cells under headings, rendered to Markdown, LaTeX and HTML."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from tables.rendering import markup

MANY_COLUMNS = 12  # more of them need smaller letters to fit a page
PAGE_CHARACTERS = 130  # of a row; about as many fill the width of a page of two columns


@dataclass(frozen=True)
class Cell:
    """What stands in one place: its text unescaped, whether it is the best of its row, and what it sorts by."""

    text: str
    best: bool = False
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A finished table.

    Attributes:
        name: its file's stem and its LaTeX label.
        caption, explained: what must be known to believe it, and how to read it.
        columns: the headings, that of the row names first.
        groups: (heading, columns it spans) over the columns after the first; none, or all of them.
        rows: cells in the order of `columns`, the row's name first.
        ruled: rows before the rule that sets the first ones (averages) apart.
    """

    name: str
    caption: str
    explained: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    groups: Sequence[tuple[str, int]] = ()
    ruled: int = 0


def to_markdown(grid: Grid) -> str:
    """A pipe table with its caption above and its explanation below; a group's heading stands in each column."""
    over = [heading for heading, span in grid.groups for _ in range(span)]
    header = [markup.markdown(column) for column in grid.columns]
    if over:
        header[1:] = [f"{markup.markdown(g)}<br>{c}" for g, c in zip(over, header[1:], strict=True)]
    rows = [[_emphasised(cell, markup.markdown, "**{}**") for cell in row] for row in grid.rows]
    parts = [f"**{markup.markdown(grid.caption)}**", markup.markdown_table(header, rows)]
    return "\n\n".join([*parts, *([markup.markdown(grid.explained)] if grid.explained else [])]) + "\n"


def to_latex(grid: Grid) -> str:
    """A table* for booktabs; what would be wider than a page of two columns is made smaller."""
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
        lines.append(" & ".join(_emphasised(cell, markup.latex, r"\textbf{{{}}}") for cell in row) + r" \\")
        lines += [r"\midrule"] if number == grid.ruled < len(grid.rows) else []
    end = r"\end{tabular}}" if wide else r"\end{tabular}"
    return "\n".join([*lines, r"\bottomrule", end, r"\end{table*}"]) + "\n"


def to_html(grid: Grid) -> str:
    """A <table> whose cells carry the number that they sort by in data-value."""
    groups = "".join(f'<th colspan="{span}">{html.escape(heading)}</th>' for heading, span in grid.groups)
    head = f"<tr><th></th>{groups}</tr>" if groups else ""
    head += "<tr>" + "".join(f"<th>{html.escape(column)}</th>" for column in grid.columns) + "</tr>"
    body = []
    for number, row in enumerate(grid.rows):
        kind = ' class="ruled"' if number < grid.ruled else ""
        body.append(f"<tr{kind}>" + "".join(map(_html_cell, row)) + "</tr>")
    return (
        f'<table id="{html.escape(grid.name)}"><caption>{html.escape(grid.caption)}</caption>\n<thead>{head}</thead>\n'
        + "<tbody>\n" + "\n".join(body) + f"\n</tbody></table>\n<p>{html.escape(grid.explained)}</p>\n"
    )  # fmt: skip


def _emphasised(cell: Cell, escape: Callable[[str], str], form: str) -> str:
    return form.format(escape(cell.text)) if cell.best else escape(cell.text)


def _html_cell(cell: Cell) -> str:
    number = "" if cell.value is None else f' data-value="{cell.value!r}"'
    text = f"<b>{html.escape(cell.text)}</b>" if cell.best else html.escape(cell.text)
    return f"<td{number}>{text}</td>"
