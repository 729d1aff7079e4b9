"""Define few-shot: train on 1, 2, 4, 8 and 16 images of every class, score all classes.

Source: Zhou et al., IJCV 2022, arXiv 2109.01134.
"""

from collections.abc import Sequence

from benchmark.common.constants import SHOTS
from benchmark.data.catalog import Dataset
from benchmark.protocols.protocol import Protocol, Scored, each_dataset, sample_of_all_classes


def scored_sets(dataset: Dataset, targets: Sequence[Dataset]) -> list[Scored]:
    """Return all classes as one set; there are no targets."""
    return [Scored("all", dataset)]


PROTOCOL = Protocol(
    name="few_shot",
    title="Few-shot",
    trainings=each_dataset,
    training_set=sample_of_all_classes,
    scored_sets=scored_sets,
    shots=SHOTS,
)
