"""Arrange a sheet as a grid with datasets, methods or the seeds of one method along its sides."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from tables.aggregate import AVERAGE, Sheet, method_title
from tables.rendering.cells import ABSENT, CellOf
from tables.rendering.grid import Cell, Grid
from tables.rendering.options import TableOptions


@dataclass(frozen=True, kw_only=True)
class Heading:
    """Name and texts of a grid; `facts` says how it was measured."""

    name: str
    title: str
    facts: str
    explained: str
    options: TableOptions

    def grid(self, **parts: object) -> Grid:
        """A grid with this name, caption and explanation."""
        return Grid(name=self.name, caption=f"{self.title}, {self.facts}", explained=self.explained, **parts)

    def narrowed(self, name: str, title: str) -> "Heading":
        """The heading of a grid that shows one part."""
        return dataclasses.replace(self, name=f"{self.name}-{name}", title=f"{self.title}, {title}")


def datasets_by_rows(sheet: Sheet, cell: CellOf, heading: Heading) -> Grid:
    """The average, then a row per dataset; a group of columns per method."""
    title_of = heading.options.title_of
    rows = [
        [Cell(title_of(dataset)), *(cell((m, dataset, c)) for m in sheet.methods for c in sheet.columns)]
        for dataset in (AVERAGE, *sheet.datasets)
    ]
    return heading.grid(
        columns=["dataset", *(title for _ in sheet.methods for title in sheet.columns.values())],
        groups=[(method_title(method), len(sheet.columns)) for method in sheet.methods],
        rows=rows,
        ruled=1,
    )


def methods_by_rows(sheet: Sheet, cell: CellOf, heading: Heading, places: Mapping[tuple[str, str], str]) -> Grid:
    """A row per method; `places` is (dataset, column) to the heading above it."""
    return heading.grid(
        columns=["method", *places.values()],
        rows=[[Cell(method_title(m)), *(cell((m, *place)) for place in places)] for m in sheet.methods],
    )


def seeds_by_columns(sheet: Sheet, method: str, marks: Mapping[tuple, str], heading: Heading) -> Grid:
    """The values of each seed of one method; `marks` is (key, seed) to the mark of an outlier."""
    seeds = sorted({seed for key, runs in sheet.seeds.items() if key[0] == method for seed in runs})

    def cell(dataset: str, column: str, seed: int) -> Cell:
        key = (method, dataset, column)
        value = sheet.seeds.get(key, {}).get(seed)
        if value is None:
            return Cell(ABSENT)
        return Cell(f"{sheet.metric.text(value)}{marks.get((key, seed), '')}", value=value)

    title_of = heading.options.title_of
    rows = [
        [Cell(title_of(dataset)), *(cell(dataset, column, s) for column in sheet.columns for s in seeds)]
        for dataset in (AVERAGE, *sheet.datasets)
    ]
    return heading.grid(
        columns=["dataset", *(f"seed {seed}" for _ in sheet.columns for seed in seeds)],
        groups=[(title, len(seeds)) for title in sheet.columns.values()],
        rows=rows,
        ruled=1,
    )
