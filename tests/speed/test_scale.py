"""The simulation of a queue on many processes, in cases computed by hand, and the units that it is fed with."""

import random

import pytest

from benchmark.running.queue import even_share, units_of
from benchmark.speed.scale.__main__ import NEXT_SEED, Estimates, plan_of, row
from benchmark.speed.scale.simulation import Conditions, Unit, lower_bound, simulate, work_of

USUAL = Conditions()


def units(*seconds, **features):
    return [Unit(name=str(i), seconds=float(each), features=features) for i, each in enumerate(seconds)]


@pytest.mark.parametrize("conditions, wanted", [
    (USUAL, 6),  # the second process does 3 and 3
    (Conditions(start=1.0), 7),
    (Conditions(cores=1), 11),
    (Conditions(cores=1.5), 5 / 0.75 + 1),  # three quarters of the speed while two work
    (Conditions(lost_every=50), 8 + 3),  # 5 and 3 by the first, then 1.5 again and 1.5 that were left of the other
])  # fmt: skip
def test_two_processes_and_three_units(conditions, wanted):
    assert simulate(units(5, 3, 3), 2, conditions) == pytest.approx(wanted)


def test_features_are_made_once_or_by_each_process():
    reading = units(1, 1, 1, a=10.0)
    assert simulate(reading, 2, USUAL) == 12, "the second waits for the first"
    assert simulate(reading[:2], 1, USUAL) == simulate(reading[:2], 1, Conditions(shared=False)) == 12
    assert simulate(reading[:2], 2, Conditions(shared=False)) == 11
    short, long = Unit(name="x", seconds=1.0, features={"a": 4.0}), Unit(name="y", seconds=1.0, features={"a": 10.0})
    assert simulate([short, long], 2, USUAL) == 11, "6 more seconds of the same features"
    assert work_of([short, long]) == 12
    halves = [Unit(name="x", seconds=each, features={"a": 10.0}, parts=2) for each in (4.0, 0.0)]
    assert simulate(halves, 2, USUAL) == 5 + 5 + 2, "the first works while the second makes the second half"


def test_a_long_unit_taken_apart_ends_earlier():
    assert simulate(units(6, 1, 1), 4, USUAL) == 6
    assert simulate(units(2, 2, 2, 1, 1), 4, USUAL) == 2
    found = row(units(6000, 1000, 1000), 4)
    assert (found["bounded by"], found["bound"]) == ("longest unit", 100)
    assert row(units(10, 10), 2)["bounded by"] == "starts"


def test_a_lost_process_continues_at_its_last_checkpoint():
    """Halfway through 2000 seconds: 1000 and at most five minutes again."""
    assert simulate(units(2000), 1, Conditions(lost_every=50, start=10.0)) == 10 + 1000 + 10 + 1300
    assert Conditions(lost_every=50).lost(100) == {49, 99} and Conditions(lost_every=50).lost(8) == {7}


def test_no_simulation_beats_the_lower_bound_and_each_gives_the_same_again():
    draw = random.Random(0)
    for _ in range(50):
        some = [
            Unit(name=str(i), seconds=draw.uniform(0, 9), parts=draw.randint(1, 4),
                 features={key: draw.uniform(0, 9) for key in draw.sample("abc", draw.randint(0, 3))})
            for i in range(draw.randint(1, 12))
        ]  # fmt: skip
        processes, cores = draw.randint(1, 9), draw.choice([2, 100])
        for shared, lost in ((True, None), (False, None), (True, 3)):
            conditions = Conditions(start=draw.uniform(0, 2), shared=shared, cores=cores, lost_every=lost)
            seconds = simulate(some, processes, conditions)
            assert seconds >= lower_bound(some, processes, cores=cores) - 1e-9
            assert seconds == simulate(some, processes, conditions)


def test_units_of_the_paper_are_those_of_the_queue():
    plan, estimates = plan_of("base2new", ["zero_shot", "coop", "maple"], ["dtd", "eurosat"]), Estimates(step=1.0)
    assert len(plan.runs) == 18 and all(run.missing for run in plan.runs)
    whole = {unit.name: unit for unit in map(estimates.unit, units_of(plan.runs))}
    apart = [estimates.unit(unit) for unit in units_of(plan.runs, longest=even_share(plan.runs, 64))]
    assert [unit.name for unit in apart].count("coop dtd, seeds: 1") == 3 and "zero_shot dtd, seeds: 3" in whole
    coop = [unit for unit in apart if unit.name == "coop dtd, seeds: 1"]
    steps = 200 * (16 * 24 // 32)
    assert steps < coop[0].seconds < steps + 10, "200 epochs at a second a step, and what the GPU computes"
    together = whole["coop dtd, seeds: 3"]
    assert together.seconds - sum(unit.seconds for unit in coop) == pytest.approx(2 * (NEXT_SEED - 1) * steps)
    assert together.features == {key: each for unit in coop for key, each in unit.features.items()}
    alone = [unit.seconds for unit in apart if unit.name == "maple dtd, seeds: 1"]
    assert whole["maple dtd, seeds: 3"].seconds == pytest.approx(sum(alone)), "it has no pass for several seeds"
