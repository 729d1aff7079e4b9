"""Intervals and tests against values computed by hand and from printed tables of Student's t; what stands out."""

import math

import pytest

from tables.statistics import outliers, paired_test, sign_test, student_interval

# Two-sided 95 % quantiles of Student's t, by their closed forms; tables print 12.706 and 4.303.
T_1_DEGREE = math.tan(0.475 * math.pi)
T_2_DEGREES = math.sqrt(2) * 0.95 / math.sqrt(1 - 0.95**2)


def test_interval_of_three_values_is_that_computed_by_hand():
    margin = T_2_DEGREES * math.sqrt(7 / 3) / math.sqrt(3)  # 80, 81, 83: mean 244/3, sample variance 7/3
    assert student_interval([80, 81, 83]) == pytest.approx((244 / 3 - margin, 244 / 3 + margin), rel=1e-9)


def test_interval_of_two_values_and_another_level():
    assert student_interval([1, 3]) == pytest.approx((2 - T_1_DEGREE, 2 + T_1_DEGREE), rel=1e-9)
    assert student_interval([1, 3], level=0.5) == pytest.approx((1, 3))  # the quartile of Cauchy's law is 1


def test_one_value_has_no_interval_and_equal_values_a_point():
    assert student_interval([80.0]) is None
    assert student_interval([80.0] * 3) == (80, 80)


def test_level_outside_zero_and_one_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        student_interval([1, 2], level=95)


def test_paired_test_of_three_differences_is_that_computed_by_hand():
    found = paired_test([1.0, 2.0, 3.0])  # t = 2 / (1 / sqrt 3); with 2 degrees p = 1 - t / sqrt(2 + t^2)
    t = 2 * math.sqrt(3)
    assert (found.mean, found.n) == (2, 3)
    assert found.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-9)
    assert found.interval == pytest.approx((2 - T_2_DEGREES / math.sqrt(3), 2 + T_2_DEGREES / math.sqrt(3)))


def test_paired_test_is_two_sided():
    assert paired_test([1.0, 2.0, 3.0]).p_value == paired_test([-1.0, -2.0, -3.0]).p_value


def test_paired_test_agrees_with_a_printed_table():
    # Ten differences of mean 1.58 and t 4.0621 (Student, Biometrika 1908, additional hours of sleep): p = 0.00283.
    found = paired_test([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    assert found.mean == pytest.approx(1.58)
    assert found.p_value == pytest.approx(0.002833, abs=5e-7)


@pytest.mark.parametrize("differences, p_value", [([2.0], None), ([2.0, 2.0], 0.0), ([0.0, 0.0], 1.0)])
def test_paired_test_without_a_spread(differences, p_value):
    assert paired_test(differences).p_value == p_value


@pytest.mark.parametrize(
    "differences, p_value",
    [
        ([1] * 9 + [-1] * 2, 2 * (1 + 11 + 55) / 2**11),
        ([-1] * 9 + [1] * 2, 2 * (1 + 11 + 55) / 2**11),
        ([1] * 5, 2 / 2**5),
        ([1, -1], 1.0),
        ([1, 1, 1, 0], 2 / 2**3),
        ([0, 0], 1.0),
    ],
)
def test_sign_test_counts_exactly_and_leaves_ties_out(differences, p_value):
    found = sign_test(differences)
    assert found.p_value == p_value
    assert found.above + found.below + found.ties == len(differences)


def stand_out(records):
    """(seed, class set) of what stands out among the others, and of what lies below zero-shot."""
    found = outliers(records)
    return (
        [(o.spec.seed, o.class_set) for o in found if o.far_from_others],
        [(o.spec.seed, o.class_set) for o in found if o.far_below_zero_shot],
    )


def test_seed_far_from_the_others_stands_out(few):
    runs = [few("coop", "dtd", value, seed=seed) for seed, value in enumerate((63, 64, 62, 12), 1)]
    assert stand_out(runs) == ([(4, "all")], [])
    assert str(outliers(runs)[0]) == (
        "coop on dtd, few_shot, 16 shots, seed 4, all: 12.00, where the 3 other seeds have 63.00 ± 1.00"
    )


def test_limit_is_three_deviations_of_the_others(few):
    def runs(last):
        return [few("coop", "dtd", v, seed=s, total=10**6) for s, v in enumerate((60, 61, 62, last), 1)]

    assert stand_out(runs(64.0)) == ([], [])
    assert stand_out(runs(64.01)) == ([(4, "all")], [])


def test_three_seeds_can_be_judged_and_two_cannot(few):
    values = (63.0, 62.0, 12.0)
    runs = [few("coop", "dtd", value, seed=seed) for seed, value in enumerate(values, 1)]
    assert stand_out(runs) == ([(3, "all")], [])
    assert stand_out(runs[1:]) == ([], [])


def test_others_that_agree_by_chance_make_no_outlier_within_counting_error(few):
    def runs(total):
        return [few("coop", "dtd", v, seed=s, total=total) for s, v in ((1, 80), (2, 80), (3, 77))]

    assert stand_out(runs(1000)) == ([], []), "3 points are 2.4 deviations of counting 800 of 1000"
    assert stand_out(runs(10000)) == ([(3, "all")], [])


def test_ten_points_below_zero_shot_stand_out_in_their_class_set(record):
    runs = [record("zero_shot", "dtd", 60, 60), record("coop", "dtd", 80, 50), record("coop", "eurosat", 80, 10)]
    assert stand_out(runs) == ([], [(1, "new")])
    assert "50.00, where zero-shot has 60.00" in str(outliers(runs)[0])
    assert stand_out([runs[0], record("coop", "dtd", 80, 50.01)]) == ([], [])


def test_zero_shot_at_any_shot_count_is_the_level_but_not_with_another_checkpoint(few):
    level = few("zero_shot", "dtd", 60, shots=16)
    assert stand_out([level, few("coop", "dtd", 40, shots=1)]) == ([], [(1, "all")])
    assert stand_out([level, few("coop", "dtd", 40, shots=1, checkpoint="d" * 16)]) == ([], [])


def test_seeds_of_other_shots_are_no_others(few):
    runs = [few("coop", "dtd", value, shots=shots, seed=shots) for shots, value in ((1, 40), (2, 41), (16, 70))]
    assert stand_out(runs) == ([], [])
