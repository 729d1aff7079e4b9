"""Hours and memory from counts and seconds."""

import pytest

from benchmark.costs.forecast import Forecast, Part, Portion, Work


def part(seconds, method="coop"):
    """Two kinds of work, which take so many seconds in all."""
    work = [Work(3, seconds / 6), Work(10, seconds / 20)]
    return Part(protocol="base2new", method=method, runs=3, trainings=3, steps=30, work=work)


def test_longest_remaining_part_goes_to_the_process_that_is_free_first():
    portions = [Portion(parts=[part(seconds) for seconds in own], ready=2) for own in ([2], [10, 3], [7], [6])]
    forecast = Forecast(portions=portions, processes=2, before=5)
    assert [[one.seconds for one in own] for own in forecast.assigned()] == [[10, 3, 2], [7, 6]]
    assert forecast.seconds == 5 + 2 + 15
    assert Forecast(portions=portions, processes=1, before=5).seconds == 5 + 2 + 28


def test_shares_of_the_methods_sum_to_the_wall_clock_time():
    both = Portion(parts=[part(6.0), part(2.0, method="copl")])
    forecast = Forecast(portions=[both, Portion(parts=[part(8.0)])], processes=2, before=4)
    assert forecast.share(both.parts[:1]) == pytest.approx(12 * 6 / 16)
    assert forecast.share(forecast.parts) == pytest.approx(forecast.seconds) == 12


def test_memory_is_the_peak_and_what_is_kept_within_the_limits():
    sizes = [{"features": 60, "images": 5, "peak": 1000}, {"features": 80, "peak": 900}, {"features": 70}]
    portions = [Portion(parts=[part(1)], **size) for size in sizes]
    forecast = Forecast(portions=portions, processes=2, limit=100, parent=500)
    assert forecast.process_bytes == 1000 + 100 + 5
    assert forecast.all_bytes == 500 + 2 * 1105
