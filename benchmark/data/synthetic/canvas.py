"""The sheet that pictures are drawn on, and the look that shifts one away from the plain style."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from benchmark.data.synthetic.patterns import COLOURS, pattern_fill
from benchmark.data.synthetic.shapes import Figure

SIZE = 48  # pixels a side, the embedded checkpoint's
_FINE = 2 * SIZE  # drawn at twice that, then averaged
_AXIS = ((np.arange(_FINE, dtype=np.float32) + 0.5) / SIZE - 1).astype(np.float32)
_U, _V = np.meshgrid(_AXIS, _AXIS)  # -1..1, v down
_OUTLINE = 0.045  # half width of the dark line round every figure, in picture halves


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a picture differs from the plain style that the checkpoint learnt most of.

    Attributes:
        hue: turn of all colours, in turns of the colour circle.
        light: gain; below 1 darkens.
        wash: share of grey mixed in, 0..1.
        turn: rotation of the whole view, in radians.
        shear: slant of the whole view.
        zoom: above 1 makes everything smaller.
        line_drawing: figures are drawn as outlines on their background.
        clutter: small marks strewn over the picture.
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
    """A picture under way, (96, 96, 3) in 0..1, seen through a Look."""

    def __init__(self, rng: np.random.Generator, look: Look):
        self.rng, self.look = rng, look
        c, s = np.cos(look.turn) * look.zoom, np.sin(look.turn) * look.zoom
        self.u = c * _U - s * _V + look.shear * _V
        self.v = s * _U + c * _V
        self.pixels = np.zeros((_FINE, _FINE, 3))

    def fill(self, colour) -> None:
        """One colour, with a faint gradient so that no two backgrounds are alike."""
        slope = self.rng.uniform(-0.06, 0.06, 2)
        self.pixels[:] = np.asarray(colour) + (slope[0] * self.u + slope[1] * self.v)[..., None]

    def stamp(self, figure: Figure, colour, *, x=0.0, y=0.0, size=0.5, angle=0.0, pattern=None, second=None) -> None:
        """One figure with a dark outline; `pattern` fills it in two colours."""
        c, s = np.cos(angle) / size, np.sin(angle) / size
        u, v = c * (self.u - x) + s * (self.v - y), c * (self.v - y) - s * (self.u - x)
        distance = figure(u, v) * size
        paint = np.asarray(colour, dtype=float)
        if pattern is not None:
            paint = pattern_fill(pattern, colour, second, u * 2.4, v * 2.4, self.rng)
        inside = np.clip(0.5 - distance * SIZE, 0, 1)
        if self.look.line_drawing:
            inside = inside * 0.15
        self.pixels += (paint - self.pixels) * inside[..., None]
        line = np.clip(0.5 + (_OUTLINE - np.abs(distance)) * SIZE, 0, 1)
        self.pixels *= 1 - 0.9 * line[..., None]

    def finish(self) -> np.ndarray:
        """The picture as (48, 48, 3) uint8, after clutter, colour, blur and noise."""
        look, rng = self.look, self.rng
        for _ in range(look.clutter):
            x, y = rng.uniform(-0.95, 0.95, 2)
            colour = list(COLOURS.values())[rng.integers(len(COLOURS))]
            near = np.hypot(_U - x, (_V - y) * rng.uniform(0.5, 2)) < rng.uniform(0.04, 0.09)
            self.pixels[near] = colour
        image = self.pixels.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
        if look.hue:
            image = image @ _hue_matrix(look.hue).T
        image = (image + (0.5 - image) * look.wash) * look.light
        pixels = np.clip(image * 255, 0, 255).astype(np.uint8)
        if look.blur:
            pixels = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(look.blur)))
        if look.noise:
            pixels = np.clip(pixels + rng.normal(0, 255 * look.noise, pixels.shape), 0, 255).astype(np.uint8)
        return pixels


def _hue_matrix(turn: float) -> np.ndarray:
    """Rotation of RGB about the grey axis."""
    angle, third = 2 * np.pi * turn, 1 / 3
    cos, sin = np.cos(angle), np.sin(angle) * np.sqrt(third)
    return cos * np.eye(3) + (1 - cos) * third + sin * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
