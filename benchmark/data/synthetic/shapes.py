"""Define shapes as approximate signed distance functions, negative inside.

Each takes local coordinates, u to the right and v down; the shape is within -1..1.
"""

from collections.abc import Callable

import numpy as np

Field = np.ndarray
Shape = Callable[[Field, Field], Field]


def disc(u: Field, v: Field, x: float = 0.0, y: float = 0.0, radius: float = 0.85) -> Field:
    """A filled circle."""
    return np.hypot(u - x, v - y) - radius


def box(u: Field, v: Field, x: float = 0.0, y: float = 0.0, width: float = 0.7, height: float = 0.7) -> Field:
    """A filled rectangle; width and height are half the sides."""
    return np.maximum(np.abs(u - x) - width, np.abs(v - y) - height)


def _wedge(u: Field, v: Field, top: float, bottom: float, half: float) -> Field:
    """A triangle that points up, from `top` to `bottom`, `half` wide on each side at the bottom."""
    slope = half / (bottom - top)
    side = (np.abs(u) - (v - top) * slope) / np.hypot(1.0, slope)
    return np.maximum(side, v - bottom)


def _star(u: Field, v: Field) -> Field:
    angle = np.arctan2(u, -v)
    sector = np.abs((angle / (2 * np.pi / 5) + 0.5) % 1.0 - 0.5) * 2  # 0 at a point, 1 between two
    return (np.hypot(u, v) - (0.95 - 0.57 * sector)) * 0.7


def _heart(u: Field, v: Field) -> Field:
    lobes = np.minimum(disc(u, v, -0.42, -0.3, 0.47), disc(u, v, 0.42, -0.3, 0.47))
    return np.minimum(lobes, _wedge(u, -v, -0.9, 0.15, 0.88))


def _drop(u: Field, v: Field) -> Field:
    return np.minimum(disc(u, v, 0, 0.3, 0.58), _wedge(u, v, -0.95, 0.15, 0.54))


def _gear(u: Field, v: Field) -> Field:
    teeth = np.clip(3 * np.cos(8 * np.arctan2(v, u)), -1, 1)
    return np.maximum(np.hypot(u, v) - (0.75 + 0.14 * teeth), 0.3 - np.hypot(u, v))


def _arrow(u: Field, v: Field) -> Field:
    return np.minimum(box(u, v, -0.3, 0, 0.6, 0.2), _wedge(v, -u, -0.95, -0.1, 0.65))


def _fish(u: Field, v: Field) -> Field:
    body = np.hypot((u + 0.15) / 0.75, v / 0.45) - 1
    return np.minimum(body * 0.5, np.maximum(np.abs(v) - (u - 0.3) * 0.8, u - 0.95))


def _boat(u: Field, v: Field) -> Field:
    hull = np.maximum(np.abs(v - 0.55) - 0.25, np.abs(u) - 0.9 + (v - 0.3) * 0.5)
    sail = np.maximum(_wedge(u - 0.05, v, -0.9, 0.2, 0.75), -(u - 0.05))
    return np.minimum(np.minimum(hull, sail), box(u, v, 0, -0.2, 0.06, 0.6))


def _mushroom(u: Field, v: Field) -> Field:
    cap = np.maximum(np.hypot(u / 0.9, (v + 0.05) / 0.8) - 1, v + 0.02)
    return np.minimum(cap, box(u, v, 0, 0.4, 0.24, 0.48))


def _cup(u: Field, v: Field) -> Field:
    handle = np.abs(np.hypot(u - 0.45, v) - 0.38) - 0.1
    return np.minimum(box(u, v, -0.15, 0.05, 0.55, 0.7), handle)


def _umbrella(u: Field, v: Field) -> Field:
    roof = np.maximum(disc(u, v, 0, 0, 0.92), v)
    return np.minimum(roof, box(u, v, 0, 0.42, 0.07, 0.5))


def _house(u: Field, v: Field) -> Field:
    return np.minimum(box(u, v, 0, 0.4, 0.6, 0.45), _wedge(u, v, -0.9, 0.0, 0.9))


def _tree(u: Field, v: Field) -> Field:
    crown = np.minimum(_wedge(u, v, -0.95, 0.0, 0.5), _wedge(u, v, -0.45, 0.5, 0.72))
    return np.minimum(crown, box(u, v, 0, 0.7, 0.15, 0.25))


def _flag(u: Field, v: Field) -> Field:
    cloth = np.maximum(np.abs(v + 0.4) - 0.45, np.abs(u - 0.15) - 0.7)
    return np.minimum(cloth, box(u, v, -0.6, 0.05, 0.08, 0.9))


def _hat(u: Field, v: Field) -> Field:
    return np.minimum(box(u, v, 0, -0.1, 0.5, 0.55), box(u, v, 0, 0.5, 0.95, 0.15))


SHAPES: dict[str, Shape] = {
    "circle": lambda u, v: disc(u, v),
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.65) - 0.22,
    "square": lambda u, v: box(u, v),
    "diamond": lambda u, v: (np.abs(u) + np.abs(v) - 0.95) * 0.7,
    "triangle": lambda u, v: _wedge(u, v, -0.9, 0.65, 0.9),
    "star": _star,
    "cross": lambda u, v: np.minimum(box(u, v, 0, 0, 0.9, 0.28), box(u, v, 0, 0, 0.28, 0.9)),
    "heart": _heart,
    "moon": lambda u, v: np.maximum(disc(u, v), -disc(u, v, 0.42, -0.1, 0.72)),
    "arrow": _arrow,
    "drop": _drop,
    "gear": _gear,
}

THINGS: dict[str, Shape] = {
    "house": _house,
    "tree": _tree,
    "fish": _fish,
    "boat": _boat,
    "mushroom": _mushroom,
    "cup": _cup,
    "umbrella": _umbrella,
    "flag": _flag,
    "hat": _hat,
    "key": lambda u, v: np.minimum(
        np.abs(np.hypot(u + 0.5, v) - 0.3) - 0.12,
        np.minimum(
            box(u, v, 0.35, 0, 0.6, 0.1), np.minimum(box(u, v, 0.85, 0.2, 0.09, 0.25), box(u, v, 0.55, 0.17, 0.08, 0.2))
        ),
    ),
}


def flower(petals: int) -> Shape:
    """Return a blossom with this number of petals."""
    return lambda u, v: (np.hypot(u, v) - (0.58 + 0.36 * np.cos(petals * np.arctan2(u, -v)))) * 0.6
