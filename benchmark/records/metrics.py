"""Percentages, means and spreads, each in one place and never rounded."""

import math
from collections.abc import Sequence


def accuracy_percent(correct: int, total: int) -> float:
    """Correct answers in percent of all.

    Raises:
        ValueError: nothing was counted.
    """
    if total < 1:
        raise ValueError(f"accuracy of {total} images is undefined")
    return 100.0 * correct / total


def harmonic_mean(base: float, new: float) -> float:
    """H = 2 base new / (base + new), 0 if either is; Xian et al., CVPR 2017, as CoCoOp's base-to-new table uses it."""
    return 0.0 if base + new == 0 else 2 * base * new / (base + new)


def mean(values: Sequence[float]) -> float:
    """The mean; exact summation, so that the order of the runs cannot matter.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("the mean of no values is undefined")
    return math.fsum(values) / len(values)


def sample_std(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n - 1 below the sum); None of fewer than two values."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))
