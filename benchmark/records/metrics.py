"""Compute accuracies, means and standard deviations, never rounded."""

import math
from collections.abc import Sequence


def accuracy_percent(correct: int, total: int) -> float:
    """Correct answers in percent of all answers.

    Raises:
        ValueError: total is 0.
    """
    if total < 1:
        raise ValueError(f"accuracy of {total} images is undefined")
    return 100.0 * correct / total


def harmonic_mean(base: float, new: float) -> float:
    """H = 2 base new / (base + new), 0 if either is; Xian et al., CVPR 2017, as CoCoOp's base-to-new table uses it."""
    return 0.0 if base + new == 0 else 2 * base * new / (base + new)


def mean(values: Sequence[float]) -> float:
    """The mean by exact summation, so that the order of the runs does not matter.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("the mean of no values is undefined")
    return math.fsum(values) / len(values)


def sample_std(values: Sequence[float]) -> float | None:
    """The sample standard deviation (denominator n - 1); None for fewer than two values."""
    if len(values) < 2:
        return None
    center = mean(values)
    return math.sqrt(math.fsum((value - center) ** 2 for value in values) / (len(values) - 1))
