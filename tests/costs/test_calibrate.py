"""A forecast is measured seconds times the right counts."""

import pytest

import run_all
from benchmark.cli.arguments import make_request
from benchmark.cli.summary import describe_forecast
from benchmark.costs.calibrate import calibrate
from benchmark.costs.image_timing import ImageTimer
from benchmark.costs.stopwatch import Stopwatch
from benchmark.costs.timing import Bench
from benchmark.planning.plan import make_plan

SMALL = ["--datasets", "synth_actions", "--shots", "1"]  # four classes in a half: an epoch is four steps of one image
SCORING = 2 * (100 + (200 - 64) / 64 * 10)  # two halves of 200 test images
TESTS = 400 * 0.01
VIEWS = 5 * 4  # five epochs of four images are encoded together


@pytest.fixture
def forecast(monkeypatch, tmp_path):
    """forecast("--seeds", "1"): the plan and its forecast, where a training takes 1000 s and a step 1 s, a class set
    100 s and each further 64 images 10 s, an image 0.01 s, and everything else nothing."""
    monkeypatch.setattr(Bench, "_steps", lambda *_: (1000.0, 1.0))
    monkeypatch.setattr(Bench, "_score", lambda *_: (100.0, 10.0, 64))
    monkeypatch.setattr(ImageTimer, "_seconds", lambda *_: 0.01)
    monkeypatch.setattr(Stopwatch, "now", lambda _: 0.0)

    def of(*arguments):
        options = run_all.parse([*SMALL, "--no-cache", "--out", str(tmp_path), *arguments])
        plan = make_plan(make_request(options), fetch=False)
        return plan, calibrate(plan.settings, plan.missing, processes=1, before=0)

    return of


def seconds(forecast):
    """Without the start of the process."""
    return sum(part.seconds for part in forecast.parts)


@pytest.mark.parametrize("epochs", [1, 3])
def test_time_is_steps_class_sets_and_images_times_their_seconds(forecast, epochs):
    plan, found = forecast("--methods", "cocoop", "--seeds", "1", "--set", f"cocoop.epochs={epochs}")
    assert plan.missing[0].steps() == epochs * 4
    assert seconds(found) == pytest.approx(1000 + epochs * 4 + SCORING + VIEWS * 0.01 + TESTS)
    assert [(part.runs, part.trainings, part.steps) for part in found.parts] == [(1, 1, epochs * 4)]
    assert found.portions[0].encoded == 400 + VIEWS


def test_repeated_views_are_encoded_once(forecast):
    arguments = ["--methods", "cocoop", "--seeds", "1", "--set", "cocoop.epochs=10"]
    counts = [forecast(*arguments, *more)[1].portions[0].encoded for more in ([], ["--views", "3"], ["--views", "10"])]
    assert counts == [400 + 2 * VIEWS, 400 + 3 * 4, 400 + 2 * VIEWS]


def test_seeds_train_in_one_pass_with_lockstep_but_are_scored_and_encoded_each(forecast):
    arguments = ["--methods", "cocoop", "--set", "cocoop.epochs=10"]
    one, two, apart = (
        forecast(*arguments, "--seeds", *more)[1] for more in (["1"], ["1", "2"], ["1", "2", "--no-lockstep"])
    )
    assert seconds(two) - seconds(one) == pytest.approx(SCORING + 2 * VIEWS * 0.01), "the test images are the same"
    assert [(part.runs, part.trainings, part.steps) for part in two.parts] == [(2, 2, 80)]
    assert seconds(apart) - seconds(two) == pytest.approx(1000 + 10 * 4)


def test_runs_that_reuse_a_training_or_learn_nothing_are_only_scored(forecast, monkeypatch):
    arguments = ["--datasets", "synth_things", "synth_actions", "--methods", "cocoop", "--seeds", "1"]
    plan, found = forecast("--protocol", "all", *arguments, "--set", "cocoop.epochs=1")
    [reused] = [run for run in plan.missing if run.reuses_training]
    [part] = [part for part in found.parts if part.trainings == 0]
    assert (part.protocol, part.runs, part.steps) == (reused.spec.protocol, 1, 0)
    assert part.seconds < 1000
    assert sum(part.trainings for part in found.parts) == len(plan.missing) - 1
    _, found = forecast("--methods", "zero_shot", "--seeds", "1", "2")
    assert seconds(found) == pytest.approx(2 * SCORING + TESTS)
    assert found.portions[0].images == 0
    monkeypatch.setattr("benchmark.planning.plan.store.missing", lambda specs, results: [])
    assert describe_forecast(forecast("--methods", "zero_shot")[1]) == "Nothing is left to run."


@pytest.mark.slow
def test_command_prints_runs_hours_and_memory_and_writes_no_results(tmp_path, capsys):
    arguments = ["--datasets", "synth_actions", "synth_things", "--shots", "1", "--seeds", "1", "2", "--device", "cpu"]
    arguments += ["--methods", "zero_shot", "coop", "copl", "clip_adapter", "--out", str(tmp_path / "out")]
    assert run_all.main([*arguments, "--calibrate", "--processes", "2"]) == 0
    text = capsys.readouterr().out
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in text.splitlines() if line.startswith("base2new")}
    assert rows["base2new", "coop"][:2] == rows["base2new", "clip_adapter"][:2] == ["4", "4"]
    assert rows["base2new", "zero_shot"][:3] == ["4", "0", "0"]
    for words in ("in 2 processes side by side;", "GB a process", "GB in all"):
        assert words in text
    assert not (tmp_path / "out").exists()
