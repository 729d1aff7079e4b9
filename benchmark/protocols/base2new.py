"""Base-to-new: train on the first half of the classes, score both halves, each among its own classes only.

Zhou et al., CVPR 2022, arXiv 2203.05557: the sample is drawn from all classes, the halves are cut afterwards.
"""

from collections.abc import Sequence

from benchmark.data.catalog import Dataset
from benchmark.data.splits import half
from benchmark.protocols.protocol import Protocol, Scored, each_dataset, sample_of_all_classes


def training_set(dataset: Dataset, *, shots: int, seed: int) -> Dataset:
    """The K-shot sample of the base half."""
    return half(sample_of_all_classes(dataset, shots=shots, seed=seed), "base")


def scored_sets(dataset: Dataset, targets: Sequence[Dataset]) -> list[Scored]:
    """The two halves; there are no targets."""
    return [Scored("base", half(dataset, "base")), Scored("new", half(dataset, "new"))]


PROTOCOL = Protocol(
    name="base2new",
    title="Base-to-new",
    trainings=each_dataset,
    trains_on="base",
    training_set=training_set,
    scored_sets=scored_sets,
    min_classes=2,
)
