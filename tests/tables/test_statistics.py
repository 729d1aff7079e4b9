"""Intervals and tests against values computed by hand and from printed tables of Student's t; outliers."""

import math

import pytest

from tables.statistics import outliers, paired_test, student_interval

# Two-sided 95 % quantiles of Student's t, by their closed forms; tables print 12.706 and 4.303.
T_1_DEGREE = math.tan(0.475 * math.pi)
T_2_DEGREES = math.sqrt(2) * 0.95 / math.sqrt(1 - 0.95**2)


def test_intervals_are_those_computed_by_hand():
    margin = T_2_DEGREES * math.sqrt(7 / 3) / math.sqrt(3)  # 80, 81, 83: mean 244/3, sample variance 7/3
    assert student_interval([80, 81, 83]) == pytest.approx((244 / 3 - margin, 244 / 3 + margin), rel=1e-9)
    assert student_interval([1, 3]) == pytest.approx((2 - T_1_DEGREE, 2 + T_1_DEGREE), rel=1e-9)
    assert student_interval([80.0]) is None
    assert student_interval([80.0] * 3) == (80, 80)


def test_paired_test_is_that_computed_by_hand_and_two_sided():
    found = paired_test([1.0, 2.0, 3.0])  # t = 2 / (1 / sqrt 3); with 2 degrees p = 1 - t / sqrt(2 + t^2)
    t = 2 * math.sqrt(3)
    assert (found.mean, found.n) == (2, 3)
    assert found.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-9)
    assert found.interval == pytest.approx((2 - T_2_DEGREES / math.sqrt(3), 2 + T_2_DEGREES / math.sqrt(3)))
    assert paired_test([-1.0, -2.0, -3.0]).p_value == found.p_value
    # Ten differences of mean 1.58 and t 4.0621 (Student, Biometrika 1908, additional hours of sleep): p = 0.00283.
    sleep = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    assert paired_test(sleep).p_value == pytest.approx(0.002833, abs=5e-7)


@pytest.mark.parametrize("differences, p_value", [([2.0], None), ([2.0, 2.0], 0.0), ([0.0, 0.0], 1.0)])
def test_paired_test_without_a_deviation(differences, p_value):
    assert paired_test(differences).p_value == p_value


def outliers_of(records):
    """(seed, class set) of runs far from other seeds, and of runs far below zero-shot."""
    found = outliers(records)
    return (
        [(o.spec.seed, o.class_set) for o in found if o.far_from_others],
        [(o.spec.seed, o.class_set) for o in found if o.far_below_zero_shot],
    )


@pytest.mark.parametrize(
    "values, total, seeds",
    [
        ((63, 64, 62, 12), 10**4, [4]),
        ((60, 61, 62, 64.0), 10**6, []),  # the limit: 3 standard deviations of the others
        ((60, 61, 62, 64.01), 10**6, [4]),
        ((63, 62, 12), 10**4, [3]),
        ((62, 12), 10**4, []),  # one other seed has no deviation
        ((80, 80, 77), 1000, []),  # 2.4 binomial deviations of 800 in 1000
        ((80, 80, 77), 10**4, [3]),
    ],
)
def test_seed_far_from_the_others_is_an_outlier(few, values, total, seeds):
    runs = [few("coop", "dtd", value, seed=seed, total=total) for seed, value in enumerate(values, 1)]
    assert outliers_of(runs) == ([(seed, "all") for seed in seeds], [])


def test_ten_points_below_zero_shot_are_an_outlier_of_their_class_set(record):
    runs = [record("zero_shot", "dtd", 60, 60), record("coop", "dtd", 80, 50), record("coop", "eurosat", 80, 10)]
    assert outliers_of(runs) == ([], [(1, "new")])
    assert "50.00, where zero-shot has 60.00" in str(outliers(runs)[0])
    assert outliers_of([runs[0], record("coop", "dtd", 80, 50.01)]) == ([], [])


def test_shots_and_checkpoints_decide_which_runs_are_compared(few):
    zero_shot = few("zero_shot", "dtd", 60, shots=16)
    assert outliers_of([zero_shot, few("coop", "dtd", 40, shots=1)]) == ([], [(1, "all")])
    assert outliers_of([zero_shot, few("coop", "dtd", 40, shots=1, checkpoint="d" * 16)]) == ([], [])
    runs = [few("coop", "dtd", value, shots=shots, seed=shots) for shots, value in ((1, 40), (2, 41), (16, 70))]
    assert outliers_of(runs) == ([], [])
