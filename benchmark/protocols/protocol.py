"""What a protocol is: what it trains on, which class sets are scored, and what it asks of a method."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.common.config import Suite
from benchmark.data.catalog import Dataset
from benchmark.data.splits import few_shot


@dataclass(frozen=True)
class Scored:
    """A class set to score: its name in the record, and a dataset whose classes and test list it is."""

    name: str
    dataset: Dataset


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What of a request decides which datasets are trained on and which are scored.

    Attributes:
        datasets: those named with --datasets; None: the suite's.
        source: the one named with --source.
        away: those of which nothing says where their pictures are.
    """

    suite: Suite
    datasets: tuple[str, ...] | None = None
    source: str | None = None
    away: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """The datasets named, or else the suite's."""
        return self.suite.datasets if self.datasets is None else self.datasets


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to train and score.

    Attributes:
        title: as a sentence begins with it.
        trainings: choice to {dataset trained on: the other datasets that its learned values are scored on}.
        trains_on: which classes of a dataset are trained on; the other half is what base-to-new calls new.
        training_set: (dataset, shots=, seed=) to the dataset whose train list is the sample.
        scored_sets: (dataset trained on, the others) to the class sets scored, in the order of the table's columns.
        min_classes: fewer classes than this cannot be cut into the sets.
        takes_source: --source has a meaning.
        shots: the numbers of shots that it runs by default; none: the suite's one, and never more than one.
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
    """Every dataset is trained on and scored by itself."""
    return {name: () for name in choice.names}


def sample_of_all_classes(dataset: Dataset, *, shots: int, seed: int) -> Dataset:
    """The K-shot sample of all classes."""
    train, val = few_shot(dataset, shots=shots, seed=seed)
    return dataclasses.replace(dataset, train=train, val=val)


def by_dataset(source: Dataset, targets: Sequence[Dataset]) -> list[Scored]:
    """The dataset trained on, then the others, each under its own name and with all its classes."""
    return [Scored(dataset.name, dataset) for dataset in (source, *targets)]
