"""Plot how the weights of CoPL's prompt tokens change over a training, which is repeated for it.

python -m tables.figures.weights --run RECORD.json [RECORD.json ...] [--data FOLDER] --out FILE.png|.svg
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.common.command import Parser, answer, path_option
from benchmark.common.files import write_atomically
from benchmark.errors import ConfigError
from benchmark.records.record import RunRecord
from benchmark.records.store import load
from tables.aggregate import dataset_titles, distinct, method_title
from tables.attention import token_words
from tables.figures.drawing import OTHER_COLORS, OTHER_LINES, Drawing, add_legend, make_caption, new_panels

if TYPE_CHECKING:
    from benchmark.inspection.training_weights import WeightsOverTraining

COLUMNS = 4
PANEL_HEIGHT = 1.6  # inches
READING = (
    "Weight of each prompt token on test images of the classes trained on, before training (step 0) and after each "
    "step shown: mean over patches and images; shaded: from the 5th to the 95th percentile over patches of all images. "
    "They sum to one; equal weights are at the dotted line. Panels are named by what differs between their runs."
)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    summary, _, usage = (__doc__ or "").strip().partition("\n\n")
    parser = Parser(prog="python -m tables.figures.weights", description=summary, epilog=usage)
    add = parser.add_argument
    add("--run", type=path_option, nargs="+", required=True, metavar="RECORD.json", help="records, one panel each")
    add("--data", type=path_option, metavar="FOLDER", help="folder of the real datasets, if runs used them")
    add("--out", type=path_option, required=True, metavar="FILE", help="a .png or .svg file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Repeat the trainings, write the figure; exit code 0, or 2 with one message."""
    options = parse(arguments)
    return answer(lambda: _write(options))


def _write(options: argparse.Namespace) -> int:
    out = options.out
    if out.suffix not in (".png", ".svg"):
        raise ConfigError(f"--out {out}: the file name must end in .png or .svg.")
    records = [load(path) for path in options.run]
    from benchmark.inspection.training_weights import watch_training  # slow: imports PyTorch

    traces = [watch_training(record, options.data) for record in records]
    methods = " and ".join(dict.fromkeys(method_title(record.spec.method) for record in records))
    head = f"Weights of {methods}'s prompt tokens over training on {distinct(r.spec.dataset for r in records)}."
    caption = make_caption(head, records, reading=READING, missing="", note="")
    titles, words = panel_titles(records), token_words(records[0].spec, traces[0].mean.shape[1])
    drawing = Drawing("weights", caption, lambda: plot(traces, titles, words))
    write_atomically(out, drawing.svg().encode() if out.suffix == ".svg" else drawing.png())
    sys.stdout.write(f"{caption}\nWritten: {out}\n")
    return 0


def panel_titles(records: Sequence[RunRecord]) -> list[str]:
    """For each record, the options, dataset and seed that not all records share; the dataset if all are equal."""
    described = [_description(record) for record in records]
    keys = dict.fromkeys(key for each in described for key in each)  # records of before may lack an option
    differing = [key for key in keys if len({each.get(key) for each in described}) > 1] or ["dataset"]
    return [", ".join(each[key] for key in differing if key in each) for each in described]


def _description(record: RunRecord) -> Mapping[str, str]:
    spec = record.spec
    options = {k: value if isinstance(value, str) else f"{k} {str(value).lower()}" for k, value in spec.options.items()}
    return {"dataset": dataset_titles().get(spec.dataset, spec.dataset), **options, "seed": f"seed {spec.seed}"}


def plot(traces: Sequence["WeightsOverTraining"], titles: Sequence[str], words: Sequence[str]) -> Figure:
    """One panel per training: a line and a band for each prompt token.

    Args:
        titles: of the panels.
        words: M labels of the tokens.
    """
    figure, grid = new_panels(len(traces), min(COLUMNS, len(traces)), PANEL_HEIGHT, 0.45, sharey=True)
    for number, (axes, trace, title) in enumerate(zip(grid, traces, titles, strict=True)):
        _panel(axes, trace, words)
        axes.set_title(title)
        axes.set(xlabel="step", ylabel="" if number % COLUMNS else "weight", ylim=(0, 1))
    add_legend(figure, grid[:1])
    return figure


def _panel(axes: Axes, trace: "WeightsOverTraining", words: Sequence[str]) -> None:
    for token, word in enumerate(words):
        look = {"color": OTHER_COLORS[token % len(OTHER_COLORS)]}
        line = "-" if token == 0 else OTHER_LINES[token % len(OTHER_LINES)]
        label = f"{token + 1}: “{word}”"  # words may repeat
        axes.plot(trace.steps, trace.mean[:, token], linestyle=line, label=label, **look)
        axes.fill_between(trace.steps, trace.low[:, token], trace.high[:, token], alpha=0.2, linewidth=0, **look)
    axes.axhline(1 / len(words), color="#555555", linestyle=":", linewidth=0.8)


if __name__ == "__main__":
    sys.exit(main())
