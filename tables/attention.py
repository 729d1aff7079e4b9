"""Plot the weight that each image patch gives to each prompt token of a CoPL run.

python -m tables.attention --run RECORD.json --images IMAGE [IMAGE ...] [--plugin FILE] [--own-scale]
    [--out FILE.png|.svg]
"""

import argparse
import math
import sys
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from benchmark.common.command import Parser, answer, in_utf8, path_option
from benchmark.common.config import RunSpec
from benchmark.common.files import write_atomically
from benchmark.errors import ConfigError
from benchmark.records.record import RunRecord
from benchmark.records.store import load
from tables.aggregate import method_title
from tables.figures.drawing import WIDTH, Drawing, make_caption, new_figure
from tables.selection import suite_of

COLORMAP = "YlOrRd"  # light to dark, so that it is readable in gray
OPACITY = 0.62
BRIGHTEST, CONTRAST = 1.0, 0.4  # gray value of a white pixel below the colors, and its distance to that of a black one
EQUAL = 1e-6  # weights that differ by less count as equal
FEWEST, NARROWEST = 5, 1.1  # columns that fill the width of a page; least width of a panel in inches


def parse(arguments: list[str] | None) -> argparse.Namespace:
    summary, _, usage = (__doc__ or "").strip().partition("\n\n")  # python -OO leaves no text
    parser = Parser(prog="python -m tables.attention", description=summary, epilog=usage)
    add = parser.add_argument
    add("--run", type=path_option, required=True, metavar="RECORD.json", help="a record, next to its learned tensors")
    add("--images", type=path_option, nargs="+", required=True, metavar="IMAGE", help="images, one row each")
    add("--plugin", type=path_option, metavar="FILE", help="the file of the run's method, if that is a plugin")
    add("--own-scale", action="store_true", help="a color scale for each token: shows where it has most weight, "
        "even if another token has nearly all of it")  # fmt: skip
    add("--out", type=path_option, metavar="FILE",
        help=".png or .svg (default: <record>-attention.png next to the record)")  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Read the run, compute the weights, write the figure; exit code 0, or 2 with one message."""
    options = parse(arguments)
    return answer(lambda: _write(options))


def _write(options: argparse.Namespace) -> int:
    out = options.out or options.run.with_name(f"{options.run.stem}-attention.png")
    if out.suffix not in (".png", ".svg"):
        raise ConfigError(f"--out {out}: the file name must end in .png or .svg.")
    record = load(options.run)
    from benchmark.inspection.alignment import alignment_of  # slow: imports PyTorch
    from benchmark.plugins.discovery import add_plugin

    if options.plugin:
        add_plugin(options.plugin)
    found = alignment_of(record, options.run, options.images)
    names = ["\n".join(part for part in (image.parent.name, image.stem) if part) for image in options.images]
    caption = _caption(record, own_scale=options.own_scale)
    labels = {"words": token_words(record.spec, found.weights.shape[-1]), "names": names}
    drawing = Drawing(
        "attention", caption, lambda: plot(found.views, found.weights, **labels, own_scale=options.own_scale)
    )
    content = drawing.svg(captioned=True).encode() if out.suffix == ".svg" else drawing.png(captioned=True)
    write_atomically(out, content)
    sys.stdout.write(f"Written: {out}\n")
    return 0


def _caption(record: RunRecord, *, own_scale: bool) -> str:
    spec = record.spec
    scale = "each token has its own color scale" if own_scale else "the color scale is the same in all panels"
    suite = suite_of([record])
    words = "" if spec.options.get("ctx_init") else " The tokens were initialized at random and have no words."
    return make_caption(
        f"Weights of {method_title(spec.method)}'s prompt tokens, trained on {spec.dataset} ({spec.protocol}).",
        [record],
        reading=f"The weights of a patch sum to one over the tokens; {scale}. Below: the word that a token started "
        f"from, its least and its greatest weight.{words}",
        missing="",
        note=suite.note if suite else "",
    )


def token_words(spec: RunSpec, count: int) -> list[str]:
    """The word of ctx_init that each context vector started from; v1, v2, ... for a random start."""
    words = str(spec.options.get("ctx_init") or "").replace("_", " ").split()
    return words if len(words) == count else [f"v{number}" for number in range(1, count + 1)]


def grid_side(patches: int) -> int:
    """The number of patches along one side of an image.

    Raises:
        ConfigError: the patches do not form a square grid.
    """
    side = math.isqrt(patches)
    if side * side != patches or side < 2:
        raise ConfigError(
            f"{patches} patches do not form a square grid, so their places in the image are unknown. "
            "Use a run whose backbone divides square images into square patches."
        )
    return side


def plot(
    images: np.ndarray, weights: np.ndarray, *, words: Sequence[str], names: Sequence[str], own_scale: bool = False
) -> Figure:
    """One row per image: the image, then its patches colored by the weight of each token.

    Args:
        images: (B, S, S, 3) uint8.
        weights: (B, P, M).
        words: M labels below the panels.
        names: B labels of the rows.
        own_scale: a color scale for each token instead of one for all.
    """
    side, size = grid_side(weights.shape[1]), images.shape[1]
    rows, columns = len(images), 1 + len(words)
    width = max(WIDTH / max(FEWEST, columns), NARROWEST)
    figure = new_figure((width + 0.3) * rows + 0.1, width * columns + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False)
    norms = [_norm(weights[..., m] if own_scale else weights) for m in range(len(words))]
    for row, image, of_image, name in zip(grid, images, weights, names, strict=True):
        row[0].imshow(image, interpolation="nearest")
        row[0].set(xlabel="image", ylabel=name)
        faded = BRIGHTEST - CONTRAST * (1 - image.mean(axis=-1) / 255)  # bright, so that dark means weight
        for axes, weight, word, norm in zip(row[1:], of_image.T, words, norms, strict=True):
            axes.imshow(faded, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.imshow(
                weight.reshape(side, side), cmap=COLORMAP, alpha=OPACITY, extent=(-0.5, size - 0.5, size - 0.5, -0.5),
                interpolation="nearest", norm=norm,
            )  # fmt: skip
            axes.set_xlabel(f"“{word}”\n{weight.min():.3g} to {weight.max():.3g}")
        for axes in row:
            _hide_axes(axes)
    _color_bar(figure, grid, Normalize(0, 1) if own_scale else norms[0], own_scale=own_scale)
    return figure


def _norm(weights: np.ndarray) -> Normalize:
    """The range of the weights; equal weights are in its middle, so that rounding errors stay invisible."""
    low, high = float(weights.min()), float(weights.max())
    return Normalize(low, high) if high - low > EQUAL else Normalize(0.0, 2 * high)


def _color_bar(figure: Figure, grid: np.ndarray, norm: Normalize, *, own_scale: bool) -> None:
    bar = figure.colorbar(ScalarMappable(norm, COLORMAP), ax=grid, fraction=0.03, aspect=12 * len(grid), alpha=OPACITY)
    bar.ax.set_facecolor(str(BRIGHTEST - CONTRAST / 2))  # an image of medium brightness below the colors
    bar.ax.grid(False)
    bar.set_label("weight of the token")
    if own_scale:
        bar.set_ticks([0, 1], labels=["least", "most"])


def _hide_axes(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


if __name__ == "__main__":
    in_utf8()
    sys.exit(main())
