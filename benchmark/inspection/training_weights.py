"""Train a recorded run once more, and watch the weights of its prompt tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from benchmark.clip.backbone import ImageFeatures
from benchmark.data.catalog import Dataset
from benchmark.errors import ConfigError
from benchmark.features.store import FeatureStore
from benchmark.inspection.alignment import check_method, trained_method, untrained_method
from benchmark.inspection.recorded_run import dataset_of, store_of
from benchmark.method import Method
from benchmark.protocols.registry import PROTOCOLS
from benchmark.records.record import RunRecord
from benchmark.training.evaluate import SCORE_BATCH
from benchmark.training.loop import Trainer, TrainingCopy, give_sample
from benchmark.training.step import Stepper

WATCHED = 50  # test images whose weights are watched, spread over the test list
POINTS = 64  # about as many steps are watched, the first and the last among them
SHARE = (5, 95)  # percentiles of the weights over the patches of all watched images


@dataclass(frozen=True)
class WeightsOverTraining:
    """Weights of the M prompt tokens on test images of the classes trained on, before the first and after later steps.

    Attributes:
        steps: (S,) number of steps done.
        mean: (S, M) mean over patches and images.
        low, high: (S, M) the percentiles SHARE over patches and images.
    """

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def watch_training(record: RunRecord, data: Path | None = None) -> WeightsOverTraining:
    """Repeat the training of a record on the CPU, in its precision and with its draws.

    Args:
        data: folder of the real datasets; None if the run's is generated.
    Raises:
        ConfigError: the method has no alignment, was not trained here, or its dataset is not available.
        RecordError: the checkpoint or the dataset is not the run's.
    """
    spec = record.spec
    check_method(spec)
    if spec.training is None:
        raise ConfigError(f"{spec.label()} was not trained here. Give a record of a run that trained.")
    train = PROTOCOLS[spec.protocol].training_set(dataset_of(spec, data), shots=spec.shots, seed=spec.seed)
    method, clip = untrained_method(spec, train.class_names)
    store, copy = store_of(spec, clip), TrainingCopy(method, train, spec.seed)
    give_sample(copy, store)
    trainer = Trainer([copy], spec.training, store=store, accelerator=Accelerator(cpu=True), graphs=False)
    images = _features(store, train, method, count=WATCHED)
    steps = spec.training.epochs * trainer.steps_per_epoch
    trainer.stepper = watched = _Watched(trainer.stepper, method, images, every=max(1, steps // POINTS))
    trainer.fit()
    watched.look()
    weights = np.stack([each.reshape(-1, each.shape[-1]) for each in watched.weights])  # (S, B * P, M)
    low, high = np.percentile(weights, SHARE, axis=1)
    return WeightsOverTraining(np.array(watched.steps), weights.mean(axis=1), low, high)


@torch.no_grad()
def weights_on_test_images(record: RunRecord, path: Path, data: Path | None = None) -> np.ndarray:
    """Return the weights of a recorded run on all test images of the classes trained on, (N, P, M).

    Args:
        path: of the record; its learned tensors are next to it.
        data: folder of the real datasets; None if the run's is generated.
    Raises:
        ConfigError, RecordError: as watch_training and alignment_of.
    """
    spec = record.spec
    check_method(spec)
    train = PROTOCOLS[spec.protocol].training_set(dataset_of(spec, data), shots=spec.shots, seed=spec.seed)
    method, clip = trained_method(record, path)
    store = store_of(spec, clip)
    batches = store.test(train, train.test, method.needs_patches, batch=SCORE_BATCH)
    return np.concatenate([method.eval().alignment(images).cpu().numpy() for images in batches])


def _features(store: FeatureStore, dataset: Dataset, method: Method, *, count: int) -> ImageFeatures:
    """Features of `count` test images at equal distances in the list; all if there are fewer."""
    chosen = dataset.test[:: max(1, len(dataset.test) // count)]
    return next(store.test(dataset, chosen, method.needs_patches, batch=len(chosen)))


class _Watched:
    """A stepper that also computes the weights on the same images before every n-th step."""

    def __init__(self, stepper: Stepper, method: Method, images: ImageFeatures, *, every: int):
        self.stepper, self.method, self.images, self.every = stepper, method, images, every
        self.steps: list[int] = []
        self.weights: list[np.ndarray] = []
        self._done = 0

    def step(self, images: Sequence[ImageFeatures], labels: Sequence[Tensor]) -> Tensor:
        if self._done % self.every == 0:
            self.look()
        self._done += 1
        return self.stepper.step(images, labels)

    @torch.no_grad()
    def look(self) -> None:
        """Append the weights as they are now."""
        self.steps.append(self._done)
        self.weights.append(self.method.alignment(self.images).cpu().numpy())
