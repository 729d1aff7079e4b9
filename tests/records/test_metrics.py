"""Accuracy, means and standard deviation."""

import pytest

from benchmark.records.metrics import accuracy_percent, harmonic_mean, mean, sample_std


def test_accuracy_is_in_percent_and_unrounded():
    assert accuracy_percent(1, 3) == pytest.approx(33.333333333333336, abs=0)
    with pytest.raises(ValueError, match="undefined"):
        accuracy_percent(0, 0)


def test_harmonic_mean_equals_published_rows():
    assert round(harmonic_mean(69.34, 74.22), 2) == 71.70
    assert round(harmonic_mean(82.69, 63.22), 2) == 71.66
    assert harmonic_mean(0.0, 0.0) == 0.0
    assert harmonic_mean(50.0, 0.0) == 0.0


def test_standard_deviation_is_the_sample_one():
    assert sample_std([80.0, 81.0, 83.0]) == pytest.approx(1.5275, abs=1e-4)
    assert sample_std([80.0]) is None


def test_mean_does_not_depend_on_order():
    values = [0.1] * 10 + [1e16, -1e16]
    assert mean(values) == mean(values[::-1])
    with pytest.raises(ValueError, match="no values"):
        mean([])
