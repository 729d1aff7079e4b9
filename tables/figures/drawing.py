"""Define what all figures share: accuracies by seed, styles of methods, captions and reproducible rendering."""

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib import style as matplotlib_style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.records.record import RunRecord
from tables.aggregate import (
    METHOD_ORDER,
    caveats,
    commits,
    in_order,
    method_title,
    method_titles,
    seeds_of,
    untrained_methods,
)
from tables.rendering.options import TableOptions
from tables.statistics import one_class_note

WIDTH = 7.0  # inches; the text width of a two-column page, so that fonts keep their sizes in print
CAPTION_SIZE = 6.0  # points
NAMED_GAPS = 4  # most datasets with missing runs that a caption names per method; else it gives their number
STYLE = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 7, "axes.titlesize": 7.5,
    "axes.labelsize": 7, "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "legend.fontsize": 7, "axes.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#e2e2e2", "grid.linewidth": 0.5, "lines.linewidth": 1.1, "lines.markersize": 4,
    "legend.frameon": False, "legend.handlelength": 2.8, "hatch.linewidth": 0.5, "savefig.dpi": 200,
    "svg.fonttype": "none",  # keep text as text
    "text.parse_math": False,  # names may contain dollar signs
}  # fmt: skip

Cells = Mapping[tuple[str, str, str, int], Mapping[int, float]]


@dataclass(frozen=True)
class MethodStyle:
    """The look of a method in every figure; color, gray level, marker and line each distinguish it from others."""

    color: str
    shape: str
    line: object


# From black to light: CIE lightness 0, 24, 38, 52, 64, 73.
STYLES = {
    "zero_shot": MethodStyle("#000000", "x", (0, (4, 2))),
    "coop": MethodStyle("#2a2f7f", "o", "-"),
    "copl": MethodStyle("#b2182b", "D", "-"),
    "cocoop": MethodStyle("#3a7fc1", "s", (0, (5, 1))),
    "kgcoop": MethodStyle("#3fae7c", "^", (0, (3, 1, 1, 1))),
    "prograd": MethodStyle("#e6a63a", "v", (0, (1, 1))),
}
# Other methods have hollow markers. The lists differ in length, so that the first 30 combinations are distinct.
OTHER_COLORS = ("#7d3fb2", "#00838f", "#8a5a1c", "#d6408b", "#6b7a00", "#5d6d7e")
OTHER_SHAPES = "P<>hpd*XH8"
OTHER_LINES = ((0, (6, 1, 1, 1)), (0, (2, 1)), (0, (4, 1.5)), (0, (8, 1.5)), (0, (1, 1.5, 3, 1.5)))


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Attributes:
        name: the stem of its files.
        caption: one paragraph without markup.
        plot: makes the figure; called under the common style, once per file.
    """

    name: str
    caption: str
    plot: Callable[[], Figure]

    def svg(self, *, captioned: bool = False) -> str:
        """An SVG document with text as text; `captioned` adds the caption below the figure."""
        return self._render("svg", {"Date": None, "Description": self.caption}, captioned).decode()

    def png(self, *, captioned: bool = False) -> bytes:
        """A PNG at 200 dots per inch."""
        return self._render("png", {"Description": self.caption}, captioned)

    def _render(self, kind: str, metadata: Mapping[str, str | None], captioned: bool) -> bytes:
        # The salt makes the ids of an SVG reproducible, and distinct for two figures of one page.
        with matplotlib_style.context(["default", STYLE | {"svg.hashsalt": self.name}]):
            figure = self.plot()
            if captioned:
                _write_below(figure, self.caption)
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
        return buffer.getvalue()


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure with sizes in inches and constrained layout, independent of pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.06)
    return figure


def new_panels(
    count: int, columns: int, panel_height: float, margin: float, width: float = WIDTH, **shared: bool
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows of `columns`; sizes are in inches."""
    rows = math.ceil(count / columns)
    figure = new_figure(panel_height * rows + margin, width)
    grid = figure.subplots(rows, columns, squeeze=False, **shared).flat
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, list(grid[:count])


def add_legend(figure: Figure, panels: Iterable[Axes], order: Iterable[str] | None = None) -> None:
    """Add a legend of all panels above them, in as many rows as the width requires."""
    entries: dict[str, object] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    entries = {label: entries[label] for label in order or entries if label in entries}
    rows = math.ceil(len(entries) / max(1, int(figure.get_figwidth())))
    columns = math.ceil(len(entries) / rows)
    figure.legend(list(entries.values()), list(entries), loc="outside upper center", ncols=columns)


def _write_below(figure: Figure, caption: str) -> None:
    """Add the caption below the panels, which keep their size."""
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(caption, int(width * 72 / (0.57 * CAPTION_SIZE)))
    margin = (1.35 * CAPTION_SIZE * len(lines) + 6) / 72
    figure.set_figheight(height + margin)
    figure.get_layout_engine().set(rect=(0, margin / (height + margin), 1, height / (height + margin)))
    below = {"fontsize": CAPTION_SIZE, "va": "bottom", "linespacing": 1.25, "color": "#333333"}
    figure.text(0.01, 3 / 72 / (height + margin), "\n".join(lines), **below)


def style_of(method: str, methods: Iterable[str]) -> MethodStyle:
    """The style of a method; that of a plugin depends on the other methods of the figure."""
    if method in STYLES:
        return STYLES[method]
    known = [name for name in in_order(method_titles()) if name not in STYLES]
    index = [*known, *(name for name in in_order(methods) if name not in (*STYLES, *known))].index(method)
    color, shape, line = (each[index % len(each)] for each in (OTHER_COLORS, OTHER_SHAPES, OTHER_LINES))
    return MethodStyle(color, shape, line)


def line_style(method: str, methods: Iterable[str]) -> dict[str, object]:
    """Keyword arguments of matplotlib for the curve or point of a method; CoPL is on top."""
    style, ours, hollow = style_of(method, methods), method == "copl", method not in STYLES
    edged = hollow or style.shape == "x"
    return {"color": style.color, "marker": style.shape, "linestyle": style.line, "linewidth": 1.6 if ours else 1.1,
            "zorder": 4 if ours else 3, "markerfacecolor": "white" if hollow else style.color,
            "markeredgecolor": style.color if edged else "white", "markeredgewidth": 1.0 if edged else 0.4}  # fmt: skip


def accuracies_of(records: Iterable[RunRecord]) -> Cells:
    """(method, dataset, class set, shots) to accuracy in percent by seed."""
    return seeds_of(records, lambda spec, class_set: (spec.dataset, class_set, spec.shots))


def datasets_of(records: Iterable[RunRecord]) -> list[str]:
    """Datasets in the order of their first record."""
    return list(dict.fromkeys(record.spec.dataset for record in records))


def shared_datasets(records: Sequence[RunRecord]) -> list[str]:
    """The datasets of averages: those on which each method has a run at every number of shots that it has anywhere."""
    runs = {(record.spec.method, record.spec.dataset, record.spec.shots) for record in records}
    wanted = {(method, shots) for method, _, shots in runs}
    return [name for name in datasets_of(records) if all((m, name, k) in runs for m, k in wanted)]


def describe_average(records: Sequence[RunRecord], options: TableOptions) -> str:
    """The sentence that names the datasets of averages."""
    datasets, shared = datasets_of(records), shared_datasets(records)
    if len(shared) == len(datasets):
        return f"Averages are over all {len(datasets)} datasets." if len(datasets) > 1 else ""
    if not shared:
        return "No dataset was measured with every method, so there is no average."
    left_out = ", ".join(options.title_of(name) for name in datasets if name not in shared)
    return f"Averages are over the {len(shared)} of {len(datasets)} datasets that every method has, without {left_out}."


def make_caption(head: str, records: Sequence[RunRecord], *, reading: str, missing: str, note: str) -> str:
    """One paragraph: the head, how it was measured, how to read it, what is missing, the note of the suite."""
    first = records[0].spec
    shots, seeds = (sorted({getattr(record.spec, name) for record in records}) for name in ("shots", "seed"))
    measured = (
        f"Suite {first.suite}, backbone {first.backbone}, {first.precision}, {', '.join(map(str, shots))} "
        f"shot{_plural(shots[-1])}, seed{_plural(len(seeds))} {', '.join(map(str, seeds))}, "
        f"{len(records)} run{_plural(len(records))}, commit {', '.join(commits(records))}."
    )
    parts = (head, measured, one_class_note(records), caveats(records), reading, missing, note)
    return " ".join(part.strip() for part in parts if part)


def describe_missing(
    records: Sequence[RunRecord], options: TableOptions, *, wanted: Iterable[str] = METHOD_ORDER
) -> str:
    """Text about what is missing in records of one protocol: wanted methods without a run, and runs that others have.

    One run per dataset is complete for a method that learns nothing.
    """
    done: dict[tuple[str, str], set[tuple[int, int]]] = {}
    for record in records:
        spec = record.spec
        done.setdefault((spec.method, spec.dataset), set()).add((spec.shots, spec.seed))
    untrained = untrained_methods(records)
    expected = {run for (method, _), runs in done.items() for run in runs if method not in untrained}
    methods, datasets = in_order({method for method, _ in done}), datasets_of(records)
    sentences = []
    if unseen := [method_title(method) for method in wanted if method not in methods]:
        sentences.append(f"Not measured: {', '.join(unseen)}.")
    gaps = []
    for method in methods:
        complete = 1 if method in untrained else len(expected)
        counts = {name: len(done.get((method, name), ())) for name in datasets}
        absent = {name: complete - count for name, count in counts.items() if count < complete}
        if len(absent) > NAMED_GAPS:
            gaps.append(f"{method_title(method)} {sum(absent.values())} runs on {len(absent)} datasets")
            continue
        for name, count in absent.items():
            gaps.append(f"{method_title(method)} {count} of {complete} runs on {options.title_of(name)}")
    return " ".join([*sentences, *([f"Missing: {'; '.join(gaps)}."] if gaps else [])])


def _plural(count: int) -> str:
    return "" if count == 1 else "s"
