"""Define colours, fill patterns and backgrounds: all parts of an image except shapes. Colours are RGB in 0..1."""

from collections.abc import Callable

import numpy as np

Field = np.ndarray

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.12),
    "orange": (0.98, 0.55, 0.08),
    "yellow": (0.96, 0.88, 0.15),
    "green": (0.13, 0.62, 0.2),
    "blue": (0.13, 0.3, 0.85),
    "purple": (0.52, 0.16, 0.68),
    "pink": (0.98, 0.55, 0.72),
    "brown": (0.48, 0.28, 0.12),
    "white": (0.97, 0.97, 0.97),
    "black": (0.08, 0.08, 0.08),
}

Pattern = Callable[[Field, Field, np.random.Generator], Field]  # coordinates in stripes -> share of the second colour


def _hash_noise(u: Field, v: Field, rng: np.random.Generator) -> Field:
    """Smooth noise with about one blob per unit."""
    waves = rng.uniform(-1, 1, (6, 2)) * 5
    phases = rng.uniform(0, 2 * np.pi, 6)
    return sum(np.sin(a * u + b * v + p) for (a, b), p in zip(waves, phases, strict=True)) / 3


def _bricks(u: Field, v: Field, rng: np.random.Generator) -> Field:
    shifted = u / 2 + 0.5 * (np.floor(v) % 2)
    return ((v % 1 < 0.22) | (shifted % 1 < 0.11)).astype(float)


PATTERNS: dict[str, Pattern] = {
    "striped": lambda u, v, rng: (v % 1 < 0.5).astype(float),
    "dotted": lambda u, v, rng: (np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.3).astype(float),
    "checkered": lambda u, v, rng: ((np.floor(u) + np.floor(v)) % 2).astype(float),
    "zigzag": lambda u, v, rng: ((v + np.abs(u % 2 - 1)) % 1 < 0.5).astype(float),
    "wavy": lambda u, v, rng: ((v + 0.5 * np.sin(u * 2.2)) % 1 < 0.5).astype(float),
    "grid": lambda u, v, rng: ((u % 1 < 0.2) | (v % 1 < 0.2)).astype(float),
    "bricks": _bricks,
    "spiral": lambda u, v, rng: ((np.hypot(u, v) + np.arctan2(u, v) / (2 * np.pi)) % 1 < 0.5).astype(float),
    "radial": lambda u, v, rng: (np.sin(9 * np.arctan2(u, v)) > 0).astype(float),
    "blotchy": lambda u, v, rng: (_hash_noise(u, v, rng) > 0.1).astype(float),
    "speckled": lambda u, v, rng: (rng.random(u.shape) < 0.25).astype(float),
    "smooth": lambda u, v, rng: 0.5 + 0.25 * np.sin((u + v) * 0.4),
}


def mix(first: np.ndarray, second: np.ndarray, share: Field) -> np.ndarray:
    """Interpolate from the first colour (share 0) to the second (share 1), (H, W, 3)."""
    return first + (second - first) * share[..., None]


def pattern_fill(name: str, first, second, u: Field, v: Field, rng: np.random.Generator) -> np.ndarray:
    """Return a pattern in two colours, (H, W, 3); u and v are in stripes."""
    return mix(np.asarray(first, float), np.asarray(second, float), PATTERNS[name](u, v, rng))


def _below(v: Field, line: Field | float) -> Field:
    return np.clip((v - line) * 40 + 0.5, 0, 1)


def _scene(sky: tuple, ground: tuple, *, line=0.15, sky_low: tuple | None = None) -> Callable:
    """Return a painter of a sky, which may fade towards the horizon, and the ground below it."""

    def paint(u: Field, v: Field, rng: np.random.Generator) -> np.ndarray:
        level = line + rng.uniform(-0.12, 0.12)
        fade = np.clip((v + 1) / (level + 1), 0, 1)
        top = mix(np.asarray(sky), np.asarray(sky_low or sky), fade)
        return top + (np.asarray(ground) - top) * _below(v, level)[..., None]

    return paint


def _with(base: Callable, colour: tuple, cover: Callable) -> Callable:
    """Return a painter of a scene with an overlay; `cover` gives its opacity at each point."""

    def paint(u: Field, v: Field, rng: np.random.Generator) -> np.ndarray:
        under = base(u, v, rng)
        return under + (np.asarray(colour) - under) * cover(u, v, rng)[..., None]

    return paint


def _peaks(u, v, rng):
    line = np.minimum(np.abs((u * 1.3 + rng.uniform(0, 2)) % 1.4 - 0.7) * 1.3 - 0.75 + rng.uniform(-0.1, 0.1), 0.15)
    return _below(v, line) * (1 - _below(v, 0.2))


def _towers(u, v, rng):
    heights = rng.uniform(-0.8, -0.1, 7)
    line = heights[np.clip(((u + 1) * 3.5).astype(int), 0, 6)]
    return _below(v, line) * (1 - _below(v, 0.5))


def _trunks(u, v, rng):
    phase = rng.uniform(0, 1)
    return (((u * 2.2 + phase) % 1 < 0.3) & (v > -0.6)).astype(float)


def _stars(u, v, rng):
    return ((rng.random(u.shape) < 0.015) & (v < 0.1)).astype(float)


def _sun(u, v, rng):
    return (np.hypot(u - rng.uniform(-0.5, 0.5), v - 0.05) < 0.3).astype(float) * (1 - _below(v, 0.15))


def _foam(u, v, rng):
    return ((np.sin(u * 9 + rng.uniform(0, 6)) * 0.06 + v * 1.0) % 0.28 < 0.06) * (v > 0.1)


def _blooms(u, v, rng):
    return ((rng.random(u.shape) < 0.05) & (v > 0.15)).astype(float)


def _dunes(u, v, rng):
    return _below(v, 0.35 + 0.15 * np.sin(u * 3 + rng.uniform(0, 6)))


def _rain(u, v, rng):
    return ((u * 6 + v * 2 + rng.uniform(0, 1)) % 1 < 0.12).astype(float) * (rng.random(u.shape) < 0.6)


SCENES: dict[str, Callable] = {
    "beach": _with(
        _scene((0.45, 0.75, 0.98), (0.93, 0.84, 0.6), line=0.35),
        (0.2, 0.5, 0.85),
        lambda u, v, rng: _below(v, 0.0) * (1 - _below(v, 0.38)),
    ),
    "ocean": _with(_scene((0.6, 0.8, 0.98), (0.1, 0.35, 0.7), line=0.0), (0.75, 0.88, 0.98), _foam),
    "forest": _with(_scene((0.55, 0.75, 0.6), (0.12, 0.4, 0.14), line=-0.3), (0.25, 0.16, 0.08), _trunks),
    "desert": _with(_scene((0.55, 0.8, 0.98), (0.9, 0.72, 0.4), line=0.1), (0.8, 0.58, 0.28), _dunes),
    "night": _with(
        _scene((0.03, 0.04, 0.16), (0.05, 0.1, 0.07), line=0.4, sky_low=(0.12, 0.12, 0.3)), (1.0, 1.0, 0.9), _stars
    ),
    "sunset": _with(_scene((0.4, 0.2, 0.5), (0.2, 0.12, 0.2), sky_low=(1.0, 0.55, 0.2)), (1.0, 0.9, 0.4), _sun),
    "mountain": _with(_scene((0.6, 0.8, 0.98), (0.3, 0.55, 0.25), line=0.2), (0.45, 0.43, 0.45), _peaks),
    "city": _with(_scene((0.7, 0.78, 0.85), (0.35, 0.35, 0.37), line=0.5), (0.4, 0.42, 0.5), _towers),
    "meadow": _with(_scene((0.5, 0.78, 0.98), (0.35, 0.7, 0.25), line=0.05), (0.98, 0.85, 0.3), _blooms),
    "storm": _with(
        _scene((0.3, 0.32, 0.38), (0.25, 0.3, 0.28), line=0.35, sky_low=(0.5, 0.52, 0.55)), (0.75, 0.8, 0.88), _rain
    ),
}


def _patches(u, v, rng, colours, cells=3):
    turned = rng.uniform(-0.3, 0.3)
    x, y = u + turned * v, v - turned * u
    index = np.clip(((x + 1.4) * cells / 2.8).astype(int), 0, cells) * 7 + np.clip(
        ((y + 1.4) * cells / 2.8).astype(int), 0, cells
    )
    table = np.asarray(colours)[rng.integers(0, len(colours), 64)] * rng.uniform(0.85, 1.1, (64, 1))
    return table[index % 64]


def _overhead_fields(u, v, rng):
    base = _patches(u, v, rng, [(0.75, 0.68, 0.3), (0.45, 0.62, 0.25), (0.6, 0.5, 0.28)])
    return base * (1 - 0.2 * ((u * 9 + v * 2) % 1 < 0.4))[..., None]


def _turned(u, v, rng):
    """A slight turn: shifts alone would draw the same pixels for some of seventy images."""
    turn = rng.uniform(-0.15, 0.15)
    return u + turn * v, v - turn * u


def _overhead_town(u, v, rng):
    base = np.full((*u.shape, 3), (0.62, 0.6, 0.56))
    u, v = _turned(u, v, rng)
    x, y, turn = u * 3.2 + rng.uniform(0, 1), v * 3.2 + rng.uniform(0, 1), rng.random()
    roofs = (np.abs(x % 1 - 0.5) < 0.3) & (np.abs(y % 1 - 0.5) < 0.3)
    roof = np.asarray([(0.65, 0.3, 0.22), (0.4, 0.38, 0.4)])[int(turn > 0.5)]
    return mix(base, roof, roofs.astype(float))


def _band(u, v, rng, width, bend):
    turned = rng.uniform(0, np.pi)
    along, across = u * np.cos(turned) + v * np.sin(turned), v * np.cos(turned) - u * np.sin(turned)
    return (np.abs(across - rng.uniform(-0.2, 0.2) - bend * np.sin(along * 3 + rng.uniform(0, 6))) < width).astype(
        float
    )


def _over(base, colour, share):
    return base + (np.asarray(colour) - base) * share[..., None]


def _grass(u, v, rng):
    return np.full((*u.shape, 3), (0.38, 0.55, 0.27)) * (1 + 0.08 * _hash_noise(u * 2, v * 2, rng))[..., None]


def _lake(u, v, rng):
    blob = (
        np.hypot(u - rng.uniform(-0.3, 0.3), v - rng.uniform(-0.3, 0.3))
        - 0.55
        - 0.12 * np.sin(3 * np.arctan2(v, u) + rng.uniform(0, 6))
    )
    return _over(_grass(u, v, rng), (0.12, 0.3, 0.6), (blob < 0).astype(float))


def _orchard(u, v, rng):
    x, y = u * 3.4 + rng.uniform(0, 1), v * 3.4 + rng.uniform(0, 1)
    return _over(
        np.full((*u.shape, 3), (0.7, 0.6, 0.42)),
        (0.15, 0.42, 0.16),
        (np.hypot(x % 1 - 0.5, y % 1 - 0.5) < 0.32).astype(float),
    )


def _woods(u, v, rng):
    return np.full((*u.shape, 3), (0.1, 0.32, 0.13)) * (1 + 0.35 * _hash_noise(u * 4, v * 4, rng))[..., None]


def _coast(u, v, rng):
    turned = rng.uniform(0, 2 * np.pi)
    across = v * np.cos(turned) - u * np.sin(turned) + 0.15 * np.sin(4 * (u * np.cos(turned) + v * np.sin(turned)))
    sand = _over(_grass(u, v, rng), (0.92, 0.85, 0.62), (across > -0.2).astype(float))
    return _over(sand, (0.1, 0.4, 0.65), (across > 0.05).astype(float))


def _runway(u, v, rng):
    turned = rng.uniform(0, np.pi)
    along, across = u * np.cos(turned) + v * np.sin(turned), v * np.cos(turned) - u * np.sin(turned)
    strip = _over(_grass(u, v, rng), (0.45, 0.45, 0.47), (np.abs(across) < 0.28).astype(float))
    return _over(strip, (0.95, 0.95, 0.95), ((np.abs(across) < 0.05) & (along * 3 % 1 < 0.55)).astype(float))


def _harbour(u, v, rng):
    u, v = _turned(u, v, rng)
    u, v = u + rng.uniform(0, 0.5), v + rng.uniform(-0.2, 0.2)
    water = np.full((*u.shape, 3), (0.15, 0.33, 0.5))
    piers = _over(water, (0.6, 0.58, 0.55), ((u * 2 + 5) % 1 < 0.14).astype(float) * (v < 0.3))
    quay = _over(piers, (0.6, 0.58, 0.55), (v < -0.7).astype(float))
    x, y = (u * 2 + 5) % 1, v * 4
    return _over(
        quay,
        (0.95, 0.95, 0.95),
        ((np.abs(x - 0.4) < 0.14) & (np.abs(y % 1 - 0.5) < 0.25) & (v < 0.25) & (v > -0.6)).astype(float),
    )


LANDS: dict[str, Callable] = {
    "farmland": _overhead_fields,
    "town": _overhead_town,
    "river": lambda u, v, rng: _over(_grass(u, v, rng), (0.15, 0.38, 0.62), _band(u, v, rng, 0.2, 0.3)),
    "road": lambda u, v, rng: _over(_grass(u, v, rng), (0.42, 0.42, 0.44), _band(u, v, rng, 0.14, 0.0)),
    "lake": _lake,
    "orchard": _orchard,
    "woodland": _woods,
    "coast": _coast,
    "runway": _runway,
    "harbour": _harbour,
}
