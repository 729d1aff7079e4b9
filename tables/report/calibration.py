"""Make the report's section on calibration and accuracy by class: a table and a diagram for each protocol."""

from collections.abc import Sequence

from benchmark.common.config import RunSpec
from benchmark.records.record import RunRecord
from tables.aggregate import AVERAGE, TRANSFERS, method_title
from tables.metrics import METRICS, OTHERS, split_by
from tables.protocols.writers import TABLES, by_protocol
from tables.rendering import cells
from tables.rendering.grid import Cell, Grid
from tables.rendering.options import TableOptions
from tables.rendering.table import Table
from tables.report.page import FigureImage, Section
from tables.selection import shorten

TEXT = (
    "Means over the datasets of a protocol. For tables of all datasets: python -m tables --metric ece (or nll, "
    "class_mean, worst_class).",
    f"{' '.join(f'{metric.what}.' for metric in OTHERS)} Best in bold. {cells.BELOW}, {cells.ABOVE}: worse than "
    f"zero-shot CLIP. {cells.PARTIAL}",
)
NONE = "No record holds confidences; records of earlier versions hold counts alone."
HEADINGS = {"ece": "ECE, %", "nll": "NLL, nats", "class_mean": "mean of classes, %", "worst_class": "worst class, %"}


def section(
    records: Sequence[RunRecord],
    figures: Sequence[FigureImage],
    options: TableOptions,
    *,
    planned: Sequence[RunSpec] | None = None,
) -> Section:
    """The section of records that fit into tables; those without confidences are named."""
    shown, lacking = split_by(records, METRICS["ece"])
    wanted = [record.spec for record in records] if planned is None else planned
    grids = [
        averages_grid(TABLES[protocol], own, [spec for spec in wanted if spec.protocol == protocol], options)
        for protocol, own in by_protocol(shown).items()
    ]
    return Section(
        anchor="part-calibration",
        title="Calibration and accuracy by class",
        text=TEXT if shown else [NONE],
        items=[f"left out: {problem}" for problem in shorten(lacking)] if shown else [],
        grids=grids,
        figures=figures,
    )


def averages_grid(table: Table, records: Sequence[RunRecord], specs: Sequence[RunSpec], options: TableOptions) -> Grid:
    """A row for each method; of each metric the columns of the table, averaged over datasets."""
    sheets = [table.sheet(records, specs, metric) for metric in OTHERS]
    columns = sheets[0].columns  # without H
    source = [records[0].spec.dataset] if table.protocol in TRANSFERS else []
    places = {(name, column): title for name in (*source, AVERAGE) for column, title in columns.items()}
    if source:
        places = {(name, column): options.title_of(name) for name, column in places}
    cell_functions = [
        cells.marked(cells.measured(sheet, std=options.std), table.one_class(sheet, records)) for sheet in sheets
    ]
    rows = [
        [Cell(method_title(method)), *(cell((method, *place)) for cell in cell_functions for place in places)]
        for method in sheets[0].methods
    ]
    return Grid(
        name=f"calibration-{table.protocol}",
        caption=f"{table.title}: calibration and accuracy by class, means over datasets and seeds.",
        explained="",
        columns=["method", *(title for _ in OTHERS for title in places.values())],
        groups=[(HEADINGS[metric.name], len(places)) for metric in OTHERS],
        rows=rows,
    )
