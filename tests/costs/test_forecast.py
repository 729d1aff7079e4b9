"""Hours and memory from counts and seconds."""

import pytest

from benchmark.costs.forecast import Forecast, Part, Portion, Work


def part(*work, method="coop"):
    return Part(protocol="base2new", method=method, runs=3, trainings=3, steps=30, work=[Work(*one) for one in work])


def portion(seconds, **told):
    return Portion(parts=[part((1, seconds))], **told)


def test_seconds_of_a_part_are_how_often_times_how_long():
    assert part((3, 2.0), (10, 0.5)).seconds == 11.0


def test_one_process_does_all_portions_after_its_start():
    forecast = Forecast(portions=[portion(10, ready=2), portion(5, ready=2)], processes=1, before=7)
    assert forecast.seconds == 7 + 2 + 15


def test_longest_part_that_is_left_goes_to_the_process_that_is_free_first():
    portions = [portion(2), Portion(parts=[part((1, 10.0)), part((1, 3.0))]), portion(7), portion(6)]
    forecast = Forecast(portions=portions, processes=2)
    assert [[one.seconds for one in own] for own in forecast.assigned()] == [[10, 3, 2], [7, 6]]
    assert forecast.seconds == 15


def test_shares_of_the_methods_sum_to_the_time_on_the_clock():
    both = Portion(parts=[part((1, 6.0)), part((1, 2.0), method="copl")])
    forecast = Forecast(portions=[both, portion(8)], processes=2, before=4)
    assert forecast.seconds == 12
    assert forecast.share(both.parts[:1]) == pytest.approx(12 * 6 / 16)
    assert forecast.share(forecast.parts) == pytest.approx(12)


def test_memory_is_what_work_takes_and_what_is_kept_within_the_limits_summed_over_processes():
    portions = [
        portion(10, features=60, pictures=5, peak=1000),
        portion(1, features=80, peak=900),
        portion(2, features=70),
    ]
    forecast = Forecast(portions=portions, processes=2, limit=100, parent=500)
    assert forecast.process_bytes == 1000 + 100 + 5
    assert forecast.all_bytes == 500 + 2 * 1105


def test_nothing_to_run_takes_nothing():
    forecast = Forecast(portions=[], processes=1, before=9)
    assert (forecast.seconds, forecast.share([]), forecast.process_bytes) == (0, 0, 0)
