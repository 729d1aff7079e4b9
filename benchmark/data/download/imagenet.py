"""Help to set up ImageNet, which cannot be redistributed: instructions, links to an existing copy, class names."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from benchmark.common.files import expand, write_atomically
from benchmark.data.catalog import load_catalog
from benchmark.data.folders import flat_problems, folders_in
from benchmark.data.layouts import CLASS_NAMES
from benchmark.errors import ConfigError, DataError

PARTS = ("train", "val")
SYNSET = re.compile(r"n\d{8}")
CLASSES = 1000
NAMES_FROM = "CoOp's DATASETS.md (https://github.com/KaiyangZhou/CoOp) links it"


def instructions(data: Path) -> str:
    """Return four lines on how to get ImageNet and where to put it."""
    folder = data / load_catalog()["imagenet"].folder
    return "\n".join(
        (
            "imagenet cannot be redistributed: register at https://image-net.org for ILSVRC2012's train and val sets.",
            f"Unpack them into class folders: {folder}/images/train/nXXXXXXXX/ and {folder}/images/val/nXXXXXXXX/.",
            "If you have them, `download imagenet --imagenet PATH` links them (or train=PATH val=PATH).",
            f"Put {CLASS_NAMES} into {folder}: {NAMES_FROM}; --classnames copies it from a dataset that has it.",
        )
    )


def link(words: Iterable[str], data: Path) -> list[str]:
    """Link existing class folders into the data folder; an existing link to them is kept.

    Args:
        words: one PATH that contains train/ and val/, or train=PATH and val=PATH.
    Returns:
        A message for each new link.
    Raises:
        ConfigError, DataError: the class folders are missing, or something else has the name of the link.
    """
    trees = _trees(list(words))
    problems = [f"{part}: {problem}" for part, tree in trees.items() if (problem := _tree_problem(tree))]
    if problems:
        raise DataError(f"--imagenet: {'; '.join(problems)}. Give class folders, as for torchvision's ImageFolder.")
    images = data / load_catalog()["imagenet"].folder / load_catalog()["imagenet"].images
    places = {images / part: tree for part, tree in trees.items()}
    if trees["train"].parent == trees["val"].parent and all(tree.name == part for part, tree in trees.items()):
        places = {images: trees["train"].parent}
    linked = []
    for place, tree in places.items():
        if os.path.lexists(place) and os.path.realpath(place) != os.path.realpath(tree):
            raise DataError(f"{place}: exists already and is not {tree}. Move it away, or omit --imagenet.")
        if not os.path.lexists(place):
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(tree, target_is_directory=True)
            except OSError as error:
                raise DataError(f"{place}: cannot be linked to {tree} ({error.strerror}).") from error
            linked.append(f"{place} -> {tree}")
    return linked


def write_class_names(data: Path) -> Path:
    """Copy classnames.txt from a shifted version in the data folder if ImageNet has none; return its path.

    CoOp's preparation copies ImageNet's file to the shifted versions. It must name all 1000 classes.

    Raises:
        DataError: no dataset in the data folder has it.
    """
    target = data / load_catalog()["imagenet"].folder / CLASS_NAMES
    if target.is_file():
        return target
    for name in ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"):
        path = data / load_catalog()[name].folder / CLASS_NAMES
        content = path.read_bytes() if path.is_file() else b""
        lines = content.decode("utf-8-sig", errors="replace").splitlines()
        synsets = {line.split(" ", 1)[0] for line in lines if " " in line}
        if sum(bool(SYNSET.fullmatch(synset)) for synset in synsets) == CLASSES:
            write_atomically(target, content)
            return path
    raise DataError(
        f"{target}: the 1000 names are not part of this program, and no dataset in {data} has them. {NAMES_FROM}; or "
        "run `python -m benchmark download imagenetv2` first, which may include it."
    )


def _trees(words: list[str]) -> dict[str, Path]:
    given = dict(word.partition("=")[::2] for word in words if word.startswith(("train=", "val=")))
    if len(words) == 1 and not given:
        return {part: Path(os.path.abspath(expand(words[0]) / part)) for part in PARTS}
    if set(given) != set(PARTS) or len(words) != len(PARTS):
        raise ConfigError(f"--imagenet {' '.join(words)}: give a PATH with train/ and val/, or train=PATH val=PATH.")
    return {part: Path(os.path.abspath(expand(given[part]))) for part in PARTS}


def _tree_problem(tree: Path) -> str | None:
    """Return why a folder does not contain ImageNet's class folders, or None."""
    if not tree.is_dir():
        return f"there is no folder {tree}"
    inside = folders_in(tree)
    if flat := flat_problems(tree):
        return "; ".join(flat)
    if not inside:
        return f"{tree} contains no class folders"
    wrong = sorted(name for name in inside if not SYNSET.fullmatch(name))
    return f"{tree} contains {wrong[0]}/; class folders must be called nXXXXXXXX" if wrong else None
