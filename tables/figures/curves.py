"""Plot few-shot curves: accuracy against training images per class, the average over datasets first."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.records.metrics import mean
from benchmark.records.record import RunRecord
from tables.aggregate import AVERAGE, Value, in_order, method_title, untrained_methods, values_over_seeds
from tables.figures.drawing import (
    Drawing,
    accuracies_of,
    add_legend,
    datasets_of,
    describe_average,
    describe_missing,
    line_style,
    make_caption,
    new_panels,
    shared_datasets,
)
from tables.rendering.options import TableOptions

COLUMNS = 4
PANEL_HEIGHT = 1.45  # inches
READING = (
    "Accuracy in percent on all classes, mean over seeds; error bars are the sample standard deviation over seeds, and "
    "the dashed line is CLIP without training."
)

Curves = Mapping[tuple[str, str], Mapping[int, Value]]


def draw(records: Sequence[RunRecord], options: TableOptions) -> list[Drawing]:
    """The figure `few_shot`: a panel for the average, if there are several datasets, and one per dataset."""
    reading, missing = f"{READING} {describe_average(records, options)}", describe_missing(records, options)
    caption = make_caption("Few-shot learning.", records, reading=reading, missing=missing, note=options.note)
    return [Drawing("few_shot", caption, lambda: _plot(records, options))]


def curves_of(records: Sequence[RunRecord]) -> Curves:
    """(method, dataset or AVERAGE) to value by number of shots.

    The average is over the datasets that every method has, its deviation over the seeds that all of these have; if
    there is no such seed, the average has no deviation.
    """
    shared, curves = shared_datasets(records), {}
    cells = {(method, name, shots): by_seed for (method, name, _, shots), by_seed in accuracies_of(records).items()}
    for (method, name, shots), by_seed in cells.items():
        curves.setdefault((method, name), {})[shots] = values_over_seeds(list(by_seed.values()), len(by_seed))
    for method, shots in sorted({(method, shots) for method, _, shots in cells}) if shared else []:
        parts = [cells[method, name, shots] for name in shared]
        seeds = sorted(set.intersection(*(set(part) for part in parts)))
        each = [mean([part[seed] for part in parts]) for seed in seeds]
        middle = mean([mean(list(part.values())) for part in parts])
        spread = values_over_seeds(each, len(each)).std if each else None
        curves.setdefault((method, AVERAGE), {})[shots] = Value(middle, spread, len(seeds), len(seeds))
    return curves


def _plot(records: Sequence[RunRecord], options: TableOptions) -> Figure:
    curves = curves_of(records)
    datasets, methods = datasets_of(records), in_order(record.spec.method for record in records)
    untrained = untrained_methods(records)
    shots = sorted({record.spec.shots for record in records})
    panels = [*([AVERAGE] if len(datasets) > 1 and shared_datasets(records) else []), *datasets]
    columns = min(COLUMNS, len(panels))
    figure, grid = new_panels(len(panels), columns, PANEL_HEIGHT, 0.45, sharex=True)
    for number, (axes, panel) in enumerate(zip(grid, panels, strict=True)):
        _panel(axes, {method: curves.get((method, panel), {}) for method in methods}, untrained)
        axes.set_title(options.title_of(panel), **({"weight": "bold"} if panel == AVERAGE else {}))
        axes.set_xscale("log", base=2)
        axes.set_xticks(shots, [str(k) for k in shots])
        axes.minorticks_off()
        lowest = number + columns >= len(panels)
        axes.tick_params(labelbottom=lowest)
        axes.set(xlabel="images per class" if lowest else "", ylabel="" if number % columns else "accuracy (%)")
    add_legend(figure, grid[:1])
    return figure


def _panel(axes: Axes, curves: Mapping[str, Mapping[int, Value]], untrained: set[str]) -> None:
    """Plot the curves of one dataset; empty curves too, since the legend is that of the first panel."""
    for method, values in curves.items():
        look = line_style(method, curves)
        if method in untrained:
            look |= {"marker": ""}
            levels = [value.mean for value in values.values()]
            axes.axhline(mean(levels) if levels else math.nan, label=method_title(method), **look)
            continue
        shots = sorted(values)
        spread = [values[k].std or 0.0 for k in shots]
        axes.errorbar(
            shots, [values[k].mean for k in shots], spread, label=method_title(method), elinewidth=0.7, capsize=1.5,
            capthick=0.7, **look,
        )  # fmt: skip
