"""Draw shapes on a canvas, in a style."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from benchmark.data.synthetic.patterns import COLOURS, pattern_fill
from benchmark.data.synthetic.shapes import Shape

SIZE = 48  # pixels per side, as the embedded checkpoint expects
_FINE = 2 * SIZE  # render at twice the size, then average
_AXIS = ((np.arange(_FINE, dtype=np.float32) + 0.5) / SIZE - 1).astype(np.float32)
_U, _V = np.meshgrid(_AXIS, _AXIS)  # -1..1, v down
_OUTLINE = 0.045  # half width of the dark line around a shape, in halves of the image


@dataclass(frozen=True, kw_only=True)
class Style:
    """How an image differs from the plain style, which dominates the training of the checkpoint.

    Attributes:
        hue: rotation of all colours, in turns of the colour circle.
        light: gain; below 1 darkens.
        wash: share of grey that is mixed in, 0..1.
        turn: rotation of the whole view, in radians.
        shear: of the whole view.
        zoom: above 1 makes everything smaller.
        line_drawing: render shapes as outlines.
        clutter: number of small marks at random positions.
        blur: radius in pixels.
        noise: standard deviation of the pixel noise, in 0..1.
    """

    hue: float = 0.0
    light: float = 1.0
    wash: float = 0.0
    turn: float = 0.0
    shear: float = 0.0
    zoom: float = 1.0
    line_drawing: bool = False
    clutter: int = 0
    blur: float = 0.0
    noise: float = 0.0


class Canvas:
    """An unfinished image, (96, 96, 3) in 0..1, and its style."""

    def __init__(self, rng: np.random.Generator, style: Style):
        self.rng, self.style = rng, style
        c, s = np.cos(style.turn) * style.zoom, np.sin(style.turn) * style.zoom
        self.u = c * _U - s * _V + style.shear * _V
        self.v = s * _U + c * _V
        self.pixels = np.zeros((_FINE, _FINE, 3))

    def fill(self, colour) -> None:
        """Fill with one colour and a faint random gradient, so that no two backgrounds are equal."""
        slope = self.rng.uniform(-0.06, 0.06, 2)
        self.pixels[:] = np.asarray(colour) + (slope[0] * self.u + slope[1] * self.v)[..., None]

    def stamp(self, shape: Shape, colour, *, x=0.0, y=0.0, size=0.5, angle=0.0, pattern=None, second=None) -> None:
        """Draw a shape with a dark outline; `pattern` fills it with two colours."""
        c, s = np.cos(angle) / size, np.sin(angle) / size
        u, v = c * (self.u - x) + s * (self.v - y), c * (self.v - y) - s * (self.u - x)
        distance = shape(u, v) * size
        paint = np.asarray(colour, dtype=float)
        if pattern is not None:
            paint = pattern_fill(pattern, colour, second, u * 2.4, v * 2.4, self.rng)
        inside = np.clip(0.5 - distance * SIZE, 0, 1)
        if self.style.line_drawing:
            inside = inside * 0.15
        self.pixels += (paint - self.pixels) * inside[..., None]
        line = np.clip(0.5 + (_OUTLINE - np.abs(distance)) * SIZE, 0, 1)
        self.pixels *= 1 - 0.9 * line[..., None]

    def finish(self) -> np.ndarray:
        """Add clutter, colour changes, blur and noise, and return the image as (48, 48, 3) uint8."""
        style, rng = self.style, self.rng
        for _ in range(style.clutter):
            x, y = rng.uniform(-0.95, 0.95, 2)
            colour = list(COLOURS.values())[rng.integers(len(COLOURS))]
            near = np.hypot(_U - x, (_V - y) * rng.uniform(0.5, 2)) < rng.uniform(0.04, 0.09)
            self.pixels[near] = colour
        image = self.pixels.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
        if style.hue:
            image = image @ _hue_matrix(style.hue).T
        image = (image + (0.5 - image) * style.wash) * style.light
        pixels = np.clip(image * 255, 0, 255).astype(np.uint8)
        if style.blur:
            pixels = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(style.blur)))
        if style.noise:
            pixels = np.clip(pixels + rng.normal(0, 255 * style.noise, pixels.shape), 0, 255).astype(np.uint8)
        return pixels


def _hue_matrix(turn: float) -> np.ndarray:
    """Return the rotation of RGB about the grey axis."""
    angle, third = 2 * np.pi * turn, 1 / 3
    cos, sin = np.cos(angle), np.sin(angle) * np.sqrt(third)
    return cos * np.eye(3) + (1 - cos) * third + sin * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
