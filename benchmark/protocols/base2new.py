"""Define base-to-new: train on the first half of the classes, score each half among its own classes.

Source: Zhou et al., CVPR 2022, arXiv 2203.05557. The shots are sampled from all classes before the classes are cut.
"""

import dataclasses
from collections.abc import Sequence

from benchmark.data.catalog import Dataset
from benchmark.data.splits import half
from benchmark.protocols.protocol import Protocol, Scored, each_dataset, sample_of_all_classes


def training_set(dataset: Dataset, *, shots: int, seed: int) -> Dataset:
    """Return the K-shot sample of the base half."""
    return half(sample_of_all_classes(dataset, shots=shots, seed=seed), "base")


def scored_sets(dataset: Dataset, targets: Sequence[Dataset]) -> list[Scored]:
    """Return the two halves, without the images that are not scored; there are no targets."""
    tested = dataclasses.replace(dataset, train=[], val=[])
    return [Scored("base", half(tested, "base")), Scored("new", half(tested, "new"))]


PROTOCOL = Protocol(
    name="base2new",
    title="Base-to-new",
    trainings=each_dataset,
    trains_on="base",
    training_set=training_set,
    scored_sets=scored_sets,
    min_classes=2,
)
