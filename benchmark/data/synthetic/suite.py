"""The embedded suite: eleven small datasets that mirror the kinds of the paper's eleven, written in CoOp's layout, and
four shifted versions of the first of them, which mirror the four ImageNet variants and hold test pictures alone.

Every dataset is shifted away from the pictures that the embedded checkpoint learnt from, each in its own way, as the
paper's datasets are from CLIP's. Its numbers are its own and never the paper's.
"""

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.data.synthetic.canvas import Look
from benchmark.data.synthetic.captions import (
    CAR_COLOURS,
    CHOICES,
    FLOWER_COLOURS,
    FOOD_COLOURS,
    PET_COLOURS,
    draw_attributes,
)
from benchmark.data.synthetic.renderer import render
from benchmark.data.synthetic.shapes import FIGURES, THINGS
from benchmark.errors import DataError

HERE = Path(__file__).resolve().parent
CHECKPOINT = HERE / "checkpoint"
SUITE_VERSION = "0482ae3b"  # of the image bytes: change it whenever an image changes (a test compares their hash)
PER_CLASS = {"train": 16, "val": 4, "test": 50}


@dataclass(frozen=True, kw_only=True)
class SyntheticDataset:
    """One dataset of the suite.

    Attributes:
        kind: what is drawn; a key of renderer.KINDS.
        mirrors: the dataset of the paper whose kind it has.
        template: as CoOp's template for that dataset.
        classes: class name to the attributes that all its pictures share; the other attributes are random.
        look: random style of a picture, drawn from a generator: the shift.
        seed: of all its pictures.
        lists: which lists it has.
    """

    name: str
    kind: str
    mirrors: str
    template: str
    classes: Mapping[str, Mapping[str, str]]
    look: Callable[[np.random.Generator], Look]
    seed: int
    lists: tuple[str, ...] = tuple(PER_CLASS)


def _one(key: str, values: Sequence[str]) -> dict[str, dict[str, str]]:
    return {value: {key: value} for value in values}


def _pairs(form: str, **values: Sequence[str]) -> dict[str, dict[str, str]]:
    keys = list(values)
    combined = [dict(zip(keys, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    return {form.format(**attributes): attributes for attributes in combined}


PHOTO = "a photo of a {}."

_DATASETS = (
    SyntheticDataset(
        name="synth_objects", kind="object", mirrors="imagenet", template=PHOTO, seed=101,
        classes=_one("figure", tuple(FIGURES)),
        look=lambda rng: Look(clutter=int(rng.integers(6, 14)), noise=0.08, turn=rng.uniform(-0.5, 0.5)),
    ),
    SyntheticDataset(
        name="synth_things", kind="object", mirrors="caltech101", template=PHOTO, seed=102,
        classes=_one("figure", tuple(THINGS)),
        look=lambda rng: Look(line_drawing=True, light=rng.uniform(0.7, 1.0), wash=0.3),
    ),
    SyntheticDataset(
        name="synth_pets", kind="pet", mirrors="oxford_pets", template="a photo of a {}, a type of pet.", seed=103,
        classes=_pairs("{colour} animal with {ears} ears", colour=PET_COLOURS, ears=CHOICES["pet"]["ears"]),
        look=lambda rng: Look(hue=0.08, shear=rng.uniform(0.2, 0.5), blur=0.6),
    ),
    SyntheticDataset(
        name="synth_cars", kind="car", mirrors="stanford_cars", template=PHOTO, seed=104,
        classes=_pairs("{colour} {body}", colour=CAR_COLOURS, body=CHOICES["car"]["body"]),
        look=lambda rng: Look(hue=-0.1, turn=rng.uniform(0.15, 0.45), wash=0.35),
    ),
    SyntheticDataset(
        name="synth_flowers", kind="flower", mirrors="oxford_flowers", seed=105,
        template="a photo of a {}, a type of flower.",
        classes=_pairs(
            "{colour} blossom with {petals} petals", colour=FLOWER_COLOURS, petals=("three", "four", "five", "eight")
        ),
        look=lambda rng: Look(hue=0.12, light=0.8, zoom=rng.uniform(1.1, 1.4)),
    ),
    SyntheticDataset(
        name="synth_food", kind="food", mirrors="food101", template="a photo of {}, a type of food.", seed=106,
        classes=_pairs("{count} {colour} berries", count=("two", "three", "four", "five"), colour=FOOD_COLOURS),
        look=lambda rng: Look(hue=-0.07, shear=0.5, wash=0.25, noise=0.05),
    ),
    SyntheticDataset(
        name="synth_aircraft", kind="plane", mirrors="fgvc_aircraft", seed=107,
        template="a photo of a {}, a type of aircraft.",
        classes=_pairs(
            "plane with {wings} wings and {engines} engines",
            wings=CHOICES["plane"]["wings"],
            engines=CHOICES["plane"]["engines"],
        ),
        look=lambda rng: Look(turn=rng.uniform(0.6, 1.2), blur=0.7, light=0.75),
    ),
    SyntheticDataset(
        name="synth_scenes", kind="scene", mirrors="sun397", template=PHOTO, seed=108,
        classes=_one("scene", CHOICES["scene"]["scene"]),
        look=lambda rng: Look(hue=0.3, wash=0.35, noise=0.1, turn=rng.uniform(-0.4, 0.4)),
    ),
    SyntheticDataset(
        name="synth_textures", kind="texture", mirrors="dtd", template="{} texture.", seed=109,
        classes=_one("texture", CHOICES["texture"]["texture"]),
        look=lambda rng: Look(turn=rng.uniform(0.5, 1.1), zoom=0.6, blur=0.8, wash=0.5),
    ),
    SyntheticDataset(
        name="synth_overhead", kind="land", mirrors="eurosat", template="a centered satellite photo of {}.", seed=110,
        classes=_one("land", CHOICES["land"]["land"]),
        look=lambda rng: Look(hue=-0.22, light=0.7, zoom=1.5),
    ),
    SyntheticDataset(
        name="synth_actions", kind="arrangement", mirrors="ucf101", template="a photo of things {}.", seed=111,
        classes=_one("arrangement", CHOICES["arrangement"]["arrangement"]),
        look=lambda rng: Look(shear=rng.uniform(-0.6, 0.6), zoom=1.25, clutter=int(rng.integers(2, 6))),
    ),
)  # fmt: skip

_OBJECTS = tuple(FIGURES)


def _shifted(name: str, mirrors: str, seed: int, look: Callable, figures: Sequence[str] = _OBJECTS) -> SyntheticDataset:
    """The figures of synth_objects, all or some, in another look."""
    return SyntheticDataset(
        name=f"synth_objects_{name}", kind="object", mirrors=mirrors, template=PHOTO, seed=seed,
        classes=_one("figure", figures), look=look, lists=("test",),
    )  # fmt: skip


_SHIFTED = (
    _shifted(
        "v2", "imagenetv2", 112,
        lambda rng: Look(clutter=int(rng.integers(6, 14)), noise=0.11, turn=rng.uniform(-0.5, 0.5)),
    ),
    _shifted(
        "sketch", "imagenet_sketch", 113,
        lambda rng: Look(line_drawing=True, light=rng.uniform(0.7, 1.0), wash=0.6, turn=rng.uniform(-0.9, 0.9)),
    ),
    _shifted(
        "adversarial", "imagenet_a", 114,
        lambda rng: Look(clutter=int(rng.integers(14, 24)), shear=rng.uniform(-0.7, 0.7), zoom=rng.uniform(1.2, 1.6)),
        _OBJECTS[::2],
    ),
    _shifted(
        "rendition", "imagenet_r", 115,
        lambda rng: Look(hue=rng.uniform(0.3, 0.7), light=0.7, shear=rng.uniform(-0.5, 0.5), blur=1.1),
        _OBJECTS[3:9],
    ),
)  # fmt: skip

SYNTHETIC: dict[str, SyntheticDataset] = {dataset.name: dataset for dataset in _DATASETS}
SHIFTED: dict[str, SyntheticDataset] = {dataset.name: dataset for dataset in _SHIFTED}
DRAWN = SYNTHETIC | SHIFTED


def suite_version() -> str:
    """Return the version of the generated images; the cache folder carries it in its name."""
    return SUITE_VERSION


def draw(dataset: SyntheticDataset, label: int, split: str, index: int, *, shifted: bool = True) -> np.ndarray:
    """One picture of a dataset, (48, 48, 3) uint8, a function of its place alone."""
    rng = np.random.default_rng([dataset.seed, label, tuple(PER_CLASS).index(split), index])
    fixed = list(dataset.classes.values())[label]
    attributes = draw_attributes(dataset.kind, rng) | dict(fixed)
    look = dataset.look(rng) if shifted else Look()
    return render(dataset.kind, attributes, rng, look)


def materialise(root: Path, names: Sequence[str] | None = None) -> None:
    """Write datasets of the suite below `root` as CoOp's split files and PNG images; complete ones are left alone.

    Each dataset is built beside its place and moved there whole, so an interrupted or concurrent call harms nothing.

    Raises:
        DataError: the folder cannot be written.
    """
    for name in DRAWN if names is None else names:
        target = Path(root) / name
        if target.is_dir():
            continue
        try:
            Path(root).mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
            try:
                _write(DRAWN[name], building)
                building.chmod(0o755)
                os.rename(building, target)
            except OSError:
                if not target.is_dir():  # else another process was faster, and its pictures are the same
                    raise
            finally:
                shutil.rmtree(building, ignore_errors=True)
        except OSError as error:
            raise DataError(
                f"{root}: the embedded suite's pictures cannot be written there ({error.strerror}). "
                "Free space, or set COPL_BENCHMARK_CACHE to a folder that can be written."
            ) from error


def _write(dataset: SyntheticDataset, folder: Path) -> None:
    splits: dict[str, list] = {split: [] for split in PER_CLASS}
    for label, name in enumerate(dataset.classes):
        inside = name.replace(" ", "_")
        (folder / "images" / inside).mkdir(parents=True)
        for split in dataset.lists:
            for index in range(PER_CLASS[split]):
                path = f"{inside}/{split}_{index:02d}.png"
                Image.fromarray(draw(dataset, label, split, index)).save(folder / "images" / path, compress_level=1)
                splits[split].append([path, label, name])
    (folder / f"split_zhou_{dataset.name}.json").write_text(json.dumps(splits))
