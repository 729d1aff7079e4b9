"""Make the few-shot tables, for the average and each dataset: a row per method, a column per number of shots."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from benchmark.common.config import RunSpec
from benchmark.records.record import RunRecord
from tables.aggregate import AVERAGE, Key, Sheet, make_sheet, planned_of, seeds_of, untrained_methods
from tables.metrics import ACCURACY, Metric
from tables.published import published_few_shot
from tables.rendering.arrange import Heading, methods_by_rows
from tables.rendering.cells import CellOf, reading
from tables.rendering.grid import Grid
from tables.rendering.table import Table

T = TypeVar("T")


def explained(metric: Metric) -> str:
    """How to read the table."""
    return (
        f"{metric.what} on all classes, mean over seeds, by training images per class. A method that learns nothing "
        "has the same accuracy at any number of them, so that what is measured at one stands in every column. "
        f"Best of each column in bold. {reading(metric)}"
    )


def make_sheet_by_shots(records: Sequence[RunRecord], specs: Sequence[RunSpec], metric: Metric = ACCURACY) -> Sheet:
    """A column for each number of shots of any training run."""
    datasets = list(dict.fromkeys(spec.dataset for spec in specs))
    untrained = untrained_methods(records)
    shots = sorted({spec.shots for spec in specs if spec.method not in untrained} or {spec.shots for spec in specs})
    columns = {str(count): f"{count} shot{'s' * (count != 1)}" for count in shots}
    return make_sheet(
        _fill_untrained(seeds_of(records, _place, metric), untrained, columns),
        _fill_untrained(planned_of(specs, lambda spec: ("all",), _place), untrained, columns),
        methods=(spec.method for spec in specs),
        datasets=datasets,
        averaged=datasets,
        columns=columns,
        metric=metric,
    )


def _fill_untrained(cells: Mapping[Key, T], untrained: set[str], columns: Mapping[str, str]) -> dict[Key, T]:
    """The cells; an untrained method has its value at the fewest shots in every other column too."""
    filled = {}
    for (method, dataset, column), cell in sorted(cells.items(), key=lambda item: int(item[0][2])):
        filled[method, dataset, column] = cell
    for (method, dataset, _), cell in list(filled.items()):
        if method in untrained:
            for column in columns:
                filled.setdefault((method, dataset, column), cell)
    return filled


def _place(spec: RunSpec, class_set: str) -> tuple[str, str]:
    return spec.dataset, str(spec.shots)


def _arrange(sheet: Sheet, cell: CellOf, heading: Heading) -> list[Grid]:
    found = []
    for dataset in (AVERAGE, *sheet.datasets):
        places = {(dataset, column): title for column, title in sheet.columns.items()}
        found.append(methods_by_rows(sheet, cell, heading.narrowed(dataset, heading.options.title_of(dataset)), places))
    return found


TABLE = Table(
    protocol="few_shot",
    title="Few-shot",
    explained=explained,
    place=_place,
    sheet=make_sheet_by_shots,
    arrange=_arrange,
    published=lambda spec, sheet: published_few_shot(spec, sheet.columns),
)
grids = TABLE.grids
