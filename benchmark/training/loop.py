"""Train methods on frozen image features; Accelerate handles the device, the precision and the loss scaling."""

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
from benchmark.features.encoder import View
from benchmark.features.store import FeatureStore
from benchmark.method import Method
from benchmark.training.checkpoints import Checkpoints, TrainingState, restore, state_of
from benchmark.training.schedule import batches_per_epoch, generator_seed, learning_rate, make_optimizer, shuffled
from benchmark.training.step import Stepper

FEW_STEPS = 100  # at or below this a schedule hardly changes anything, and the record says so


@dataclass
class FitReport:
    """What a training did.

    Attributes:
        steps: optimizer steps.
        images: images seen, repeats counted.
        seconds: wall-clock time of the loop, including the views of the training images; in lockstep, this training's
            share of it. It includes the time in which a method reads its images before the training.
        losses: mean total loss of each epoch.
        together: number of trainings that ran in the same pass, this one included.
        taken_from: the record, below the results folder, whose training this is; None if the run trained itself.
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
        """The entry `training` of a record; a record keeps warnings in an entry of their own."""
        kept = ("steps", "images", "seconds", "together", "losses")
        reused = {} if self.taken_from is None else {"taken_from": self.taken_from}
        return {name: getattr(self, name) for name in kept} | reused


@dataclass(frozen=True)
class TrainingCopy:
    """A method that is trained, alone or with others: dataset.train holds its few-shot images, seed their order."""

    method: Method
    dataset: Dataset
    seed: int


def view_of(copy: TrainingCopy, training: Training | None, epoch: int) -> View:
    """The view of the training images in an epoch: that of an earlier epoch if the training repeats views."""
    if training is None:
        return View(copy.seed, epoch)
    if training.repeats_views:
        return View(copy.seed, epoch % training.views, training.smallest_crop, training.views)
    return View(copy.seed, epoch, training.smallest_crop)


@torch.no_grad()
def give_sample(copy: TrainingCopy, store: FeatureStore, training: Training | None = None) -> float:
    """Pass the training images to a method that asks for them: random views like those of the first epochs.

    Args:
        training: how the method is trained afterwards; None if it is not.

    Returns:
        The seconds that it took.
    """
    started, method, items = time.perf_counter(), copy.method, copy.dataset.train
    if not method.sample_views:
        return 0.0
    labels = torch.tensor([item.label for item in items], device=store.clip.device)
    views, whole = [], {"order": range(len(items)), "batch": len(items)}
    for epoch in range(method.sample_views):
        views += store.train(copy.dataset, items, view_of(copy, training, epoch), method.needs_patches, **whole)
    method.take_sample(views, labels)
    return time.perf_counter() - started


class Trainer:
    """Trains the learnable parameters of one method, or of copies of it in lockstep, step by step.

    The learning rate changes once an epoch; the parameters after the last epoch are kept.

    Args:
        copies: one, or several that `lockstep.can_share` allows; their samples have the same size.
        graphs: whether a step may be recorded and replayed, on a CUDA GPU.
        checkpoints: where the training is saved while it runs, and resumed from if it is found there.
        on_epoch: called after each epoch with the number of epochs done.
    Raises:
        DataError: the samples have different sizes.
    """

    def __init__(
        self,
        copies: Sequence[TrainingCopy],
        training: Training,
        *,
        store: FeatureStore,
        accelerator: Accelerator,
        graphs: bool = True,
        checkpoints: Checkpoints | None = None,
        on_epoch: Callable[[int], None] = lambda epoch: None,
    ):
        sizes = {len(copy.dataset.train) for copy in copies}
        if len(sizes) > 1:
            raise DataError(f"Samples of {sorted(sizes)} images cannot be trained in lockstep; train them one by one.")
        self.copies, self.training, self.store = copies, training, store
        self.checkpoints, self.on_epoch, self.device = checkpoints, on_epoch, accelerator.device
        if accelerator.scaler is not None:  # the loss scale of an earlier training must not influence this one
            accelerator.scaler = torch.amp.GradScaler(accelerator.device.type)
        self.scaler = accelerator.scaler
        methods = [copy.method for copy in copies]
        self.optimizer = make_optimizer(training, [p for method in methods for p in method.learnable()])
        if self.scaler is not None:  # nothing else needs Accelerate's, which looks for a package on disk in every step
            self.optimizer = accelerator.prepare_optimizer(self.optimizer)
        self.stepper = Stepper(methods, self.optimizer, accelerator, graphs=graphs)
        self.steps_per_epoch = batches_per_epoch(len(copies[0].dataset.train), training.batch_size)
        self.states = [TrainingState() for _ in copies]
        self._starts: list[list[dict[str, Tensor]]] = []  # learned values at the start of the last two epochs
        self._since = time.perf_counter()

    def fit(self) -> list[FitReport]:
        """Train from the start, or from the checkpoints, to the last epoch.

        Returns:
            A report for each copy; its seconds are the copy's share of the time.
        Raises:
            DivergedError: the loss of a step is not finite.
            Terminated: this process was asked to end; a checkpoint is written first.
        """
        for copy in self.copies:
            copy.method.train()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(generator_seed(f"{self.copies[0].seed} draws"))  # for methods with dropout, for example
            self._resume()
            for epoch in range(self.states[0].epoch, self.training.epochs):
                for group in self.optimizer.param_groups:
                    group["lr"] = learning_rate(self.training, epoch)
                self._run_epoch(epoch)
                with torch.no_grad():
                    for copy in self.copies:
                        copy.method.after_epoch(epoch + 1, self.training.epochs)
                self.on_epoch(epoch + 1)
                if epoch + 1 < self.training.epochs:
                    self._pause()
            self._count_seconds()
        for copy in self.copies:
            copy.method.eval()
        return self._reports()

    def _reports(self) -> list[FitReport]:
        steps = self.training.epochs * self.steps_per_epoch
        few = [f"only {steps} steps in all: {self.training.epochs} epochs of {self.steps_per_epoch}"]
        return [
            FitReport(
                steps=steps,
                images=steps * min(self.training.batch_size, len(copy.dataset.train)),
                seconds=state.seconds,
                losses=state.losses,
                together=len(self.copies),
                warnings=few if steps <= FEW_STEPS else [],
            )
            for state, copy in zip(self.states, self.copies, strict=True)
        ]

    def _resume(self) -> None:
        """Restore the state that the checkpoints hold, if they hold one."""
        found = self.checkpoints.load() if self.checkpoints else None
        if found is None:
            return
        try:
            for copy, state in zip(self.copies, found, strict=True):
                restore(copy.method, self.optimizer, state.tensors)
        except ConfigError:  # the checkpoint is of an older version of the method, for example: start again
            return
        self.states = found
        torch.set_rng_state(found[0].generator)
        if self.scaler is not None and found[0].scaler:
            self.scaler.load_state_dict(found[0].scaler)

    def _pause(self, *, finite: bool = True) -> None:
        """Write a checkpoint if one is due and the losses are finite; end here if the process was asked to."""
        if finite and self.checkpoints is not None and self.checkpoints.due:
            self._count_seconds()
            for copy, state in zip(self.copies, self.states, strict=True):
                state.tensors = state_of(copy.method, self.optimizer)
                state.generator = torch.get_rng_state()
                state.scaler = {} if self.scaler is None else self.scaler.state_dict()
            self.checkpoints.save(self.states)
        shutdown.check()

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        for state in self.states:
            state.seconds += (now - self._since) / len(self.states)
        self._since = now

    def _run_epoch(self, epoch: int) -> None:
        """Do the remaining steps of an epoch for all copies."""
        start = self.states[0].step
        batches = [_batches(copy, self.training, store=self.store, epoch=epoch, start=start) for copy in self.copies]
        self._starts = [*self._starts[-1:], [copy.method.learned_state() for copy in self.copies]]
        totals = torch.stack([state.total for state in self.states]).to(self.device, self.store.clip.learnable_dtype)
        finite, good = torch.ones_like(totals, dtype=torch.bool), torch.zeros_like(totals, dtype=torch.long)
        for step, together in enumerate(zip(*batches, strict=True), start=start + 1):
            images, labels = zip(*together, strict=True)
            losses = self.stepper.step(images, labels)
            totals += losses
            finite &= losses.isfinite()  # stays on the device: reading a value makes a GPU wait
            good += finite
            if step < self.steps_per_epoch and (shutdown.requested() or (self.checkpoints and self.checkpoints.due)):
                for state, total in zip(self.states, totals, strict=True):
                    state.step, state.total = step, total.clone()
                self._pause(finite=bool(finite.all()))
        for i, (state, total) in enumerate(zip(self.states, totals.tolist(), strict=True)):
            if not math.isfinite(total):
                raise self._diverged(i, epoch, start + int(good[i]), total)
            state.losses.append(total / self.steps_per_epoch)
            state.epoch, state.step, state.total = epoch + 1, 0, torch.zeros(())

    def _diverged(self, index: int, epoch: int, step: int, total: float) -> DivergedError:
        """The error for a copy whose loss was not finite at a step of an epoch, both counted from 0."""
        last_good = self._starts[-1 if step else 0][index]  # at the first step the learned values are already bad
        copy, size = self.copies[index], self.training.batch_size
        order = shuffled(len(copy.dataset.train), copy.seed, epoch)[step * size : (step + 1) * size]
        rate = learning_rate(self.training, epoch)
        return DivergedError(
            f"The loss of seed {copy.seed} became {total} in epoch {epoch} of {self.training.epochs}, step {step} of "
            f"{self.steps_per_epoch} (learning rate {rate:g}). Lower learning_rate, or take --precision fp32. What was "
            "learned at the start of the last good epoch and the images of the step are kept with the failure.",
            about={
                "epoch": epoch,
                "step": step,
                "learning_rate": rate,
                "images": [relative_path(copy.dataset, copy.dataset.train[i]) for i in order],
                "losses": self.states[index].losses,
            },
            last_good=last_good,
        )


def _batches(
    copy: TrainingCopy, training: Training, *, store: FeatureStore, epoch: int, start: int
) -> Iterator[tuple[ImageFeatures, Tensor]]:
    """Yield the batches of an epoch from the step `start` on."""
    items, size = copy.dataset.train, training.batch_size
    view = view_of(copy, training, epoch)
    order = shuffled(len(items), copy.seed, epoch)
    order = order[: batches_per_epoch(len(items), size) * size]
    labels = torch.tensor([items[i].label for i in order], device=store.clip.device).split(size)
    needs = {"patches": copy.method.needs_patches, "pooled": copy.method.needs_pooled}
    parts = store.train(copy.dataset, items, view, **needs, order=order, batch=size, start=start)
    yield from zip(parts, labels[start:], strict=True)
