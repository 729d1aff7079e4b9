"""Plot reliability diagrams: the accuracy of images against their confidence, one panel for each method."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from benchmark.records.record import RunRecord, Score
from tables.aggregate import TRANSFERS, in_order, method_title
from tables.figures.drawing import WIDTH, Drawing, describe_missing, line_style, make_caption, new_panels
from tables.metrics import METRICS, split_by
from tables.rendering.options import TableOptions

NAME = "reliability_"  # then the protocol
MOST_COLUMNS = 4
LARGEST = 60.0  # area of the marker of a bin that holds all images, in points squared
READING = (
    "Accuracy of the images in each of 15 equal-width bins of confidence against their mean confidence; below the "
    "diagonal, a method is too sure. The area of a marker is the share of images in the bin. Images of all datasets "
    "and seeds are pooled, so that a large test set weighs more than in the tables of the calibration error."
)

Bins = tuple[np.ndarray, np.ndarray, np.ndarray]  # images, correct ones and summed confidence, of each bin


def draw(records: Sequence[RunRecord], options: TableOptions) -> list[Drawing]:
    """The figure `reliability_<protocol>` of records of one protocol; none if no record holds confidences."""
    shown, lacking = split_by(records, METRICS["ece"])
    if not shown:
        return []
    shown = _at_most_shots(shown)
    protocol = shown[0].spec.protocol
    missing = describe_missing(shown, options, wanted=())
    missing += f" Left out: {len(lacking)} runs recorded without confidences." if lacking else ""
    head = f"Reliability diagrams, {protocol.replace('_', '-')}."
    caption = make_caption(head, shown, reading=READING, missing=missing, note=options.note)
    bins = bins_of(shown)
    return [Drawing(f"{NAME}{protocol}", caption, lambda: _plot(bins))]


def bins_of(records: Iterable[RunRecord]) -> dict[str, dict[str, Bins]]:
    """Method to group of class sets (base, new, all, source, targets) to its bins, summed over runs."""
    scores: dict[str, dict[str, list[Score]]] = {}
    for record in records:
        for class_set, score in record.scores.items():
            scores.setdefault(record.spec.method, {}).setdefault(_group(record, class_set), []).append(score)
    return {
        method: {
            group: tuple(
                np.sum([getattr(score.breakdown, f"bin_{part}") for score in found], axis=0)
                for part in ("totals", "correct", "confidence")
            )
            for group, found in groups.items()
        }
        for method, groups in scores.items()
    }


def _group(record: RunRecord, class_set: str) -> str:
    if record.spec.protocol not in TRANSFERS:
        return class_set
    return "source" if class_set == record.spec.dataset else "targets"


def _at_most_shots(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Of each method the runs with the most images per class, which are all runs but in few-shot."""
    most: dict[str, int] = {}
    for record in records:
        most[record.spec.method] = max(record.spec.shots, most.get(record.spec.method, 0))
    return [record for record in records if record.spec.shots == most[record.spec.method]]


def _plot(bins: Mapping[str, Mapping[str, Bins]]) -> Figure:
    methods = in_order(bins)
    columns = min(MOST_COLUMNS, len(methods))
    width = WIDTH / MOST_COLUMNS
    figure, panels = new_panels(len(methods), columns, width + 0.2, 0.15, width * columns, sharex=True, sharey=True)
    for number, (axes, method) in enumerate(zip(panels, methods, strict=True)):
        _panel(axes, bins[method], line_style(method, methods))
        lowest = number + columns >= len(methods)
        axes.set(title=method_title(method), xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal")
        axes.set(xlabel="confidence" if lowest else "", ylabel="" if number % columns else "accuracy")
        axes.tick_params(labelbottom=lowest)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MultipleLocator(0.25))
    return figure


def _panel(axes: Axes, groups: Mapping[str, Bins], look: Mapping[str, object]) -> None:
    """A line for each group: the first solid with full markers, the second dashed with hollow ones."""
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8, zorder=1)
    for number, (group, (totals, correct, confidence)) in enumerate(groups.items()):
        held = totals > 0
        x, y = confidence[held] / totals[held], correct[held] / totals[held]
        color, hollow = look["color"], number > 0
        axes.plot(x, y, color=color, linewidth=0.9, linestyle=(0, (3, 1.5)) if hollow else "-", zorder=3)
        axes.scatter(x, y, s=2 + LARGEST * totals[held] / totals.sum(), marker="o", zorder=4, label=group,
                     facecolor="white" if hollow else color, edgecolor=color, linewidth=0.8)  # fmt: skip
    axes.legend(loc="upper left", fontsize=6, handlelength=1.0, borderpad=0.2)
