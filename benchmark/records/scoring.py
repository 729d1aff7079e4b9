"""Count what the scored images of a class set give: correct ones, confidence bins, classes, and the log-likelihood."""

import math

import numpy as np

from benchmark.records.record import BINS, Breakdown, Score


def score_of(
    predictions: np.ndarray, labels: np.ndarray, *, classes: int, confidences: np.ndarray, nll: np.ndarray
) -> Score:
    """The counts and sums of N images.

    Args:
        predictions, labels: (N,) integers in 0..classes-1.
        confidences: (N,) probability of the predicted class, as stored (float16), above 0 and at most 1.
        nll: (N,) negative log-probability of the true class, in nats.
    """
    right = predictions == labels
    bins = bin_of(confidences)
    breakdown = Breakdown(
        nll=math.fsum(nll.tolist()),  # exact, so that the order of the images does not matter
        bin_totals=_counts(bins, BINS),
        bin_correct=_counts(bins[right], BINS),
        # sums of float16 values are exact in float64: multiples of 2^-24
        bin_confidence=tuple(np.bincount(bins, confidences.astype(np.float64), BINS).tolist()),
        class_totals=_counts(labels, classes),
        class_correct=_counts(labels[right], classes),
    )
    return Score(correct=int(right.sum()), total=len(labels), classes=classes, breakdown=breakdown)


def bin_of(confidences: np.ndarray) -> np.ndarray:
    """The bin of each confidence: bin m of M holds (m/M, (m+1)/M], m from 0; Guo et al., ICML 2017, section 2."""
    places = np.ceil(confidences.astype(np.float64) * BINS).astype(np.int64) - 1
    return places.clip(0, BINS - 1)


def _counts(places: np.ndarray, length: int) -> tuple[int, ...]:
    return tuple(np.bincount(places, minlength=length).tolist())
