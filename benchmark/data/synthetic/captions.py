"""Sample the attributes of images and write captions for them.

An image and a caption are each a set of facts ("colour:red"); a caption is true of every image that has all of its
facts. Captions often name a single attribute: a model whose captions always name the colour learns nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmark.data.synthetic.patterns import COLOURS, LANDS, PATTERNS, SCENES
from benchmark.data.synthetic.renderer import (
    ALL_SHAPES,
    ARRANGEMENTS,
    CARS,
    COUNTS,
    EARS,
    ENGINES,
    PETALS,
    PLACES,
    WINGS,
)
from benchmark.data.synthetic.shapes import SHAPES

FLOWER_COLOURS = ("red", "orange", "pink", "purple", "white")
FOOD_COLOURS = ("red", "green", "purple", "orange")
PET_COLOURS = ("brown", "orange", "white", "black")
CAR_COLOURS = ("red", "blue", "green", "white")

# Values of each attribute of a kind; repeated values are more frequent. "plain" is frequent: patterns hide shapes.
CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "object": {
        "figure": tuple(ALL_SHAPES),
        "colour": tuple(COLOURS),
        "background": tuple(COLOURS),
        "size": ("small", "large", "large"),
        "place": ("middle",) * 4 + tuple(PLACES),
        "pattern": ("plain",) * 12 + tuple(p for p in PATTERNS if p not in ("smooth", "speckled", "radial")),
    },
    "flower": {"petals": tuple(PETALS), "colour": FLOWER_COLOURS},
    "food": {"count": tuple(COUNTS), "colour": FOOD_COLOURS},
    "pet": {"ears": EARS, "colour": PET_COLOURS},
    "car": {"body": CARS, "colour": CAR_COLOURS},
    "plane": {"wings": WINGS, "engines": tuple(ENGINES)},
    "scene": {"scene": tuple(SCENES)},
    "texture": {"texture": tuple(PATTERNS)},
    "land": {"land": tuple(LANDS)},
    "arrangement": {
        "arrangement": ARRANGEMENTS,
        "figure": tuple(SHAPES),
        "other": tuple(SHAPES),
        "colour": tuple(COLOURS),
    },
}
WEIGHTS = {"object": 40, "flower": 9, "food": 7, "pet": 7, "car": 7, "plane": 7, "scene": 5, "texture": 7, "land": 5,
           "arrangement": 6}  # fmt: skip

# Phrases for an image in a caption; each {key} is an attribute, and naming it asserts a fact.
PHRASES: dict[str, tuple[str, ...]] = {
    "object": (
        *("{figure}",) * 8,
        *("{colour} {figure}",) * 3,
        "{colour} thing",
        "{pattern} {figure}",
        "{pattern} thing",
        "{pattern} {colour} {figure}",
        "{size} {figure}",
        "{size} {colour} {figure}",
        "{figure} at the {place}",
        "{figure} on a {background} background",
        "{background} background",
    ),
    "flower": (
        *("{colour} blossom with {petals} petals",) * 2,
        *("blossom with {petals} petals",) * 2,
        "{colour} blossom",
        "{petals} petals",
    ),
    "food": (*("{count} {colour} berries",) * 2, *("{count} berries",) * 2, "{colour} berries"),
    "pet": (
        *("{colour} animal with {ears} ears",) * 2,
        *("animal with {ears} ears",) * 2,
        "{colour} animal",
        "{ears} ears",
    ),
    "car": (*("{colour} {body}",) * 2, *("{body}",) * 2, "{colour} car"),
    "plane": (
        *("plane with {wings} wings and {engines} engines",) * 2,
        "plane with {wings} wings",
        "{wings} wings",
        "plane with {engines} engines",
        "{engines} engines",
    ),
    "scene": ("{scene}",),
    "texture": ("{texture}",),
    "land": ("{land}",),
    "arrangement": (*("{arrangement}",) * 3, "{figure} and {other}"),
}

# Captions around a phrase: the datasets' own templates first, then variations of the wording.
FRAMES: dict[str, tuple[str, ...]] = {
    "flower": ("a photo of a {}, a type of flower.", "a type of flower, a photo of a {}."),
    "food": ("a photo of {}, a type of food.", "a type of food, a photo of {}."),
    "pet": ("a photo of a {}, a type of pet.", "a type of pet, a photo of a {}."),
    "plane": ("a photo of a {}, a type of aircraft.", "a type of aircraft, a photo of a {}."),
    "texture": ("{} texture.", "a photo of a {} texture.", "a texture of {}.", "a photo of a {}, a type of texture."),
    "land": ("a centered satellite photo of {}.", "a satellite photo of {}.", "{} from above."),
    "arrangement": ("a photo of things {}.", "things {}."),
}
COMMON_FRAMES = ("a photo of a {}.", "a photo of a {}.", "a {}.", "{}", "a picture of a {}.", "an image of the {}.",
                 "itap of a {}.", "art of the {}.", "a bad photo of the {}.")  # fmt: skip


@dataclass(frozen=True)
class Caption:
    """A text and the facts it asserts."""

    text: str
    facts: frozenset[str]


def sample_attributes(kind: str, rng: np.random.Generator, *, easy: bool = False) -> dict[str, str]:
    """Sample the attributes of a kind. Easy objects are large, centered and of one colour."""
    sampled = {key: values[rng.integers(len(values))] for key, values in CHOICES[kind].items()}
    if kind == "object":
        while sampled["background"] == sampled["colour"]:
            sampled["background"] = CHOICES[kind]["background"][rng.integers(len(COLOURS))]
        if easy:
            sampled |= {"size": "large", "place": "middle", "pattern": "plain"}
    return sampled


def facts_of(kind: str, attributes: Mapping[str, str]) -> frozenset[str]:
    """Return all facts of an image."""
    facts = {_fact(kind, key, value) for key, value in attributes.items()}
    if kind == "arrangement":
        facts |= {f"figure:{attributes['other']}", f"other:{attributes['figure']}"}
    return frozenset(facts | {f"kind:{kind}"})


def describe(kind: str, attributes: Mapping[str, str], rng: np.random.Generator) -> Caption:
    """Return a random true caption of an image."""
    phrases = PHRASES[kind]
    phrase = phrases[rng.integers(len(phrases))]
    own = FRAMES.get(kind, ())
    frames = own if own and rng.random() < 0.6 else COMMON_FRAMES
    frame = frames[rng.integers(len(frames))]
    named = [key for key in attributes if f"{{{key}}}" in phrase]
    facts = {_fact(kind, key, attributes[key]) for key in named}
    if kind != "object":
        facts.add(f"kind:{kind}")
    text = frame.format(phrase.format(**attributes))
    return Caption(text if rng.random() < 0.9 else text.rstrip("."), frozenset(facts))


def vocabulary() -> list[str]:
    """Return every word that a caption can contain."""
    texts = [
        *COMMON_FRAMES,
        *(f for frames in FRAMES.values() for f in frames),
        *(p for ps in PHRASES.values() for p in ps),
    ]
    words = {word for text in texts for word in text.replace(",", " ").replace(".", " ").split() if "{" not in word}
    return sorted(words | {value for choice in CHOICES.values() for values in choice.values() for value in values})


def _fact(kind: str, key: str, value: str) -> str:
    """Return one fact for a pattern on an object or as a texture; other keys stay distinct."""
    return f"{'pattern' if key == 'texture' else key}:{value}"
