"""Render an image of a kind from its attributes; equal generator states give equal images."""

from collections.abc import Mapping

import numpy as np

from benchmark.data.synthetic.canvas import Canvas, Style
from benchmark.data.synthetic.patterns import COLOURS, LANDS, SCENES, pattern_fill
from benchmark.data.synthetic.shapes import SHAPES, THINGS, Shape, box, disc, flower

ALL_SHAPES: dict[str, Shape] = SHAPES | THINGS
SIZES = {"small": 0.3, "large": 0.62}
PLACES = {"left": (-0.5, 0.0), "right": (0.5, 0.0), "top": (0.0, -0.5), "bottom": (0.0, 0.5)}
COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
PETALS = {"three": 3, "four": 4, "five": 5, "six": 6, "eight": 8}
EARS = ("pointed", "round", "floppy")
CARS = ("van", "truck", "bus", "coupe")
WINGS = ("straight", "swept", "double", "delta")
ENGINES = {"two": 2, "four": 4}
ARRANGEMENTS = ("stacked", "nested", "crossing", "circling", "scattered", "touching", "falling", "lined")

_ALIKE = {  # colours that are too similar to be combined
    "red": {"orange", "brown", "pink"},
    "orange": {"red", "yellow", "brown"},
    "yellow": {"orange", "white"},
    "green": set(),
    "blue": {"purple"},
    "purple": {"blue", "brown"},
    "pink": {"red", "white"},
    "brown": {"red", "black", "purple"},
    "white": {"yellow", "pink"},
    "black": {"brown"},
}


def render(kind: str, attributes: Mapping[str, str], rng: np.random.Generator, style: Style) -> np.ndarray:
    """Return an image, (48, 48, 3) uint8.

    Args:
        kind: a key of KINDS.
        attributes: content of the image, with all keys of the kind.
        rng: determines everything else: positions, angles, second colours, noise.
        style: domain shift.
    """
    canvas = Canvas(rng, style)
    KINDS[kind](canvas, attributes)
    return canvas.finish()


def _contrasting(rng: np.random.Generator, *taken: str) -> str:
    """Return a random colour name that is not similar to the taken ones."""
    left = [name for name in COLOURS if name not in taken and not any(name in _ALIKE[t] for t in taken)]
    return left[rng.integers(len(left))]


def _ground(canvas: Canvas, *taken: str) -> None:
    canvas.fill(COLOURS[_contrasting(canvas.rng, *taken)])


def _object(canvas: Canvas, a: Mapping[str, str]) -> None:
    rng, size = canvas.rng, SIZES[a["size"]]
    canvas.fill(COLOURS[a["background"]])
    x, y = (0.0, 0.0) if a["place"] == "middle" else PLACES[a["place"]]
    pattern = None if a["pattern"] == "plain" else a["pattern"]
    canvas.stamp(
        ALL_SHAPES[a["figure"]], COLOURS[a["colour"]],
        x=x + rng.uniform(-0.1, 0.1), y=y + rng.uniform(-0.1, 0.1), size=size * rng.uniform(0.9, 1.1),
        angle=rng.uniform(-0.25, 0.25), pattern=pattern,
        second=COLOURS[_contrasting(rng, a["colour"], a["background"])] if pattern else None,
    )  # fmt: skip


def _flower(canvas: Canvas, a: Mapping[str, str]) -> None:
    rng = canvas.rng
    _ground(canvas, a["colour"], "yellow")
    x, y, size = *rng.uniform(-0.15, 0.15, 2), rng.uniform(0.6, 0.8)
    canvas.stamp(flower(PETALS[a["petals"]]), COLOURS[a["colour"]], x=x, y=y, size=size, angle=rng.uniform(0, 6))
    canvas.stamp(disc, COLOURS["yellow" if a["colour"] != "yellow" else "brown"], x=x, y=y, size=0.2 * size)


def _food(canvas: Canvas, a: Mapping[str, str]) -> None:
    rng = canvas.rng
    canvas.fill(COLOURS[_contrasting(rng, "white", a["colour"])])
    canvas.stamp(disc, (0.93, 0.93, 0.9), size=1.05)
    count, turn = COUNTS[a["count"]], rng.uniform(0, 6)
    for i in range(count):
        angle, far = turn + 2 * np.pi * i / count, 0.0 if count == 1 else 0.5
        canvas.stamp(disc, COLOURS[a["colour"]], x=far * np.cos(angle), y=far * np.sin(angle), size=0.27)


def _pet(canvas: Canvas, a: Mapping[str, str]) -> None:
    rng, colour = canvas.rng, COLOURS[a["colour"]]
    _ground(canvas, a["colour"], "black")
    y, size = 0.15 + rng.uniform(-0.1, 0.1), rng.uniform(0.55, 0.65)
    for side in (-1, 1):
        x = side * 0.42
        if a["ears"] == "pointed":
            canvas.stamp(SHAPES["triangle"], colour, x=x, y=y - 0.6, size=0.3, angle=side * 0.3)
        elif a["ears"] == "round":
            canvas.stamp(disc, colour, x=side * 0.5, y=y - 0.5, size=0.28)
        else:
            canvas.stamp(lambda u, v: box(u, v, 0, 0, 0.5, 0.9), colour, x=side * 0.62, y=y + 0.05, size=0.42)
    canvas.stamp(disc, colour, y=y, size=size)
    for side in (-1, 1):
        canvas.stamp(disc, COLOURS["white"], x=side * 0.22, y=y - 0.1, size=0.1)
    canvas.stamp(disc, COLOURS["black"], y=y + 0.18, size=0.1)


def _car(canvas: Canvas, a: Mapping[str, str]) -> None:
    rng, colour = canvas.rng, COLOURS[a["colour"]]
    _ground(canvas, a["colour"], "black")
    x, y = rng.uniform(-0.1, 0.1), rng.uniform(-0.05, 0.2)
    parts = {  # boxes (x, y, half width, half height): bodies, then windows
        "van": (((0, 0, 0.75, 0.4),), ((0.5, -0.12, 0.17, 0.14),)),
        "truck": (((-0.2, -0.1, 0.6, 0.5), (0.6, 0.12, 0.22, 0.28)), ((0.64, 0.02, 0.1, 0.1),)),
        "bus": (((0, -0.05, 0.9, 0.45),), tuple((k * 0.4, -0.15, 0.12, 0.14) for k in (-1.7, -0.7, 0.3, 1.3))),
        "coupe": (
            ((0, 0.18, 0.85, 0.2), (-0.08, -0.14, 0.4, 0.16)),
            ((-0.25, -0.12, 0.12, 0.09), (0.12, -0.12, 0.12, 0.09)),
        ),
    }[a["body"]]
    for group, paint in zip(parts, (colour, (0.75, 0.88, 0.97)), strict=True):
        for bx, by, width, height in group:
            canvas.stamp(lambda u, v, w=width, h=height: box(u, v, 0, 0, w, h), paint, x=x + bx, y=y + by, size=1.0)
    for side in (-0.5, 0.5):
        canvas.stamp(disc, COLOURS["black"], x=x + side, y=y + 0.42, size=0.2)


def _plane(canvas: Canvas, a: Mapping[str, str]) -> None:
    rng = canvas.rng
    canvas.fill(np.array((0.5, 0.72, 0.95)) * rng.uniform(0.85, 1.1))
    angle, paint = rng.uniform(-0.5, 0.5), np.array((0.92, 0.92, 0.94))
    sweep = {"straight": 0.0, "swept": 0.55, "double": 0.0, "delta": 0.9}[a["wings"]]

    def wings(u, v):
        slanted = v - 0.05 - sweep * np.abs(u)
        if a["wings"] == "delta":
            return np.maximum(np.maximum(-0.55 - v + np.abs(u) * 1.35, v - 0.55), np.abs(u) - 0.95) * 0.7
        one = np.maximum(np.abs(slanted) - 0.13, np.abs(u) - 0.95)
        if a["wings"] == "double":
            return np.minimum(
                np.maximum(np.abs(v + 0.3) - 0.12, np.abs(u) - 0.95),
                np.maximum(np.abs(v - 0.25) - 0.12, np.abs(u) - 0.95),
            )
        return one

    size = rng.uniform(0.8, 0.95)
    canvas.stamp(wings, paint, size=size, angle=angle)
    canvas.stamp(lambda u, v: np.hypot(u / 0.16, v / 0.95) * 0.16 - 0.16, paint, size=size, angle=angle)
    canvas.stamp(lambda u, v: box(u, v, 0, 0.82, 0.35, 0.09), paint, size=size, angle=angle)
    spots = {2: (-0.45, 0.45), 4: (-0.7, -0.38, 0.38, 0.7)}[ENGINES[a["engines"]]]
    for spot in spots:
        du, dv = spot * size, (0.0 + sweep * abs(spot) * 0.8 - 0.05) * size
        x, y = du * np.cos(angle) - dv * np.sin(angle), du * np.sin(angle) + dv * np.cos(angle)
        canvas.stamp(disc, COLOURS["red"], x=x, y=y, size=0.13)


def _scenery(canvas: Canvas, a: Mapping[str, str]) -> None:
    canvas.pixels[:] = SCENES[a["scene"]](canvas.u, canvas.v, canvas.rng)


def _texture(canvas: Canvas, a: Mapping[str, str]) -> None:
    rng = canvas.rng
    first = list(COLOURS)[rng.integers(len(COLOURS))]
    scale = rng.uniform(2.6, 4.2)
    u, v = canvas.u * scale + rng.uniform(0, 1), canvas.v * scale + rng.uniform(0, 1)
    if a["texture"] in ("radial", "spiral"):
        u, v = canvas.u * 3.5 + rng.uniform(-0.5, 0.5), canvas.v * 3.5 + rng.uniform(-0.5, 0.5)
    canvas.pixels[:] = pattern_fill(a["texture"], COLOURS[first], COLOURS[_contrasting(rng, first)], u, v, rng)


def _land(canvas: Canvas, a: Mapping[str, str]) -> None:
    canvas.pixels[:] = LANDS[a["land"]](canvas.u, canvas.v, canvas.rng)


def _arranged(canvas: Canvas, a: Mapping[str, str]) -> None:
    rng, how = canvas.rng, a["arrangement"]
    figure, other = SHAPES[a["figure"]], SHAPES[a["other"]]
    colour = COLOURS[a["colour"]]
    back = _contrasting(rng, a["colour"])
    canvas.fill(COLOURS[back])
    second = COLOURS[_contrasting(rng, a["colour"], back)]
    shift = rng.uniform(-0.1, 0.1)
    if how == "nested":
        canvas.stamp(disc if a["figure"] != "circle" else SHAPES["square"], second, size=1.0)
        canvas.stamp(figure, colour, size=0.42)
    elif how == "crossing":
        for angle, paint in ((np.pi / 4, colour), (-np.pi / 4, second)):
            canvas.stamp(lambda u, v: box(u, v, 0, 0, 0.95, 0.2), paint, size=1.0, angle=angle + shift)
    else:
        spots = {
            "stacked": [(shift, -0.62), (shift, 0.0), (shift, 0.62)],
            "lined": [(-0.62, shift), (0.0, shift), (0.62, shift)],
            "falling": [(-0.6, -0.6 + shift), (0.0, shift), (0.6, 0.6 + shift)],
            "touching": [(-0.29, shift), (0.29, shift)],
            "circling": [(0.65 * np.cos(t), 0.65 * np.sin(t)) for t in np.arange(6) * np.pi / 3 + shift],
            "scattered": [(x, y) for x, y in rng.uniform(-0.85, 0.85, (7, 2))],
        }[how]
        size = {"touching": 0.34, "circling": 0.24, "scattered": 0.18}.get(how, 0.3)
        for i, (x, y) in enumerate(spots):
            canvas.stamp(figure if i % 2 == 0 else other, colour if i % 2 == 0 else second, x=x, y=y, size=size)


KINDS = {
    "object": _object,
    "flower": _flower,
    "food": _food,
    "pet": _pet,
    "car": _car,
    "plane": _plane,
    "scene": _scenery,
    "texture": _texture,
    "land": _land,
    "arrangement": _arranged,
}
