"""Pictures tinted by the weight that each patch gives to each prompt token of a CoPL run.

python -m tables.attention --run RECORD.json --images IMAGE [IMAGE ...] [--plugin FILE] [--own-scale]
    [--out FILE.png|.svg]
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from benchmark.common.config import RunSpec, load_suite
from benchmark.common.files import write_whole
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.plugins.discovery import add_plugin
from benchmark.records.record import RunRecord
from benchmark.records.store import load
from tables.aggregate import method_title
from tables.figures.drawing import WIDTH, Drawing, caption_of, new_figure

TINT = "YlOrRd"  # light to dark, so that it reads in grey
OPACITY = 0.62
PALEST, CONTRAST = 1.0, 0.4  # brightness of a white pixel below the tint, and how much darker a black one is
EQUAL = 1e-6  # weights that differ by less are the same
FEWEST, NARROWEST = 5, 1.1  # columns that fill the width of a page; inches of a panel that hold its words


def parse(arguments: list[str] | None) -> argparse.Namespace:
    summary, usage = __doc__.strip().split("\n\n")
    parser = argparse.ArgumentParser(prog="python -m tables.attention", description=summary, epilog=usage)
    add = parser.add_argument
    add("--run", type=Path, required=True, metavar="RECORD.json", help="a record, its learned tensors beside it")
    add("--images", type=Path, nargs="+", required=True, metavar="IMAGE", help="pictures, a row each")
    add("--plugin", type=Path, metavar="FILE", help="the run's method, where that is no part of this repository")
    add("--own-scale", action="store_true", help="a colour scale for each token: shows where it counts most, "
        "though another token may have nearly all the weight")  # fmt: skip
    add("--out", type=Path, metavar="FILE", help=".png or .svg (default: <record>-attention.png beside the record)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Read the run, weigh the pictures, draw. Exit code 0, or 2 with one message."""
    options = parse(arguments)
    out = options.out or options.run.with_name(f"{options.run.stem}-attention.png")
    try:
        if out.suffix not in (".png", ".svg"):
            raise ConfigError(f"--out {out}: the file's name must end in .png or .svg.")
        record = load(options.run)
        from benchmark.inspection.alignment import alignment_of  # late: it needs torch, which nothing else here does

        if options.plugin:
            add_plugin(options.plugin)
        found = alignment_of(record, options.run, options.images)
        names = ["\n".join(part for part in (image.parent.name, image.stem) if part) for image in options.images]
        caption = _caption(record, own_scale=options.own_scale)
        words = token_words(record.spec, found.weights.shape[-1])
        look = {"words": words, "names": names, "own_scale": options.own_scale}
        drawing = Drawing("attention", caption, lambda: paint(found.views, found.weights, **look))
        content = drawing.svg(captioned=True).encode() if out.suffix == ".svg" else drawing.png(captioned=True)
        write_whole(out, content)
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"Written: {out}\n")
    return 0


def _caption(record: RunRecord, *, own_scale: bool) -> str:
    spec = record.spec
    scale = "each token has a colour scale of its own" if own_scale else "the colour scale is the same in all panels"
    words = "" if spec.options.get("ctx_init") else " The tokens started at random and have no words."
    return caption_of(
        f"Weights of {method_title(spec.method)}'s prompt tokens, trained on {spec.dataset} ({spec.protocol}).",
        [record],
        reading=f"The weights of a patch sum to one over the tokens; {scale}. Below: the word that a token started "
        f"from, its least and its greatest weight.{words}",
        missing="",
        note=_note(spec.suite),
    )


def _note(suite: str) -> str:
    """The suite's own; nothing is known of a user's file."""
    try:
        return load_suite(suite).note
    except ConfigError:
        return ""


def token_words(spec: RunSpec, count: int) -> list[str]:
    """What each context vector started as: its word of ctx_init, or v1, v2, ... for a random start."""
    words = str(spec.options.get("ctx_init") or "").replace("_", " ").split()
    return words if len(words) == count else [f"v{number}" for number in range(1, count + 1)]


def grid_side(patches: int) -> int:
    """Patches along one side of a picture.

    Raises:
        ConfigError: they are no square grid.
    """
    side = math.isqrt(patches)
    if side * side != patches or side < 2:
        raise ConfigError(
            f"{patches} patches are no square grid, so it is unknown which part of the picture each one is. "
            "Take a run whose backbone cuts square images into square patches."
        )
    return side


def paint(
    pictures: np.ndarray, weights: np.ndarray, *, words: Sequence[str], names: Sequence[str], own_scale: bool = False
) -> Figure:
    """A row for each picture: itself, then its patches tinted by each token's weight.

    Args:
        pictures: (B, S, S, 3) uint8.
        weights: (B, P, M).
        words: M, below the panels.
        names: B, beside the rows.
        own_scale: a colour scale for each token instead of one for all.
    """
    side, size = grid_side(weights.shape[1]), pictures.shape[1]
    rows, columns = len(pictures), 1 + len(words)
    width = max(WIDTH / max(FEWEST, columns), NARROWEST)
    figure = new_figure((width + 0.3) * rows + 0.1, width * columns + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False)
    norms = [_norm(weights[..., m] if own_scale else weights) for m in range(len(words))]
    for row, picture, of_picture, name in zip(grid, pictures, weights, names, strict=True):
        row[0].imshow(picture, interpolation="nearest")
        row[0].set(xlabel="picture", ylabel=name)
        faded = PALEST - CONTRAST * (1 - picture.mean(axis=-1) / 255)  # pale, so that what is dark is weight
        for axes, weight, word, norm in zip(row[1:], of_picture.T, words, norms, strict=True):
            axes.imshow(faded, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.imshow(
                weight.reshape(side, side), cmap=TINT, alpha=OPACITY, extent=(-0.5, size - 0.5, size - 0.5, -0.5),
                interpolation="nearest", norm=norm,
            )  # fmt: skip
            axes.set_xlabel(f"“{word}”\n{weight.min():.3g} to {weight.max():.3g}")
        for axes in row:
            _bare(axes)
    _colour_bar(figure, grid, Normalize(0, 1) if own_scale else norms[0], own_scale=own_scale)
    return figure


def _norm(weights: np.ndarray) -> Normalize:
    """From the least to the greatest weight; weights that are all equal are the middle, not rounding blown up."""
    low, high = float(weights.min()), float(weights.max())
    return Normalize(low, high) if high - low > EQUAL else Normalize(0.0, 2 * high)


def _colour_bar(figure: Figure, grid: np.ndarray, norm: Normalize, *, own_scale: bool) -> None:
    bar = figure.colorbar(ScalarMappable(norm, TINT), ax=grid, fraction=0.03, aspect=12 * len(grid), alpha=OPACITY)
    bar.ax.set_facecolor(str(PALEST - CONTRAST / 2))  # as a picture of middling brightness below the tint
    bar.ax.grid(False)
    bar.set_label("weight of the token")
    if own_scale:
        bar.set_ticks([0, 1], labels=["least", "most"])


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


if __name__ == "__main__":
    sys.exit(main())
