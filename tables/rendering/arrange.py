"""Sheets as grids: datasets by rows, methods by rows, or the seeds of one method by columns."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from tables.aggregate import AVERAGE, Sheet, method_title
from tables.rendering.cells import ABSENT, CellOf
from tables.rendering.grid import Cell, Grid


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What a grid says of itself; `facts` is how it was measured, `titles` is dataset to the name of its row."""

    name: str
    title: str
    facts: str
    explained: str
    titles: Mapping[str, str]

    @property
    def caption(self) -> str:
        return f"{self.title}, {self.facts}"

    def dataset(self, name: str) -> str:
        """How a dataset is called."""
        return "Average" if name == AVERAGE else self.titles.get(name, name)

    def narrowed(self, name: str, title: str) -> "Heading":
        """The heading of a grid that shows one part."""
        return dataclasses.replace(self, name=f"{self.name}-{name}", title=f"{self.title}, {title}")


def datasets_by_rows(sheet: Sheet, cell: CellOf, heading: Heading) -> Grid:
    """The average, then the datasets; all columns of a method stand together."""
    rows = [
        [Cell(heading.dataset(dataset)), *(cell((m, dataset, c)) for m in sheet.methods for c in sheet.columns)]
        for dataset in (AVERAGE, *sheet.datasets)
    ]
    return Grid(
        name=heading.name,
        caption=heading.caption,
        explained=heading.explained,
        columns=["dataset", *(title for _ in sheet.methods for title in sheet.columns.values())],
        groups=[(method_title(method), len(sheet.columns)) for method in sheet.methods],
        rows=rows,
        ruled=1,
    )


def methods_by_rows(sheet: Sheet, cell: CellOf, heading: Heading, places: Mapping[tuple[str, str], str]) -> Grid:
    """A row a method; `places` is (dataset, column) to the heading above it."""
    return Grid(
        name=heading.name,
        caption=heading.caption,
        explained=heading.explained,
        columns=["method", *places.values()],
        rows=[[Cell(method_title(m)), *(cell((m, *place)) for place in places)] for m in sheet.methods],
    )


def seeds_by_columns(sheet: Sheet, method: str, marks: Mapping[tuple, str], heading: Heading) -> Grid:
    """Each seed's values of one method; `marks` is (key, seed) to what is set behind a value that stands out."""
    seeds = sorted({seed for key, runs in sheet.seeds.items() if key[0] == method for seed in runs})

    def cell(dataset: str, column: str, seed: int) -> Cell:
        key = (method, dataset, column)
        value = sheet.seeds.get(key, {}).get(seed)
        return Cell(ABSENT) if value is None else Cell(f"{value:.2f}{marks.get((key, seed), '')}", value=value)

    rows = [
        [Cell(heading.dataset(dataset)), *(cell(dataset, column, s) for column in sheet.columns for s in seeds)]
        for dataset in (AVERAGE, *sheet.datasets)
    ]
    return Grid(
        name=heading.name,
        caption=heading.caption,
        explained=heading.explained,
        columns=["dataset", *(f"seed {seed}" for _ in sheet.columns for seed in seeds)],
        groups=[(title, len(seeds)) for title in sheet.columns.values()],
        rows=rows,
        ruled=1,
    )
