"""Describe one planned run: its spec, the datasets it uses, and where its learned values come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmark.clip.backbone import Clip
from benchmark.common.config import RunSpec
from benchmark.data.catalog import Dataset, count_by_label
from benchmark.method import Method
from benchmark.plugins.factory import create_method
from benchmark.protocols.protocol import Scored
from benchmark.protocols.registry import PROTOCOLS
from benchmark.training.schedule import batches_per_epoch


@dataclass(frozen=True)
class Task:
    """What methods are trained and scored on: a protocol, the dataset trained on, other datasets scored, shots."""

    protocol: str
    dataset: Dataset
    targets: tuple[Dataset, ...]
    shots: int

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """The dataset trained on, then the targets."""
        return (self.dataset, *self.targets)

    @cached_property
    def scored_sets(self) -> list[Scored]:
        """The class sets that a run scores."""
        return PROTOCOLS[self.protocol].scored_sets(self.dataset, self.targets)

    @cached_property
    def images(self) -> int:
        """Training images of a sample; as many for each seed."""
        return len(self.training_set(0).train)

    def training_set(self, seed: int) -> Dataset:
        """The dataset whose train list is the sample of a seed."""
        return PROTOCOLS[self.protocol].training_set(self.dataset, shots=self.shots, seed=seed)

    def problems(self) -> list[str]:
        """Why the protocol cannot train on the dataset, if it cannot."""
        dataset, needed = self.dataset, PROTOCOLS[self.protocol].min_classes
        if not dataset.train:
            return [
                f"{dataset.name}: {self.protocol} trains on it, but it holds test images only. Leave it out with "
                "--datasets, or score it with --protocol cross_dataset or domain_generalization"
            ]
        if len(dataset.class_names) < needed:
            return [f"{dataset.name}: {self.protocol} needs {needed} classes or more"]
        return []

    def warnings(self) -> list[str]:
        """A note if the training list has fewer images of a class than shots."""
        counts = count_by_label(self.dataset.train, len(self.dataset.class_names))
        few = sum(count < self.shots for count in counts)
        if not few:
            return []
        return [
            f"{self.dataset.name}: {few} of {len(counts)} classes have fewer than {self.shots} training images; all "
            "are used."
        ]

    def one_class_sets(self) -> list[str]:
        """A note if a scored set has one class, among which every answer is right."""
        if not (alone := [each.name for each in self.scored_sets if len(each.dataset.class_names) == 1]):
            return []
        names = " and ".join(alone)
        return [f"{self.dataset.name}: {self.protocol} scores one class alone in {names}: every answer is right."]


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedRun:
    """One run of a plan.

    Attributes:
        alike: the spec without its seed and images, which runs have in common that differ in their seed.
        overrides: option values of the method given on the command line.
        file: the file of learned values that replaces the training; None if the method is trained.
        sample_views: views of each training image that the method reads before its training.
        missing: whether the run has no record yet.
        reuses_training: whether another run, recorded or planned before it, has the same training.
    """

    spec: RunSpec
    alike: RunSpec
    task: Task
    overrides: Mapping[str, object] = field(default_factory=dict)
    file: Path | None = None
    sample_views: int = 0
    missing: bool = True
    reuses_training: bool = False

    @property
    def trains(self) -> bool:
        """Whether the run has a training of its own."""
        return self.spec.training is not None and not self.reuses_training

    def training_set(self) -> Dataset:
        """The dataset whose train list is the sample of this run."""
        return self.task.training_set(self.spec.seed)

    def scored_sets(self) -> list[tuple[Scored, str]]:
        """The class sets that the run scores, each with its template."""
        targets = self.spec.targets
        return [(scored, targets.get(scored.name, self.spec.template)) for scored in self.task.scored_sets]

    def steps(self) -> int:
        """Optimizer steps that the run takes; 0 if it does not train."""
        if not self.trains:
            return 0
        training = self.spec.training
        return training.epochs * batches_per_epoch(self.task.images, training.batch_size)

    def make_method(self, clip: Clip, training_set: Dataset) -> Method:
        """The method of the run with fresh learnable parameters."""
        spec = self.spec
        return create_method(
            spec.method,
            clip=clip,
            class_names=training_set.class_names,
            template=spec.template,
            config=dict(spec.options),
            seed=spec.seed,
        )
