"""What all figures share: numbers by seed, marks that stay apart in grey, captions, and the same bytes each time."""

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib import style
from matplotlib.figure import Figure

from benchmark.records.metrics import accuracy_percent
from benchmark.records.record import RunRecord
from tables.aggregate import METHOD_ORDER, commits, in_order, loaded_note, method_title, method_titles, without_learning

WIDTH = 7.0  # inches: a text block of two columns, so that text prints at the size given here
CAPTION_SIZE = 6.0  # points
NAMED_GAPS = 4  # datasets with missing runs that a caption names for a method; of more it gives the number
STYLE = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 7, "axes.titlesize": 7.5,
    "axes.labelsize": 7, "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "legend.fontsize": 7, "axes.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#e2e2e2", "grid.linewidth": 0.5, "lines.linewidth": 1.1, "lines.markersize": 4,
    "legend.frameon": False, "legend.handlelength": 2.8, "hatch.linewidth": 0.5, "savefig.dpi": 200,
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a name with two dollar signs is a name
}  # fmt: skip

Cells = Mapping[tuple[str, str, str, int], Mapping[int, float]]


@dataclass(frozen=True)
class Mark:
    """How a method looks in every figure: apart from the others by colour, by grey level, by shape and by line."""

    colour: str
    shape: str
    line: object


# From black to light: CIE lightness 0, 24, 38, 52, 64, 73.
MARKS = {
    "zero_shot": Mark("#000000", "x", (0, (4, 2))),
    "coop": Mark("#2a2f7f", "o", "-"),
    "copl": Mark("#b2182b", "D", "-"),
    "cocoop": Mark("#3a7fc1", "s", (0, (5, 1))),
    "kgcoop": Mark("#3fae7c", "^", (0, (3, 1, 1, 1))),
    "prograd": Mark("#e6a63a", "v", (0, (1, 1))),
}
# Those of other methods are hollow. The lists are of different lengths, so that no two of the first 30 look alike.
OTHER_COLOURS = ("#7d3fb2", "#00838f", "#8a5a1c", "#d6408b", "#6b7a00", "#5d6d7e")
OTHER_SHAPES = "P<>hpd*XH8"
OTHER_LINES = ((0, (6, 1, 1, 1)), (0, (2, 1)), (0, (4, 1.5)), (0, (8, 1.5)), (0, (1, 1.5, 3, 1.5)))


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Attributes:
        name: the stem of its files.
        caption: one paragraph without markup: what is shown, from what, what is missing, the suite's note.
        paint: makes the figure; called under the common style, for each file anew.
    """

    name: str
    caption: str
    paint: Callable[[], Figure]

    def svg(self, *, captioned: bool = False) -> str:
        """An SVG document whose text is text; with the caption inside the picture where it must stand on its own."""
        return self._render("svg", {"Date": None, "Description": self.caption}, captioned).decode()

    def png(self, *, captioned: bool = False) -> bytes:
        """A PNG at 200 dots an inch."""
        return self._render("png", {"Description": self.caption}, captioned)

    def _render(self, kind: str, metadata: Mapping[str, str | None], captioned: bool) -> bytes:
        # The salt makes the ids of an SVG a function of its content; the name keeps those of two figures apart where
        # both stand in one page.
        with style.context(["default", STYLE | {"svg.hashsalt": self.name}]):
            figure = self.paint()
            if captioned:
                _write_below(figure, self.caption)
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
        return buffer.getvalue()


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, in inches, that keeps its texts apart; it belongs to no window and no global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.06)
    return figure


def add_legend(figure: Figure, entries: Mapping[str, object]) -> None:
    """Titles and their lines above the panels, in as many rows as the width needs."""
    rows = math.ceil(len(entries) / max(1, int(figure.get_figwidth())))
    columns = math.ceil(len(entries) / rows)
    figure.legend(list(entries.values()), list(entries), loc="outside upper center", ncols=columns)


def _write_below(figure: Figure, caption: str) -> None:
    """Add the caption under what is drawn, which keeps its size."""
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(caption, int(width * 72 / (0.57 * CAPTION_SIZE)))
    margin = (1.35 * CAPTION_SIZE * len(lines) + 6) / 72
    figure.set_figheight(height + margin)
    figure.get_layout_engine().set(rect=(0, margin / (height + margin), 1, height / (height + margin)))
    below = {"fontsize": CAPTION_SIZE, "va": "bottom", "linespacing": 1.25, "color": "#333333"}
    figure.text(0.01, 3 / 72 / (height + margin), "\n".join(lines), **below)


def mark_of(method: str, methods: Iterable[str]) -> Mark:
    """The mark of a method among those of a figure: of this repository's the same in every one, then of others."""
    if method in MARKS:
        return MARKS[method]
    known = [name for name in in_order(method_titles()) if name not in MARKS]
    place = [*known, *(name for name in in_order(methods) if name not in (*MARKS, *known))].index(method)
    colour, shape, line = (each[place % len(each)] for each in (OTHER_COLOURS, OTHER_SHAPES, OTHER_LINES))
    return Mark(colour, shape, line)


def line_style(method: str, methods: Iterable[str]) -> dict[str, object]:
    """The keywords that draw a method's curve or point, CoPL's on top of the others."""
    mark, ours, hollow = mark_of(method, methods), method == "copl", method not in MARKS
    edged = hollow or mark.shape == "x"
    return {"color": mark.colour, "marker": mark.shape, "linestyle": mark.line, "linewidth": 1.6 if ours else 1.1,
            "zorder": 4 if ours else 3, "markerfacecolor": "white" if hollow else mark.colour,
            "markeredgecolor": mark.colour if edged else "white", "markeredgewidth": 1.0 if edged else 0.4}  # fmt: skip


def cells_of(records: Iterable[RunRecord]) -> Cells:
    """(method, dataset, class set, shots) to each seed's accuracy in percent."""
    cells: dict[tuple[str, str, str, int], dict[int, float]] = {}
    for record in records:
        spec = record.spec
        for class_set, score in record.scores.items():
            by_seed = cells.setdefault((spec.method, spec.dataset, class_set, spec.shots), {})
            by_seed[spec.seed] = accuracy_percent(score.correct, score.total)
    return cells


def datasets_of(records: Iterable[RunRecord]) -> list[str]:
    """In the order in which records name them."""
    return list(dict.fromkeys(record.spec.dataset for record in records))


def shared_datasets(records: Sequence[RunRecord]) -> list[str]:
    """Those on which every method has a run at every number of shots that it has anywhere: what averages run over."""
    runs = {(record.spec.method, record.spec.dataset, record.spec.shots) for record in records}
    wanted = {(method, shots) for method, _, shots in runs}
    return [name for name in datasets_of(records) if all((m, name, k) in runs for m, k in wanted)]


def over_shared(records: Sequence[RunRecord], titles: Mapping[str, str]) -> str:
    """The sentence that says what averages run over."""
    datasets, shared = datasets_of(records), shared_datasets(records)
    if len(shared) == len(datasets):
        return f"Averages run over all {len(datasets)} datasets." if len(datasets) > 1 else ""
    if not shared:
        return "No dataset was measured with every method, so there is no average."
    left_out = ", ".join(titles.get(name, name) for name in datasets if name not in shared)
    return f"Averages run over the {len(shared)} of {len(datasets)} datasets that every method has, without {left_out}."


def caption_of(head: str, records: Sequence[RunRecord], *, reading: str, missing: str, note: str) -> str:
    """One paragraph: the head, how it was measured, how to read it, what is missing, the suite's note."""
    first = records[0].spec
    shots, seeds = (sorted({getattr(record.spec, name) for record in records}) for name in ("shots", "seed"))
    measured = (
        f"Suite {first.suite}, backbone {first.backbone}, {first.precision}, {', '.join(map(str, shots))} "
        f"shot{_plural(shots[-1])}, seed{_plural(len(seeds))} {', '.join(map(str, seeds))}, "
        f"{len(records)} run{_plural(len(records))}, commit {', '.join(commits(records))}."
    )
    return " ".join(part.strip() for part in (head, measured, loaded_note(records), reading, missing, note) if part)


def missing_from(
    records: Sequence[RunRecord], titles: Mapping[str, str], *, wanted: Iterable[str] = METHOD_ORDER
) -> str:
    """What records of one protocol lack: wanted methods without any run, and runs that others of the methods have.

    A method that learns nothing gives the same answers with every seed and number of shots, so one run is all of it.
    """
    done: dict[tuple[str, str], set[tuple[int, int]]] = {}
    for record in records:
        spec = record.spec
        done.setdefault((spec.method, spec.dataset), set()).add((spec.shots, spec.seed))
    untrained = without_learning(records)
    expected = {run for (method, _), runs in done.items() for run in runs if method not in untrained}
    methods, datasets = in_order({method for method, _ in done}), datasets_of(records)
    sentences = []
    if absent := [method_title(method) for method in wanted if method not in methods]:
        sentences.append(f"Not measured: {', '.join(absent)}.")
    gaps = []
    for method in methods:
        whole = 1 if method in untrained else len(expected)
        counts = {name: len(done.get((method, name), ())) for name in datasets}
        lacking = {name: whole - count for name, count in counts.items() if count < whole}
        if len(lacking) > NAMED_GAPS:
            gaps.append(f"{method_title(method)} {sum(lacking.values())} runs on {len(lacking)} datasets")
            continue
        for name, count in lacking.items():
            gaps.append(f"{method_title(method)} {count} of {whole} runs on {titles.get(name, name)}")
    return " ".join([*sentences, *([f"Missing: {'; '.join(gaps)}."] if gaps else [])])


def _plural(count: int) -> str:
    return "" if count == 1 else "s"
