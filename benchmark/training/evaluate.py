"""Score a method: predict the label of every test image of a class set and count the correct ones."""

import os
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator

from benchmark.clip.backbone import ImageFeatures
from benchmark.clip.text import in_memory
from benchmark.common import shutdown
from benchmark.data.catalog import Dataset
from benchmark.errors import DataError, DivergedError
from benchmark.features.store import FeatureStore
from benchmark.method import Method
from benchmark.records.record import Score
from benchmark.records.scoring import score_of

SCORE_BATCH = 64  # images scored at once
MOST_PROMPTS = 64000  # of all images of a batch, so that many classes do not need much memory


@dataclass(frozen=True)
class Evaluation:
    """Counts of a class set, and of each of its test images, in the order of the test list, what was predicted.

    Attributes:
        predictions: (N,) labels.
        confidences: (N,) their probabilities, float16: the softmax of the logits as the method returns them.
    """

    score: Score
    predictions: np.ndarray
    confidences: np.ndarray


def score_batch(method: Method, classes: int) -> int:
    """Images scored at once; fewer than usual if each has its own prompts of more than a thousand classes."""
    if not getattr(method, "conditional", False):
        return SCORE_BATCH
    return max(1, min(SCORE_BATCH, MOST_PROMPTS // classes))


@torch.no_grad()
def evaluate(method: Method, dataset: Dataset, *, store: FeatureStore, accelerator: Accelerator) -> Evaluation:
    """Score a method on the test list of a dataset; `set_classes` must have been called with its classes.

    Raises:
        DataError: the number of predictions is not the number of images in the split.
        Terminated: this process was asked to end.
        DivergedError: the logits are not finite, so that their maximum is no prediction.
    """
    method.eval()
    labels = torch.tensor([item.label for item in dataset.test])
    on_device, scored = labels.to(method.clip.device), 0
    predicted, log_probabilities, finite = [], [], []
    batch = score_batch(method, len(dataset.class_names))
    for images in store.test(dataset, dataset.test, method.needs_patches, batch=batch):
        shutdown.check()
        logits = in_memory(method.clip.text, lambda images=images: _logits(method, images, accelerator))
        predicted.append(logits.argmax(dim=-1))
        finite.append(logits.isfinite().all())
        true, scored = on_device[scored : scored + len(logits)], scored + len(logits)
        if scored <= len(labels):
            log_probabilities.append(_log_probabilities(logits, torch.stack([predicted[-1], true], dim=1)))
    if not torch.stack(finite).all():  # read once, since reading a value makes a GPU wait
        learned = any(value.requires_grad for value in method.parameters())
        if not learned:
            raise DivergedError("The backbone gives logits that are not finite. Take another, or --precision fp32.")
        raise DivergedError("What was learned gives logits that are not finite. Lower learning_rate.")
    if scored != len(labels):
        where = os.path.basename(dataset.image_root)
        raise DataError(f"{where}: {scored} images were scored, but the split lists {len(labels)}.")
    predictions = torch.cat(predicted).cpu().numpy()
    of_predicted, of_true = torch.cat(log_probabilities).cpu().double().numpy().T
    confidences = np.exp(of_predicted).astype(np.float16)
    score = score_of(
        predictions,
        labels.numpy(),
        classes=len(dataset.class_names),
        confidences=confidences,
        nll=np.maximum(-of_true, 0),
    )
    return Evaluation(score, predictions, confidences)


def _log_probabilities(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The log-softmax (B, K), in float32 at least, of K classes (B, K) of each image."""
    precise = torch.promote_types(logits.dtype, torch.float32)
    return logits.log_softmax(dim=-1, dtype=precise).gather(1, classes)


def _logits(method: Method, images: ImageFeatures, accelerator: Accelerator) -> torch.Tensor:
    with accelerator.autocast():
        return method(images)
