"""The training loop: frozen features in, learned prompts out. Accelerate drives device, precision and loss scaling."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor

from benchmark.clip.backbone import ImageFeatures
from benchmark.common import shutdown
from benchmark.common.config import Training
from benchmark.data.catalog import Dataset, relative_path
from benchmark.errors import ConfigError, DataError, DivergedError
from benchmark.features.store import FeatureStore, View
from benchmark.method import Method
from benchmark.training.checkpoints import Checkpoints, Moment, restore, state_of
from benchmark.training.schedule import batches_per_epoch, generator_seed, learning_rate, make_optimizer, shuffled
from benchmark.training.step import Stepper

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
    views, whole = [], {"order": range(len(items)), "batch": len(items)}
    for epoch in range(method.sample_views):
        views += store.train(dataset, items, View(seed, epoch), method.needs_patches, **whole)
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
    checkpoints: Checkpoints | None = None,
) -> FitReport:
    """Train a method's learnable parameters on the training list of a dataset.

    The rate changes once an epoch; the parameters after the last epoch are kept.

    Args:
        dataset: its `train` list is the sample, its classes are those the method was made with.
        on_epoch: told the number of epochs done, after each.
        graphs: whether a step may be recorded and replayed, on a CUDA GPU.
        checkpoints: where the training is kept while it is under way, and goes on from if it lies there.
    Raises:
        DivergedError: the loss of a step is not finite.
        Terminated: somebody asked this process to end; a checkpoint is written before.
    """
    return fit_together(
        [method],
        training,
        [dataset],
        store=store,
        seeds=[seed],
        accelerator=accelerator,
        on_epoch=on_epoch,
        graphs=graphs,
        checkpoints=checkpoints,
    )[0]


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
    checkpoints: Checkpoints | None = None,
) -> list[FitReport]:
    """As `fit`, for copies of a method that lockstep.can_share allows, each with a seed and a sample of its own.

    The seconds of a report are its share of the time. Samples of different sizes are no lockstep: DataError.
    """
    counts = {len(dataset.train) for dataset in datasets}
    if len(counts) > 1:
        raise DataError(f"Samples of {sorted(counts)} images cannot be trained in lockstep; train them one by one.")
    loop = _Loop(methods, training, datasets, seeds, store, accelerator, graphs=graphs, checkpoints=checkpoints)
    cuda = [accelerator.device] if accelerator.device.type == "cuda" else []
    for method in methods:
        method.train()
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(generator_seed(f"{seeds[0]} draws"))  # for a method that draws, in dropout say
        loop.run(on_epoch)
    for method in methods:
        method.eval()
    return loop.reports()


class _Loop:
    """Trainings of some copies of a method that go on together, step by step."""

    def __init__(
        self,
        methods: Sequence[Method],
        training: Training,
        datasets: Sequence[Dataset],
        seeds: Sequence[int],
        store: FeatureStore,
        accelerator: Accelerator,
        *,
        graphs: bool,
        checkpoints: Checkpoints | None,
    ):
        self.methods, self.training, self.datasets, self.seeds = methods, training, datasets, seeds
        self.store, self.checkpoints = store, checkpoints
        if accelerator.scaler is not None:  # the loss scale of an earlier training must not decide over this one
            accelerator.scaler = torch.amp.GradScaler(accelerator.device.type)
        self.scaler = accelerator.scaler
        self.optimizer = accelerator.prepare_optimizer(
            make_optimizer(training, [p for method in methods for p in method.learnable()])
        )
        self.stepper = Stepper(methods, self.optimizer, accelerator, graphs=graphs)
        self.steps_an_epoch = batches_per_epoch(len(datasets[0].train), training.batch_size)
        self.moments = [Moment() for _ in methods]
        self._starts: list[list[dict[str, Tensor]]] = []  # what was learned when the last two epochs began
        self._since = time.perf_counter()

    def run(self, on_epoch: Callable[[int], None]) -> None:
        """From the start, or from where the checkpoints are, to the last epoch."""
        self._go_on()
        for epoch in range(self.moments[0].epoch, self.training.epochs):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.training, epoch)
            self._epoch(epoch)
            on_epoch(epoch + 1)
            if epoch + 1 < self.training.epochs:
                self._rest()
        self._count_seconds()

    def reports(self) -> list[FitReport]:
        """What was done, of each copy."""
        steps = self.training.epochs * self.steps_an_epoch
        few = [f"only {steps} steps in all: {self.training.epochs} epochs of {self.steps_an_epoch}"]
        return [
            FitReport(
                steps=steps,
                images=steps * min(self.training.batch_size, len(dataset.train)),
                seconds=moment.seconds,
                losses=moment.losses,
                together=len(self.methods),
                warnings=few if steps <= FEW_STEPS else [],
            )
            for moment, dataset in zip(self.moments, self.datasets, strict=True)
        ]

    def _keep(self) -> None:
        """Write a checkpoint of each copy as it stands."""
        self._count_seconds()
        for method, moment in zip(self.methods, self.moments, strict=True):
            moment.tensors = state_of(method, self.optimizer)
            moment.generator = torch.get_rng_state()
            moment.scaler = {} if self.scaler is None else self.scaler.state_dict()
        self.checkpoints.save(self.moments)

    def _go_on(self) -> None:
        found = self.checkpoints.load() if self.checkpoints else None
        if found is None:
            return
        try:
            for method, moment in zip(self.methods, found, strict=True):
                restore(method, self.optimizer, moment.tensors)
        except ConfigError:  # of an older version of the method, say: from the start
            return
        self.moments = found
        torch.set_rng_state(found[0].generator)
        if self.scaler is not None and found[0].scaler:
            self.scaler.load_state_dict(found[0].scaler)

    def _rest(self, *, sound: bool = True) -> None:
        """A point from which a sound training can go on later: a checkpoint if one is due, the end if it is asked."""
        if sound and self.checkpoints is not None and self.checkpoints.due:
            self._keep()
        shutdown.check()

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        for moment in self.moments:
            moment.seconds += (now - self._since) / len(self.moments)
        self._since = now

    def _epoch(self, epoch: int) -> None:
        """The steps of an epoch that are left, of all copies."""
        start = self.moments[0].step
        batches = [
            _batches(method, self.training, dataset, store=self.store, view=View(seed, epoch), start=start)
            for method, dataset, seed in zip(self.methods, self.datasets, self.seeds, strict=True)
        ]
        self._starts = [*self._starts[-1:], [method.learned_state() for method in self.methods]]
        totals = torch.stack([moment.total for moment in self.moments]).to(self.store.clip.device)
        finite, good = torch.ones_like(totals, dtype=torch.bool), torch.zeros_like(totals, dtype=torch.long)
        for step, together in enumerate(zip(*batches, strict=True), start=start + 1):
            images, labels = zip(*together, strict=True)
            losses = self.stepper.step(images, labels)
            totals += losses
            finite &= losses.isfinite()  # on the device: a GPU waits at every question
            good += finite
            if step < self.steps_an_epoch and (shutdown.requested() or (self.checkpoints and self.checkpoints.due)):
                for moment, total in zip(self.moments, totals, strict=True):
                    moment.step, moment.total = step, total.clone()
                self._rest(sound=bool(finite.all()))
        for i, (moment, total) in enumerate(zip(self.moments, totals.tolist(), strict=True)):
            if not math.isfinite(total):
                raise self._diverged(i, epoch, start + int(good[i]), total)
            moment.losses.append(total / self.steps_an_epoch)
            moment.epoch, moment.step, moment.total = epoch + 1, 0, torch.zeros(())

    def _diverged(self, copy: int, epoch: int, step: int, total: float) -> DivergedError:
        """What to say and to keep of a copy whose loss was not finite at a step of an epoch, both counted from 0."""
        last_good = self._starts[-1 if step else 0][copy]  # at the first step it is what was learned that is bad
        dataset, seed, size = self.datasets[copy], self.seeds[copy], self.training.batch_size
        order = shuffled(len(dataset.train), seed, epoch)[step * size : (step + 1) * size]
        rate = learning_rate(self.training, epoch)
        return DivergedError(
            f"The loss of seed {seed} became {total} in epoch {epoch} of {self.training.epochs}, step {step} of "
            f"{self.steps_an_epoch} (learning rate {rate:g}). Lower learning_rate, or take --precision fp32. What was "
            "learned at the start of the last good epoch and the images of the step are kept with the failure.",
            about={
                "epoch": epoch,
                "step": step,
                "learning_rate": rate,
                "images": [relative_path(dataset, dataset.train[i]) for i in order],
                "losses": self.moments[copy].losses,
            },
            last_good=last_good,
        )


def _batches(
    method: Method, training: Training, dataset: Dataset, *, store: FeatureStore, view: View, start: int
) -> Iterator[tuple[ImageFeatures, Tensor]]:
    """The batches of an epoch from the step `start` on."""
    items, size, device = dataset.train, training.batch_size, store.clip.device
    order = shuffled(len(items), view.seed, view.epoch)
    order = order[: batches_per_epoch(len(items), size) * size]
    labels = torch.tensor([items[i].label for i in order], device=device).split(size)
    parts = store.train(dataset, items, view, method.needs_patches, order=order, batch=size, start=start)
    yield from zip(parts, labels[start:], strict=True)
