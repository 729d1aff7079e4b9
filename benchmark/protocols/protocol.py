"""What a protocol is: which classes train, which class sets are scored, and what it asks of a method."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.data.catalog import Dataset


@dataclass(frozen=True)
class Scored:
    """A class set to score: its name in the record, and a dataset whose classes and test list it is."""

    name: str
    dataset: Dataset


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to train and score.

    Attributes:
        training_set: (dataset, shots=, seed=) to the dataset whose train list is the sample.
        scored_sets: dataset to the class sets that are scored, in the order of the table's columns.
        transfers: scored classes differ from the trained ones, so methods with `transfers` False are refused.
        min_classes: fewer classes than this cannot be cut into the sets.
    """

    name: str
    training_set: Callable[..., Dataset]
    scored_sets: Callable[[Dataset], list[Scored]]
    transfers: bool
    min_classes: int
