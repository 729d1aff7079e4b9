"""Make the base-to-new table: a row per dataset, the columns base, new and H per method."""

import dataclasses
from collections.abc import Sequence

from benchmark.common.config import RunSpec
from benchmark.records.metrics import harmonic_mean, sample_std
from benchmark.records.record import RunRecord
from tables.aggregate import AVERAGE, Sheet, Value, make_sheet, planned_of, seeds_of
from tables.metrics import ACCURACY, Metric
from tables.published import published_base2new
from tables.rendering.arrange import datasets_by_rows
from tables.rendering.cells import reading
from tables.rendering.table import Table

COLUMNS = {"base": "base", "new": "new", "h": "H"}
H = "; H is the harmonic mean of the base and new shown, in the first row of their averages"


def explained(metric: Metric) -> str:
    """How to read the table."""
    return f"{metric.what}, mean over seeds{H if metric.harmonic else ''}. Best in bold. {reading(metric)}"


def make_sheet_of_halves(records: Sequence[RunRecord], specs: Sequence[RunSpec], metric: Metric = ACCURACY) -> Sheet:
    """Base and new as measured, and of accuracies their harmonic mean H; its deviation is over the H of each seed."""
    datasets = list(dict.fromkeys(spec.dataset for spec in specs))
    sheet = make_sheet(
        seeds_of(records, _place, metric),
        planned_of(specs, lambda spec: ("base", "new"), _place),
        methods=(spec.method for spec in specs),
        datasets=datasets,
        averaged=datasets,
        columns={name: title for name, title in COLUMNS.items() if name != "h" or metric.harmonic},
        metric=metric,
    )
    if not metric.harmonic:
        return sheet
    seeds, values, planned = dict(sheet.seeds), dict(sheet.values), dict(sheet.planned)
    for method in sheet.methods:
        for dataset in (AVERAGE, *datasets):
            base, new, key = ((method, dataset, column) for column in COLUMNS)
            if base not in values or new not in values:
                continue
            both = [seed for seed in seeds[base] if seed in seeds[new]]
            seeds[key] = {seed: harmonic_mean(seeds[base][seed], seeds[new][seed]) for seed in both}
            combined = harmonic_mean(values[base].mean, values[new].mean)
            spread = sample_std(list(seeds[key].values())) if values[base].std is not None else None
            values[key] = Value(combined, spread, values[base].count, values[base].planned)
            planned[key] = planned[base]
    return dataclasses.replace(sheet, seeds=seeds, values=values, planned=planned)


def _place(spec: RunSpec, class_set: str) -> tuple[str, str]:
    return spec.dataset, class_set


TABLE = Table(
    protocol="base2new",
    title="Base-to-new",
    explained=explained,
    place=_place,
    sheet=make_sheet_of_halves,
    arrange=lambda sheet, cell, heading: [datasets_by_rows(sheet, cell, heading)],
    published=lambda spec, sheet: published_base2new(spec),
)
grids = TABLE.grids
