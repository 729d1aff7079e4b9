"""Base-to-new: train on the first half of the classes, score both halves, each among its own classes only.

Zhou et al., CVPR 2022, arXiv 2203.05557: the sample is drawn from all classes, the halves are cut afterwards.
"""

import dataclasses

from benchmark.data.catalog import Dataset
from benchmark.data.splits import few_shot, half
from benchmark.protocols.protocol import Protocol, Scored


def training_set(dataset: Dataset, *, shots: int, seed: int) -> Dataset:
    """The K-shot sample of the base half."""
    train, val = few_shot(dataset, shots=shots, seed=seed)
    return half(dataclasses.replace(dataset, train=train, val=val), "base")


def scored_sets(dataset: Dataset) -> list[Scored]:
    """The two halves."""
    return [Scored("base", half(dataset, "base")), Scored("new", half(dataset, "new"))]


PROTOCOL = Protocol(name="base2new", training_set=training_set, scored_sets=scored_sets, transfers=True, min_classes=2)
