"""The training loop: frozen features in, learned prompts out. Accelerate drives device, precision and loss scaling."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from torch import Tensor

from benchmark.clip.backbone import ImageFeatures
from benchmark.config import Training
from benchmark.data.catalog import Dataset
from benchmark.errors import DataError, DivergedError
from benchmark.features import FeatureStore, View
from benchmark.graphs import Compute, recorded
from benchmark.lockstep import backward, losses_of
from benchmark.memory import in_memory
from benchmark.method import Method

FEW_STEPS = 100  # at or below this a schedule hardly moves anything, and the record says so


@dataclass
class FitReport:
    """What a training did.

    Attributes:
        steps: optimiser steps.
        images: images seen, repeats counted.
        seconds: wall-clock time of the loop, views of the training images included; a share of it, in lockstep. Of a
            method that reads the images before, with the time for that.
        losses: mean total loss of each epoch.
        together: trainings that shared their passes, this one among them.
        taken_from: the record, below the results folder, whose training this is; None for one of its own.
        warnings: what a reader of the result should know.
    """

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    together: int = 1
    taken_from: str | None = None
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """What a record keeps of it; its warnings stand there on their own."""
        kept = ("steps", "images", "seconds", "together", "losses")
        taken = {} if self.taken_from is None else {"taken_from": self.taken_from}
        return {name: getattr(self, name) for name in kept} | taken


def learning_rate(training: Training, epoch: int) -> float:
    """The rate of an epoch (from 0): a constant warm-up, then a half cosine that starts after it.

    Source: dassl/optim/lr_scheduler.py at c61a1b5; the cosine's period is the number of epochs, so it ends above 0.
    """
    if epoch < training.warmup_epochs:
        return training.warmup_learning_rate
    turned = math.pi * (epoch - training.warmup_epochs) / training.epochs
    return 0.5 * training.learning_rate * (1 + math.cos(turned))


def make_optimizer(training: Training, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of a recipe over some parameters; the rate of each epoch is set before it."""
    common = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=training.momentum, **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[training.optimizer]
    return kind(parameters, eps=training.epsilon, **common)


def batches_per_epoch(count: int, batch_size: int) -> int:
    """Steps of an epoch: the last incomplete batch is dropped, unless it would be the only one."""
    return max(1, count // batch_size)


def shuffled(count: int, seed: int, epoch: int) -> list[int]:
    """The order of an epoch, a function of (seed, epoch) alone."""
    digest = hashlib.sha256(f"{seed} shuffle {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randperm(count, generator=generator).tolist()


@torch.no_grad()
def give_sample(method: Method, dataset: Dataset, *, seed: int, store: FeatureStore) -> float:
    """Let a method that asks for it read its training images: random views as those of the first epochs.

    Returns:
        The seconds that it took.
    """
    started, items = time.perf_counter(), dataset.train
    if not method.sample_views:
        return 0.0
    labels = torch.tensor([item.label for item in items], device=store.clip.device)
    views = [
        ImageFeatures.joined(
            list(
                store.train(dataset, items, View(seed, epoch), method.needs_patches, order=range(len(items)), batch=64)
            )
        )
        for epoch in range(method.sample_views)
    ]
    method.take_sample(views, labels)
    return time.perf_counter() - started


def fit(
    method: Method,
    training: Training,
    dataset: Dataset,
    *,
    store: FeatureStore,
    seed: int,
    accelerator: Accelerator,
    on_epoch: Callable[[int], None] = lambda epoch: None,
    graphs: bool = True,
) -> FitReport:
    """Train a method's learnable parameters on the training list of a dataset.

    The rate changes once an epoch; the parameters after the last epoch are kept.

    Args:
        dataset: its `train` list is the sample, its classes are those the method was made with.
        on_epoch: told the number of epochs done, after each.
        graphs: whether a step may be recorded and replayed, on a CUDA GPU.
    Raises:
        DivergedError: the loss of an epoch is not finite.
    """
    tools = {"store": store, "accelerator": accelerator, "on_epoch": on_epoch, "graphs": graphs}
    return fit_together([method], training, [dataset], seeds=[seed], **tools)[0]


def fit_together(
    methods: Sequence[Method],
    training: Training,
    datasets: Sequence[Dataset],
    *,
    store: FeatureStore,
    seeds: Sequence[int],
    accelerator: Accelerator,
    on_epoch: Callable[[int], None] = lambda epoch: None,
    graphs: bool = True,
) -> list[FitReport]:
    """As `fit`, for copies of a method that lockstep.can_share allows, each with a seed and a sample of its own.

    The seconds of a report are its share of the time. Samples of different sizes are no lockstep: DataError.
    """
    started, counts = time.perf_counter(), {len(dataset.train) for dataset in datasets}
    if len(counts) > 1:
        raise DataError(f"Samples of {sorted(counts)} images cannot be trained in lockstep; train them one by one.")
    reports = [FitReport() for _ in methods]
    parameters = [p for method in methods for p in method.learnable()]
    optimizer = accelerator.prepare_optimizer(make_optimizer(training, parameters))
    stepper = _Stepper(methods, optimizer, accelerator, graphs=graphs)
    steps = training.epochs * batches_per_epoch(counts.pop(), training.batch_size)
    if steps <= FEW_STEPS:
        for report in reports:
            report.warnings.append(f"only {steps} steps in all: {training.epochs} epochs of {steps // training.epochs}")
    for method in methods:
        method.train()
    for epoch in range(training.epochs):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(training, epoch)
        _epoch(methods, training, datasets, reports, stepper, seeds, epoch, store=store)
        on_epoch(epoch + 1)
    for method, report in zip(methods, reports, strict=True):
        method.eval()
        report.seconds = (time.perf_counter() - started) / len(methods)
        report.together = len(methods)
    return reports


def _epoch(
    methods: Sequence[Method],
    training: Training,
    datasets: Sequence[Dataset],
    reports: Sequence[FitReport],
    stepper: "_Stepper",
    seeds: Sequence[int],
    epoch: int,
    *,
    store: FeatureStore,
) -> None:
    """The steps of an epoch of all copies, into their reports."""
    batches = [
        _batches(method, training, dataset, store=store, view=View(seed, epoch))
        for method, dataset, seed in zip(methods, datasets, seeds, strict=True)
    ]
    totals = torch.zeros(len(methods), device=store.clip.device)
    count = seen = 0
    for together in zip(*batches, strict=True):
        images, labels = zip(*together, strict=True)
        totals += stepper.step(images, labels)
        count += 1
        seen += len(labels[0])
    for report, total, seed in zip(reports, totals.tolist(), seeds, strict=True):
        report.steps += count
        report.images += seen
        report.losses.append(total / count)
        if not math.isfinite(total):
            raise DivergedError(
                f"The loss of seed {seed} became {total} in epoch {epoch} of {training.epochs} (learning rate "
                f"{learning_rate(training, epoch):g}). Lower learning_rate, or take --precision fp32."
            )


def _batches(
    method: Method, training: Training, dataset: Dataset, *, store: FeatureStore, view: View
) -> Iterator[tuple[ImageFeatures, Tensor]]:
    """The batches of an epoch."""
    items, size, device = dataset.train, training.batch_size, store.clip.device
    order = shuffled(len(items), view.seed, view.epoch)
    order = order[: batches_per_epoch(len(items), size) * size]
    labels = torch.tensor([items[i].label for i in order], device=device)
    parts = store.train(dataset, items, view, method.needs_patches, order=order, batch=size)
    yield from zip(parts, labels.split(size), strict=True)


class _Stepper:
    """Does the optimiser steps of some copies; on a CUDA GPU it replays a recorded one where that can be had."""

    def __init__(self, methods: Sequence[Method], optimizer, accelerator: Accelerator, *, graphs: bool):
        self.methods, self.optimizer, self.accelerator = methods, optimizer, accelerator
        self._parameters = [p for method in methods for p in method.learnable()]
        # loss scaling decides on the CPU whether to step, and autocast's memory of weights does not survive a replay
        self._record = graphs and accelerator.device.type == "cuda" and accelerator.scaler is None
        self._autocast = AutocastKwargs(cache_enabled=not self._record)
        self._replay: Compute | None = None

    def step(self, images: Sequence[ImageFeatures], labels: Sequence[Tensor]) -> Tensor:
        """One step of all copies, each on its batch; returns their total losses, detached."""
        if self._record:
            self._replay, self._record = recorded(self._gradients, images, labels, self._parameters), False
        if self._replay is not None:
            totals = self._replay(images, labels)
        else:
            totals = in_memory(self.methods[0].clip.text, lambda: self._fresh_gradients(images, labels))
        self.optimizer.step()
        return totals

    def _fresh_gradients(self, images: Sequence[ImageFeatures], labels: Sequence[Tensor]) -> Tensor:
        self.optimizer.zero_grad()
        return self._gradients(images, labels)

    def _gradients(self, images: Sequence[ImageFeatures], labels: Sequence[Tensor]) -> Tensor:
        with self.accelerator.autocast(self._autocast):
            losses = losses_of(self.methods, images, labels)
        scaler = self.accelerator.scaler
        factor = None if scaler is None else scaler.scale(torch.ones((), device=labels[0].device))
        backward(self.methods, losses if factor is None else [own.scaled(factor) for own in losses])
        return torch.stack([own.total.detach() for own in losses])
