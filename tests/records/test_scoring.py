"""Counts and sums of scored images, by hand; and the refusal of sums that do not agree."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest

from benchmark.errors import ConfigError
from benchmark.records.record import BINS, Breakdown, Score
from benchmark.records.scoring import bin_of, score_of


def one_of(bins: dict[int, float]) -> tuple[float, ...]:
    """Zero in every bin but these."""
    return tuple(bins.get(number, 0) for number in range(BINS))


@pytest.fixture
def score():
    """Four images of three classes, the last of which has none: three correct, in three bins."""
    return score_of(
        np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), classes=3,
        confidences=np.array([0.5, 1.0, 0.9375, 0.53125], np.float16), nll=np.array([0.5, 0.0, 2.25, 0.25]),
    )  # fmt: skip


def test_images_are_counted_by_class_and_by_confidence(score):
    assert (score.correct, score.total, score.classes) == (3, 4, 3)
    assert score.breakdown == Breakdown(
        nll=3.0,
        bin_totals=one_of({7: 2, 14: 2}),  # 7/15 < 0.5 and 0.53125 <= 8/15, 14/15 < 0.9375
        bin_correct=one_of({7: 2, 14: 1}),
        bin_confidence=one_of({7: 1.03125, 14: 1.9375}),
        class_totals=(3, 1, 0),
        class_correct=(2, 1, 0),
    )


def test_every_float16_value_is_in_the_bin_that_exact_fractions_give():
    values = np.arange(0x3C01, dtype=np.uint16).view(np.float16)  # all from 0 to 1
    exact = [max(0, math.ceil(Fraction(float(value)) * BINS) - 1) for value in values]
    assert bin_of(values).tolist() == exact
    assert (exact[0], exact[1], exact[-1], max(exact)) == (0, 0, BINS - 1, BINS - 1)


def test_sums_do_not_depend_on_the_order_of_the_images():
    draw = np.random.default_rng(0)
    labels, predictions = draw.integers(0, 5, (2, 1000))
    confidences, nll = draw.uniform(0.2, 1, 1000).astype(np.float16), draw.exponential(1.0, 1000)
    order = draw.permutation(1000)
    one, other = (
        score_of(predictions[o], labels[o], classes=5, confidences=confidences[o], nll=nll[o])
        for o in (np.arange(1000), order)
    )
    assert one == other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_correct": (1, 1, 0)}, "class counts sum to 2 of 4, not to 3 of 4"),
        ({"class_totals": (3, 1)}, "class counts are of 2 and 3, not of 3"),
        ({"class_totals": (1, 3, 0)}, "a class has more correct images than images"),
        ({"bin_totals": one_of({7: 2, 14: 3})}, "bin counts sum to 3 of 5, not to 3 of 4"),
        ({"bin_confidence": one_of({7: 1.03125, 14: 1.5})}, "the summed confidence of a bin is outside of the bin"),
        ({"bin_confidence": (1.0,)}, "bin confidences are of 1, not of 15"),
        ({"nll": -1.0}, "'nll' must be at least 0"),
    ],
)
def test_sums_that_do_not_agree_are_refused(score, changes, message):
    with pytest.raises(ConfigError) as caught:
        Score(correct=3, total=4, classes=3, breakdown=dataclasses.replace(score.breakdown, **changes))
    assert message in str(caught.value)
