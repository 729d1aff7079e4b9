"""Generate the embedded suite: eleven small datasets that imitate the paper's eleven, in CoOp's layout.

Four shifted versions of the first one imitate the ImageNet variants and have test images only. Every dataset has a
domain shift of its own against the images that the embedded checkpoint was trained on, as the paper's have against
CLIP's. Results on the suite never stand for results on the paper's datasets.
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

from benchmark.data.synthetic.canvas import Style
from benchmark.data.synthetic.captions import (
    CAR_COLOURS,
    CHOICES,
    FLOWER_COLOURS,
    FOOD_COLOURS,
    PET_COLOURS,
    sample_attributes,
)
from benchmark.data.synthetic.names import CHECKPOINT, suite_version
from benchmark.data.synthetic.renderer import render
from benchmark.data.synthetic.shapes import SHAPES, THINGS
from benchmark.errors import DataError

__all__ = ["CHECKPOINT", "GENERATED", "PER_CLASS", "SHIFTED", "SYNTHETIC", "SyntheticDataset", "generate_datasets",
           "generate_image", "suite_version"]  # fmt: skip
PER_CLASS = {"train": 16, "val": 4, "test": 50}


@dataclass(frozen=True, kw_only=True)
class SyntheticDataset:
    """One dataset of the suite.

    Attributes:
        kind: what the images show; a key of renderer.KINDS.
        mirrors: the dataset of the paper that it imitates.
        template: CoOp's template for that dataset.
        classes: class name to the attributes that all its images share; the other attributes are random.
        style: samples the style of an image, which is the domain shift.
        seed: of all its images.
        lists: which of train, val and test it has.
    """

    name: str
    kind: str
    mirrors: str
    template: str
    classes: Mapping[str, Mapping[str, str]]
    style: Callable[[np.random.Generator], Style]
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
        classes=_one("figure", tuple(SHAPES)),
        style=lambda rng: Style(clutter=int(rng.integers(6, 14)), noise=0.08, turn=rng.uniform(-0.5, 0.5)),
    ),
    SyntheticDataset(
        name="synth_things", kind="object", mirrors="caltech101", template=PHOTO, seed=102,
        classes=_one("figure", tuple(THINGS)),
        style=lambda rng: Style(line_drawing=True, light=rng.uniform(0.7, 1.0), wash=0.3),
    ),
    SyntheticDataset(
        name="synth_pets", kind="pet", mirrors="oxford_pets", template="a photo of a {}, a type of pet.", seed=103,
        classes=_pairs("{colour} animal with {ears} ears", colour=PET_COLOURS, ears=CHOICES["pet"]["ears"]),
        style=lambda rng: Style(hue=0.08, shear=rng.uniform(0.2, 0.5), blur=0.6),
    ),
    SyntheticDataset(
        name="synth_cars", kind="car", mirrors="stanford_cars", template=PHOTO, seed=104,
        classes=_pairs("{colour} {body}", colour=CAR_COLOURS, body=CHOICES["car"]["body"]),
        style=lambda rng: Style(hue=-0.1, turn=rng.uniform(0.15, 0.45), wash=0.35),
    ),
    SyntheticDataset(
        name="synth_flowers", kind="flower", mirrors="oxford_flowers", seed=105,
        template="a photo of a {}, a type of flower.",
        classes=_pairs(
            "{colour} blossom with {petals} petals", colour=FLOWER_COLOURS, petals=("three", "four", "five", "eight")
        ),
        style=lambda rng: Style(hue=0.12, light=0.8, zoom=rng.uniform(1.1, 1.4)),
    ),
    SyntheticDataset(
        name="synth_food", kind="food", mirrors="food101", template="a photo of {}, a type of food.", seed=106,
        classes=_pairs("{count} {colour} berries", count=("two", "three", "four", "five"), colour=FOOD_COLOURS),
        style=lambda rng: Style(hue=-0.07, shear=0.5, wash=0.25, noise=0.05),
    ),
    SyntheticDataset(
        name="synth_aircraft", kind="plane", mirrors="fgvc_aircraft", seed=107,
        template="a photo of a {}, a type of aircraft.",
        classes=_pairs(
            "plane with {wings} wings and {engines} engines",
            wings=CHOICES["plane"]["wings"],
            engines=CHOICES["plane"]["engines"],
        ),
        style=lambda rng: Style(turn=rng.uniform(0.6, 1.2), blur=0.7, light=0.75),
    ),
    SyntheticDataset(
        name="synth_scenes", kind="scene", mirrors="sun397", template=PHOTO, seed=108,
        classes=_one("scene", CHOICES["scene"]["scene"]),
        style=lambda rng: Style(hue=0.3, wash=0.35, noise=0.1, turn=rng.uniform(-0.4, 0.4)),
    ),
    SyntheticDataset(
        name="synth_textures", kind="texture", mirrors="dtd", template="{} texture.", seed=109,
        classes=_one("texture", CHOICES["texture"]["texture"]),
        style=lambda rng: Style(turn=rng.uniform(0.5, 1.1), zoom=0.6, blur=0.8, wash=0.5),
    ),
    SyntheticDataset(
        name="synth_overhead", kind="land", mirrors="eurosat", template="a centered satellite photo of {}.", seed=110,
        classes=_one("land", CHOICES["land"]["land"]),
        style=lambda rng: Style(hue=-0.22, light=0.7, zoom=1.5),
    ),
    SyntheticDataset(
        name="synth_actions", kind="arrangement", mirrors="ucf101", template="a photo of things {}.", seed=111,
        classes=_one("arrangement", CHOICES["arrangement"]["arrangement"]),
        style=lambda rng: Style(shear=rng.uniform(-0.6, 0.6), zoom=1.25, clutter=int(rng.integers(2, 6))),
    ),
)  # fmt: skip

_OBJECTS = tuple(SHAPES)


def _shifted(name: str, mirrors: str, seed: int, style: Callable, shapes: Sequence[str] = _OBJECTS) -> SyntheticDataset:
    """Return the classes of synth_objects, all or some, in another style."""
    return SyntheticDataset(
        name=f"synth_objects_{name}", kind="object", mirrors=mirrors, template=PHOTO, seed=seed,
        classes=_one("figure", shapes), style=style, lists=("test",),
    )  # fmt: skip


_SHIFTED = (
    _shifted(
        "v2", "imagenetv2", 112,
        lambda rng: Style(clutter=int(rng.integers(6, 14)), noise=0.11, turn=rng.uniform(-0.5, 0.5)),
    ),
    _shifted(
        "sketch", "imagenet_sketch", 113,
        lambda rng: Style(line_drawing=True, light=rng.uniform(0.7, 1.0), wash=0.6, turn=rng.uniform(-0.9, 0.9)),
    ),
    _shifted(
        "adversarial", "imagenet_a", 114,
        lambda rng: Style(clutter=int(rng.integers(14, 24)), shear=rng.uniform(-0.7, 0.7), zoom=rng.uniform(1.2, 1.6)),
        _OBJECTS[::2],
    ),
    _shifted(
        "rendition", "imagenet_r", 115,
        lambda rng: Style(hue=rng.uniform(0.3, 0.7), light=0.7, shear=rng.uniform(-0.5, 0.5), blur=1.1),
        _OBJECTS[3:9],
    ),
)  # fmt: skip

SYNTHETIC: dict[str, SyntheticDataset] = {dataset.name: dataset for dataset in _DATASETS}
SHIFTED: dict[str, SyntheticDataset] = {dataset.name: dataset for dataset in _SHIFTED}
GENERATED = SYNTHETIC | SHIFTED


def generate_image(
    dataset: SyntheticDataset, label: int, split: str, index: int, *, shifted: bool = True
) -> np.ndarray:
    """Return an image, (48, 48, 3) uint8, which depends on the arguments only; `shifted`: in the dataset's style."""
    rng = np.random.default_rng([dataset.seed, label, tuple(PER_CLASS).index(split), index])
    fixed = list(dataset.classes.values())[label]
    attributes = sample_attributes(dataset.kind, rng) | dict(fixed)
    style = dataset.style(rng) if shifted else Style()
    return render(dataset.kind, attributes, rng, style)


def generate_datasets(root: Path, names: Sequence[str] | None = None) -> None:
    """Write generated datasets to `root` as CoOp's split files and PNG images; existing ones are kept.

    Each dataset is built in a temporary folder next to its own and then renamed, so interrupted or concurrent calls
    leave only complete datasets.

    Args:
        names: keys of GENERATED; None: all.
    Raises:
        DataError: the folder cannot be written.
    """
    for name in GENERATED if names is None else names:
        target = Path(root) / name
        if target.is_dir():
            continue
        try:
            Path(root).mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
            try:
                _write(GENERATED[name], building)
                building.chmod(0o755)
                os.rename(building, target)
            except OSError:
                if not target.is_dir():  # otherwise another process was faster, and its images are the same
                    raise
            finally:
                shutil.rmtree(building, ignore_errors=True)
        except OSError as error:
            raise DataError(
                f"{root}: the generated images cannot be written there ({error.strerror}). "
                "Free space, or set COPL_BENCHMARK_CACHE to a writable folder."
            ) from error


def path_of(class_name: str, split: str, index: int) -> str:
    """The path of an image in the image folder of its dataset."""
    return f"{class_name.replace(' ', '_')}/{split}_{index:02d}.png"


def _write(dataset: SyntheticDataset, folder: Path) -> None:
    splits: dict[str, list] = {split: [] for split in PER_CLASS}
    for label, name in enumerate(dataset.classes):
        (folder / "images" / path_of(name, "train", 0)).parent.mkdir(parents=True)
        for split in dataset.lists:
            for index in range(PER_CLASS[split]):
                path = path_of(name, split, index)
                image = Image.fromarray(generate_image(dataset, label, split, index))
                image.save(folder / "images" / path, compress_level=1)
                splits[split].append([path, label, name])
    (folder / f"split_zhou_{dataset.name}.json").write_text(json.dumps(splits))
