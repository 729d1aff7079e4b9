"""Define what a protocol is: what it trains on and which class sets it scores."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.common.config import Suite
from benchmark.data.catalog import Dataset
from benchmark.data.splits import few_shot


@dataclass(frozen=True)
class Scored:
    """A class set to score: its name in the record, and a dataset with its classes and test list."""

    name: str
    dataset: Dataset


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The part of a request that determines which datasets are trained on and which are scored.

    Attributes:
        datasets: from --datasets; None: the suite's.
        source: from --source.
        missing_datasets: those that need --data, if it is not given.
    """

    suite: Suite
    datasets: tuple[str, ...] | None = None
    source: str | None = None
    missing_datasets: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the datasets of --datasets, or else the suite's."""
        return self.suite.datasets if self.datasets is None else self.datasets


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to train and score.

    Attributes:
        title: capitalized, as at the start of a sentence.
        trainings: choice to {training dataset: other datasets that its learned values are scored on}.
        trains_on: which classes are trained on.
        training_set: (dataset, shots=, seed=) to a dataset whose train list is the sample.
        scored_sets: (training dataset, other datasets) to the scored class sets, in the order of the table's columns.
        min_classes: smallest number of classes that can be scored.
        takes_source: whether --source applies.
        shots: the default numbers of shots; empty: the suite's number, and a single one only.
    """

    name: str
    title: str
    trainings: Callable[[Choice], dict[str, tuple[str, ...]]]
    trains_on: Literal["base", "all"] = "all"
    training_set: Callable[..., Dataset]
    scored_sets: Callable[[Dataset, Sequence[Dataset]], list[Scored]]
    min_classes: int = 1
    takes_source: bool = False
    shots: tuple[int, ...] = ()


def each_dataset(choice: Choice) -> dict[str, tuple[str, ...]]:
    """Return every dataset as a training dataset without targets."""
    return {name: () for name in choice.names}


def sample_of_all_classes(dataset: Dataset, *, shots: int, seed: int) -> Dataset:
    """Return the K-shot sample of all classes."""
    train, val = few_shot(dataset, shots=shots, seed=seed)
    return dataclasses.replace(dataset, train=train, val=val)


def by_dataset(source: Dataset, targets: Sequence[Dataset]) -> list[Scored]:
    """Return the training dataset, then the others, each by name and with all its classes."""
    return [Scored(dataset.name, dataset) for dataset in (source, *targets)]
