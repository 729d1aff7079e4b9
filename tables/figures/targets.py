"""Plot transfer figures: accuracy on the source and each target, one row per dataset, one marker per method."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmark.records.metrics import mean
from benchmark.records.record import RunRecord
from tables.aggregate import Value, in_order, method_title, values_over_seeds
from tables.figures.drawing import (
    Drawing,
    accuracies_of,
    add_legend,
    datasets_of,
    describe_missing,
    line_style,
    make_caption,
    new_figure,
)
from tables.rendering.options import TableOptions

HEADS = {"cross_dataset": "Cross-dataset transfer", "domain_generalization": "Domain generalization"}
AVERAGE = "average of targets"
ZERO = "zero_shot"
READING = (
    "Mean over seeds; error bars are the sample standard deviation over seeds. If CLIP without training was "
    "measured, the axis is the accuracy minus that of CLIP, which is given with the name of the dataset."
)


def draw(records: Sequence[RunRecord], options: TableOptions) -> list[Drawing]:
    """One figure per source, named after the protocol, and after the source too if there are several."""
    protocol, sources = records[0].spec.protocol, datasets_of(records)
    drawings = []
    for source in sources:
        own = [record for record in records if record.spec.dataset == source]
        head = f"{HEADS[protocol]}: trained on {options.title_of(source)}, scored on all."
        caption = make_caption(head, own, reading=READING, missing=describe_missing(own, options), note=options.note)
        name = protocol if len(sources) == 1 else f"{protocol}_{source}"
        drawings.append(Drawing(name, caption, lambda own=own: _plot(own, options)))
    return drawings


def rows_of(records: Sequence[RunRecord]) -> dict[str, dict[str, Value]]:
    """For records of one source: source, targets, then AVERAGE, to value by method.

    AVERAGE has only methods with all targets.
    """
    source, rows = records[0].spec.dataset, {}
    scored = list(dict.fromkeys(name for record in records for name in record.scores))
    cells = accuracies_of(records)
    for name in sorted(scored, key=lambda name: name != source):
        rows[name] = {
            method: values_over_seeds(list(by_seed.values()), len(by_seed))
            for (method, _, class_set, _), by_seed in cells.items()
            if class_set == name
        }
    targets = [name for name in scored if name != source]
    if len(targets) > 1:
        rows[AVERAGE] = {}
        for method in rows[source]:
            own = [record for record in records if record.spec.method == method]
            if all(record.scores.keys() >= set(targets) for record in own):
                by_seed = accuracies_of(own)
                each = [mean([by_seed[method, source, t, r.spec.shots][r.spec.seed] for t in targets]) for r in own]
                rows[AVERAGE][method] = values_over_seeds(each, len(each))
    return rows


def _plot(records: Sequence[RunRecord], options: TableOptions) -> Figure:
    rows, source = rows_of(records), records[0].spec.dataset
    methods = in_order(record.spec.method for record in records)
    origin = {name: values[ZERO].mean for name, values in rows.items() if ZERO in values}
    relative = len(origin) == len(rows)
    drawn = [method for method in methods if not (relative and method == ZERO)]
    figure = new_figure(0.9 + max(0.42, 0.07 * len(drawn)) * len(rows))
    axes = figure.subplots()
    for place, method in enumerate(drawn):
        shift = 0.7 * ((place + 0.5) / len(drawn) - 0.5)  # methods of a row are below one another
        present = [(number, name, rows[name][method]) for number, name in enumerate(rows) if method in rows[name]]
        axes.errorbar(
            [value.mean - (origin[name] if relative else 0.0) for _, name, value in present],
            [number + shift for number, _, _ in present],
            xerr=[value.std or 0.0 for _, _, value in present], label=method_title(method), elinewidth=0.7, capsize=1.5,
            capthick=0.7, **line_style(method, methods) | {"linestyle": "none"},
        )  # fmt: skip
    for number in range(1, len(rows)):
        axes.axhline(number - 0.5, color="black" if number == 1 else "#cccccc", linewidth=0.8 if number == 1 else 0.5)
    if relative:
        axes.axvline(0, **line_style(ZERO, methods) | {"marker": "", "label": method_title(ZERO)})
    labels = [
        options.title_of(name)
        + (" (source)" if name == source else "")
        + (f"\n{method_title(ZERO)} {origin[name]:.1f}" if relative else "")
        for name in rows
    ]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set_xlabel("accuracy minus that of zero-shot CLIP (points)" if relative else "accuracy (%)")
    add_legend(figure, [axes])
    return figure
