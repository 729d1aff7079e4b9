"""Plot accuracy against training time: one panel per protocol, one marker per method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmark.records.metrics import harmonic_mean, mean
from benchmark.records.record import RunRecord
from tables.aggregate import in_order, method_title
from tables.figures import curves, gains, targets
from tables.figures.drawing import (
    WIDTH,
    Drawing,
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

TITLES = {"base2new": "Base-to-new", "few_shot": "Few-shot", "cross_dataset": "Cross-dataset",
          "domain_generalization": "Domain generalization"}  # fmt: skip
READING = (
    "Training seconds of one run, the mean over datasets and seeds, on a logarithmic axis; seeds that were trained "
    "together share their time equally. Upper left is better. The dashed line is CLIP without training."
)


@dataclass(frozen=True)
class Panel:
    """One protocol: its vertical axis, the accuracy of each method, and the seconds of methods that train."""

    protocol: str
    measure: str
    accuracy: Mapping[str, float]
    seconds: Mapping[str, float]


def draw(groups: Mapping[str, Sequence[RunRecord]], options: TableOptions) -> list[Drawing]:
    """The figure `accuracy_seconds`; no figure if no protocol has training times.

    Args:
        groups: protocol to its records.
    """
    panels = [panel for protocol, records in groups.items() for panel in panels_of(protocol, records)]
    timed = [panel for panel in panels if panel.seconds]
    if not timed:
        return []
    parts = [READING]
    for panel in timed:
        without = [method_title(m) for m in in_order(panel.accuracy) if m not in panel.seconds and m != "zero_shot"]
        parts += [f"{TITLES[panel.protocol]}: no training time of {', '.join(without)}."] if without else []
        if panel.protocol in ("base2new", "few_shot") and (text := describe_average(groups[panel.protocol], options)):
            parts.append(f"{TITLES[panel.protocol]}: {text[0].lower()}{text[1:]}")
    drawn = {panel.protocol: groups[panel.protocol] for panel in timed}
    records = [record for own in drawn.values() for record in own]
    parts.append(f"Trained on {' and '.join(sorted({_machine(r) for r in records if r.training}))}.")
    absent = {TITLES[protocol]: describe_missing(own, options) for protocol, own in drawn.items()}
    missing = " ".join(f"{title}: {text[0].lower()}{text[1:]}" for title, text in absent.items() if text)
    caption = make_caption(
        "Accuracy against training time.", records, reading=" ".join(parts), missing=missing, note=options.note
    )
    return [Drawing("accuracy_seconds", caption, lambda: _plot(timed))]


def panels_of(protocol: str, records: Sequence[RunRecord]) -> list[Panel]:
    """The panel of a protocol; one per source for a transfer; none without a dataset that all methods have."""
    if protocol in targets.HEADS:
        panels = []
        for source in datasets_of(records):
            own = [record for record in records if record.spec.dataset == source]
            rows = targets.rows_of(own)
            values = rows.get(targets.AVERAGE) or list(rows.values())[-1]
            accuracy = {method: value.mean for method, value in values.items()}
            panels.append(Panel(protocol, "mean accuracy of targets (%)", accuracy, _seconds(own, [source])))
        return panels
    if protocol == "few_shot":
        most = max(record.spec.shots for record in records)
        at_most = [record for record in records if record.spec.shots == most or record.learns_nothing]
        shared = shared_datasets(at_most)
        averages = {
            method: values[max(values)].mean
            for (method, name), values in curves.curves_of(at_most).items()
            if name == curves.AVERAGE
        }
        return [Panel(protocol, f"accuracy at {most} shots (%)", averages, _seconds(at_most, shared))]
    shared = shared_datasets(records)
    if not shared:
        return []
    accuracy = {}
    for method, pairs in gains.points_of(records).items():
        base, new = (mean([pairs[name][half] for name in shared]) for half in (0, 1))
        accuracy[method] = harmonic_mean(base, new)
    return [Panel(protocol, "H of average base and new (%)", accuracy, _seconds(records, shared))]


def _seconds(records: Sequence[RunRecord], datasets: Sequence[str]) -> dict[str, float]:
    """Method to the mean seconds of its runs on these datasets; runs without a recorded time are left out."""
    times: dict[str, list[float]] = {}
    for record in records:
        seconds = record.training.get("seconds")
        if record.spec.dataset in datasets and isinstance(seconds, (int, float)) and seconds > 0:
            times.setdefault(record.spec.method, []).append(seconds)
    return {method: mean(values) for method, values in times.items()}


def _machine(record: RunRecord) -> str:
    """The device; for a CPU also its name."""
    device, machine = record.provenance.get("device"), record.provenance.get("machine") or {}
    if device == "cpu" and machine.get("processor"):
        return f"CPU ({machine['processor']})"
    return str(device or "an unknown device")


def _plot(panels: Sequence[Panel]) -> Figure:
    methods = in_order({method for panel in panels for method in panel.accuracy})
    columns = min(2, len(panels))
    figure, grid = new_panels(len(panels), columns, 2.3, 0.4, WIDTH if columns > 1 else 0.62 * WIDTH)
    for axes, panel in zip(grid, panels, strict=True):
        _panel(axes, panel, methods)
    add_legend(figure, grid, order=[method_title(method) for method in methods])
    return figure


def _panel(axes: Axes, panel: Panel, methods: Sequence[str]) -> None:
    for method in in_order(panel.accuracy):
        look = line_style(method, methods)
        if method in panel.seconds:
            where = panel.seconds[method], panel.accuracy[method]
            axes.plot(*where, label=method_title(method), **look | {"linestyle": "none", "markersize": 7})
        elif method == "zero_shot":
            axes.axhline(panel.accuracy[method], label=method_title(method), **look | {"marker": ""})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12, y=0.15)
    axes.set(xlabel="training seconds per run", ylabel=panel.measure, title=TITLES[panel.protocol])
