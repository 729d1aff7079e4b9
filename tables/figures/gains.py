"""Plot base-to-new figures: the gain of CoPL on new classes per dataset, and base against new for every method."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from benchmark.records.metrics import mean
from benchmark.records.record import RunRecord
from tables.aggregate import Value, in_order, method_title, values_over_seeds
from tables.figures.drawing import (
    WIDTH,
    Drawing,
    accuracies_of,
    datasets_of,
    describe_average,
    describe_missing,
    line_style,
    make_caption,
    new_figure,
    new_panels,
    shared_datasets,
)
from tables.rendering.options import TableOptions

OURS, BASELINES = "copl", ("coop", "cocoop")  # the paper's chart
GAIN_READING = (
    "Accuracy on new classes, CoPL minus the other method, in points; mean over the seeds that both have, whiskers are "
    "the sample standard deviation of the difference. Sorted; dark: CoPL is ahead, hatched: behind."
)
SCATTER_READING = (
    "Each small marker is a dataset, the large one their mean; below the diagonal, accuracy on new classes is lower "
    "than on the base classes of the training."
)

Point = tuple[float, float]  # accuracy on base and on new classes
Gains = Mapping[str, Mapping[str, Value]]  # baseline to dataset to the gain over it


def draw(records: Sequence[RunRecord], options: TableOptions) -> list[Drawing]:
    """The figures `base2new_gain`, if there are runs of CoPL and of a baseline, and `base2new_scatter`."""
    measured = {record.spec.method for record in records}
    baselines = [name for name in BASELINES if name in measured and OURS in measured]
    drawings = []
    if baselines:
        compared = [record for record in records if record.spec.method in (OURS, *BASELINES)]
        gains = {baseline: gains_over(compared, baseline) for baseline in baselines}
        reading = f"{GAIN_READING} {_average_reading(datasets_of(records), gains, options)}"
        head = f"Gain of CoPL on new classes over {' and '.join(map(method_title, baselines))}."
        missing = describe_missing(compared, options, wanted=(OURS, *BASELINES))
        caption = make_caption(head, compared, reading=reading, missing=missing, note=options.note)
        drawings.append(Drawing("base2new_gain", caption, lambda: _plot_gains(gains, options)))
    reading = f"{SCATTER_READING} {describe_average(records, options)}"
    if not baselines:
        reading += " There is no chart of CoPL's gain: it needs runs of CoPL and of CoOp or CoCoOp."
    head, missing = "Base against new classes, accuracy in percent.", describe_missing(records, options)
    caption = make_caption(head, records, reading=reading, missing=missing, note=options.note)
    points, shared = points_of(records), shared_datasets(records)
    return [*drawings, Drawing("base2new_scatter", caption, lambda: _plot_scatter(points, shared))]


def gains_over(records: Sequence[RunRecord], baseline: str) -> dict[str, Value]:
    """Dataset to the gain of CoPL on new classes, paired by seed; datasets without a common seed are left out."""
    cells = {key[:3]: by_seed for key, by_seed in accuracies_of(records).items()}
    gains = {}
    for name in datasets_of(records):
        own, other = (cells.get((method, name, "new"), {}) for method in (OURS, baseline))
        if seeds := sorted(own.keys() & other.keys()):
            gains[name] = values_over_seeds([own[seed] - other[seed] for seed in seeds], len(own))
    return gains


def points_of(records: Sequence[RunRecord]) -> dict[str, dict[str, Point]]:
    """Method to dataset to its mean accuracy on base and on new classes."""
    points: dict[str, dict[str, Point]] = {}
    cells = {key[:3]: by_seed for key, by_seed in accuracies_of(records).items()}
    for method, name, _ in cells:
        base, new = (mean(list(cells[method, name, half].values())) for half in ("base", "new"))
        points.setdefault(method, {})[name] = (base, new)
    return points


def _average_reading(datasets: Sequence[str], gains: Gains, options: TableOptions) -> str:
    """The sentence on datasets that the average bars leave out; "" if there are none."""
    parts = []
    for baseline, over in gains.items():
        if left_out := [options.title_of(name) for name in datasets if name not in over]:
            parts.append(f"{method_title(baseline)} and CoPL have no common run on {', '.join(left_out)}.")
    return " ".join(parts)


def _plot_gains(gains: Gains, options: TableOptions) -> Figure:
    rows = max(map(len, gains.values())) + 1
    figure = new_figure(0.5 + 0.19 * rows, WIDTH if len(gains) > 1 else WIDTH / 2)
    figure.get_layout_engine().set(w_pad=0.12)
    for axes, (baseline, over) in zip(figure.subplots(1, len(gains), squeeze=False).flat, gains.items(), strict=True):
        bars = {options.title_of(name): (gain.mean, gain.std or 0.0) for name, gain in over.items()}
        if len(over) > 1:
            bars["Average"] = (mean([gain.mean for gain in over.values()]), 0.0)
        _bars(axes, dict(sorted(bars.items(), key=lambda bar: bar[1][0])))
        axes.set_title(f"CoPL over {method_title(baseline)}, new classes")
        axes.set_xlabel("gain (points)")
    return figure


def _bars(axes: Axes, bars: Mapping[str, tuple[float, float]]) -> None:
    """Draw horizontal bars, the last on top, with their numbers at the right; the average has a thick edge."""
    for place, (name, (gain, spread)) in enumerate(bars.items()):
        look = {"facecolor": "#444444"} if gain >= 0 else {"facecolor": "white", "hatch": "//////"}
        edge = 1.4 if name == "Average" else 0.6
        axes.barh(place, gain, height=0.68, edgecolor="black", linewidth=edge, **look)
        if spread:
            axes.errorbar(gain, place, xerr=spread, color="#888888", elinewidth=0.8, capsize=1.5, capthick=0.8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.grid(False, axis="y")
    numbers = axes.secondary_yaxis("right")
    numbers.set_yticks(range(len(bars)), [f"{gain:+.2f}".replace("-", "−") for gain, _ in bars.values()])
    for side in (axes, numbers):
        side.tick_params(axis="y", length=0)
        for label, name in zip(side.get_yticklabels(), bars, strict=True):
            label.set_weight("bold" if name == "Average" else "normal")
    numbers.spines["right"].set_visible(False)


def _plot_scatter(points: Mapping[str, Mapping[str, Point]], shared: Sequence[str]) -> Figure:
    methods = in_order(points)
    widest = 3 if len(methods) <= 6 else 4
    columns = min(widest, len(methods))
    figure, grid = new_panels(
        len(methods), columns, WIDTH / widest, 0.15, WIDTH * columns / widest, sharex=True, sharey=True
    )
    lowest = min(min(pair) for of in points.values() for pair in of.values())
    low = 10 * math.floor(max(0.0, lowest - 3) / 10)
    for number, (axes, method) in enumerate(zip(grid, methods, strict=True)):
        look = line_style(method, methods) | {"linestyle": "none"}
        axes.plot([low, 100], [low, 100], color="#888888", linewidth=0.8, zorder=1)
        axes.plot(*zip(*points[method].values(), strict=True), **look | {"alpha": 0.75})
        title = method_title(method)
        if shared:
            base, new = (mean([points[method][name][half] for name in shared]) for half in (0, 1))
            edge = {"markeredgecolor": "black", "markeredgewidth": 1.8 if look["marker"] == "x" else 1.0}
            axes.plot(base, new, **look | edge | {"markersize": 9, "zorder": 5})
            title += f", mean {base:.1f} / {new:.1f}"
        axes.set_title(title)
        axes.set(xlim=(low, 101), ylim=(low, 101), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MultipleLocator(20))
        axes.tick_params(labelbottom=number + columns >= len(methods))
        axes.set_xlabel("base classes (%)" if number + columns >= len(methods) else "")
        axes.set_ylabel("" if number % columns else "new classes (%)")
    return figure
