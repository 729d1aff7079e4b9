"""Sample few-shot training sets as the field does, and cut the classes into base and new halves."""

import dataclasses
import math
import random
from typing import Literal

from benchmark.common.constants import VALIDATION_SHOTS
from benchmark.data.catalog import Dataset, Item
from benchmark.errors import ConfigError

UNSAMPLED_VALIDATION = ("imagenet",)  # CoOp datasets/imagenet.py samples the training list only


def few_shot(dataset: Dataset, shots: int, seed: int) -> tuple[list[Item], list[Item]]:
    """Sample K training and up to four validation images per class, the same ones as CoOp's for the same seed.

    One random stream samples the training list, then the validation list. Classes come in the order of their first
    appearance; a class with fewer images than shots contributes all of them.
    Source: generate_fewshot_dataset of dassl/data/datasets/base_dataset.py at c61a1b5.

    Raises:
        ConfigError: shots below 1 or a seed below 0.
    """
    if shots < 1 or seed < 0:
        raise ConfigError(f"few_shot: shots is {shots} and seed is {seed}; shots must be 1 or more, seed 0 or more.")
    stream = random.Random(seed)
    train = _sample(dataset.train, shots, stream)
    if dataset.name in UNSAMPLED_VALIDATION:
        return train, list(dataset.val)
    return train, _sample(dataset.val, min(shots, VALIDATION_SHOTS), stream)


def half(dataset: Dataset, which: Literal["base", "new", "all"]) -> Dataset:
    """Keep one half of the classes, with labels from 0; base is the first ceil(C / 2) labels.

    Raises:
        ConfigError: `which` is unknown, or there are too few classes.
    """
    if which not in ("base", "new", "all"):
        raise ConfigError(f"half: '{which}' is unknown. Allowed: 'base', 'new', 'all'.")
    if which == "all":
        return dataset
    count = len(dataset.class_names)
    if count < 2:
        raise ConfigError(f"{dataset.name}: {count} class cannot be cut into a base and a new half.")
    middle = math.ceil(count / 2)
    first, last = (0, middle) if which == "base" else (middle, count)

    def kept(items: list[Item]) -> list[Item]:
        chosen = [item for item in items if first <= item.label < last]
        return [Item(i.path, i.label - first, i.class_name) for i in chosen] if first else chosen

    return dataclasses.replace(
        dataset,
        class_names=dataset.class_names[first:last],
        train=kept(dataset.train),
        val=kept(dataset.val),
        test=kept(dataset.test),
    )


def _sample(items: list[Item], shots: int, stream: random.Random) -> list[Item]:
    by_label: dict[int, list[Item]] = {}
    for item in items:
        by_label.setdefault(item.label, []).append(item)
    sample: list[Item] = []
    for group in by_label.values():
        sample += stream.sample(group, shots) if len(group) >= shots else group
    return sample
