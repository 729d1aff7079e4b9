"""Make the transfer tables: a row per method, a column each for the source, the targets and their average."""

from collections.abc import Sequence

from benchmark.common.config import RunSpec
from benchmark.records.record import RunRecord
from tables.aggregate import AVERAGE, Sheet, make_sheet, planned_of, seeds_of
from tables.metrics import ACCURACY, Metric
from tables.published import published_transfer
from tables.rendering.arrange import Heading, methods_by_rows
from tables.rendering.cells import CellOf, reading
from tables.rendering.grid import Grid
from tables.rendering.table import Table

COLUMN = "accuracy"  # the only one of each dataset, as in the published files


def explained(metric: Metric) -> str:
    """How to read the table."""
    return (
        f"{metric.what}, mean over seeds: trained on the first column's dataset, scored on it and on the others, over "
        f"which alone the average is. Best of each column in bold. {reading(metric)}"
    )


def transfer_table(protocol: str, title: str) -> Table:
    """The table of a protocol that trains on one dataset and also scores others."""
    return Table(
        protocol=protocol,
        title=title,
        explained=explained,
        place=_place,
        sheet=make_sheet_of_targets,
        arrange=_arrange,
        published=lambda spec, sheet: published_transfer(spec),
    )


def make_sheet_of_targets(records: Sequence[RunRecord], specs: Sequence[RunSpec], metric: Metric = ACCURACY) -> Sheet:
    """The source first, then the targets in the order of scoring; the average is over the targets."""
    source, targets = records[0].spec.dataset, records[0].spec.targets
    scored = [name for name in records[0].scores if name in targets]  # in the order of the suite
    targets = [*scored, *(name for name in targets if name not in scored)]
    return make_sheet(
        seeds_of(records, _place, metric),
        planned_of(specs, lambda spec: (spec.dataset, *spec.targets), _place),
        methods=(spec.method for spec in specs),
        datasets=[source, *targets],
        averaged=targets,
        columns={COLUMN: COLUMN},
        metric=metric,
    )


def _place(spec: RunSpec, class_set: str) -> tuple[str, str]:
    return class_set, COLUMN


def _arrange(sheet: Sheet, cell: CellOf, heading: Heading) -> list[Grid]:
    places = {(name, COLUMN): heading.options.title_of(name) for name in (*sheet.datasets, AVERAGE)}
    return [methods_by_rows(sheet, cell, heading, places)]


TABLE = transfer_table("cross_dataset", "Cross-dataset")
grids = TABLE.grids
