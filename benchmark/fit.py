"""The training loop: frozen features in, learned prompts out. Accelerate drives device, precision and loss scaling."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor

from benchmark.clip.backbone import ImageFeatures
from benchmark.config import Training
from benchmark.data.catalog import Dataset
from benchmark.errors import BenchmarkError
from benchmark.features import FeatureStore, View
from benchmark.memory import in_memory
from benchmark.method import Method

FEW_STEPS = 100  # at or below this a schedule hardly moves anything, and the record says so


class DivergedError(BenchmarkError):
    """The loss became NaN or infinite."""


@dataclass
class FitReport:
    """What a training did.

    Attributes:
        steps: optimiser steps.
        images: images seen, repeats counted.
        seconds: wall-clock time of the loop, views of the training images included.
        losses: mean total loss of each epoch.
        warnings: what a reader of the result should know.
    """

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """What a record keeps of it; its warnings stand there on their own."""
        return {"steps": self.steps, "images": self.images, "seconds": self.seconds, "losses": self.losses}


def learning_rate(training: Training, epoch: int) -> float:
    """The rate of an epoch (from 0): a constant warm-up, then a half cosine that starts after it.

    Source: dassl/optim/lr_scheduler.py at c61a1b5; the cosine's period is the number of epochs, so it ends above 0.
    """
    if epoch < training.warmup_epochs:
        return training.warmup_learning_rate
    turned = math.pi * (epoch - training.warmup_epochs) / training.epochs
    return 0.5 * training.learning_rate * (1 + math.cos(turned))


def batches_per_epoch(count: int, batch_size: int) -> int:
    """Steps of an epoch: the last incomplete batch is dropped, unless it would be the only one."""
    return max(1, count // batch_size)


def shuffled(count: int, seed: int, epoch: int) -> list[int]:
    """The order of an epoch, a function of (seed, epoch) alone."""
    digest = hashlib.sha256(f"{seed} shuffle {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randperm(count, generator=generator).tolist()


def fit(
    method: Method,
    training: Training,
    dataset: Dataset,
    *,
    store: FeatureStore,
    seed: int,
    accelerator: Accelerator,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> FitReport:
    """Train a method's learnable parameters on the training list of a dataset.

    SGD with momentum and weight decay; the rate changes once an epoch; the parameters after the last epoch are kept.

    Args:
        dataset: its `train` list is the sample, its classes are those the method was made with.
        on_epoch: told the number of epochs done, after each.
    Raises:
        DivergedError: the loss of an epoch is not finite.
    """
    report, started = FitReport(), time.perf_counter()
    parameters = [p for p in method.parameters() if p.requires_grad]
    optimizer = accelerator.prepare_optimizer(
        torch.optim.SGD(
            parameters, lr=training.learning_rate, momentum=training.momentum, weight_decay=training.weight_decay
        )
    )
    steps = training.epochs * batches_per_epoch(len(dataset.train), training.batch_size)
    if steps <= FEW_STEPS:
        report.warnings.append(f"only {steps} steps in all: {training.epochs} epochs of {steps // training.epochs}")
    method.train()
    for epoch in range(training.epochs):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(training, epoch)
        total = torch.zeros((), device=parameters[0].device)
        count = 0
        for images, labels in _batches(method, training, dataset, store=store, view=View(seed, epoch)):
            total += _step(method, optimizer, images, labels, accelerator=accelerator)
            count += 1
            report.images += len(labels)
        report.steps += count
        report.losses.append(float(total) / count)
        if not math.isfinite(report.losses[-1]):
            raise DivergedError(
                f"The loss became {report.losses[-1]} in epoch {epoch} of {training.epochs} (learning rate "
                f"{learning_rate(training, epoch):g}). Lower learning_rate, or take --precision fp32."
            )
        on_epoch(epoch + 1)
    method.eval()
    report.seconds = time.perf_counter() - started
    return report


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


def _step(method: Method, optimizer, images: ImageFeatures, labels: Tensor, *, accelerator: Accelerator) -> Tensor:
    """One optimiser step; returns the total loss, detached."""
    scaler = accelerator.scaler

    def gradients() -> Tensor:
        optimizer.zero_grad()
        with accelerator.autocast():
            losses = method.loss(images, labels)
        method.backward(losses if scaler is None else losses.scaled(scaler.scale(torch.ones((), device=labels.device))))
        return losses.total.detach()

    total = in_memory(method.clip.text, gradients)
    optimizer.step()
    return total
