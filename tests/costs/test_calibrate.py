"""What a plan will take: injected seconds times the right counts, and the command from end to end."""

import pytest

import methods
import run_all
from benchmark.cli.arguments import make_request
from benchmark.cli.summary import describe_forecast
from benchmark.costs.calibrate import calibrate
from benchmark.costs.timing import Bench
from benchmark.planning.plan import make_plan, steps_of
from benchmark.plugins import discovery

SMALL = ["--datasets", "synth_actions", "--shots", "1"]  # four classes in a half, and so four steps of one image


@pytest.fixture
def forecast(monkeypatch, tmp_path):
    """forecast("--seeds", "1"): of a plan, where a training takes 1000 s and a step 1 s, a class set 100 s and each
    further 64 images 10 s, a picture 0.01 s; and what lasts as long as it lasts takes nothing."""
    monkeypatch.setattr(Bench, "_steps", lambda *_: (1000.0, 1.0))
    monkeypatch.setattr(Bench, "_score", lambda *_: (100.0, 10.0, 64))
    monkeypatch.setattr(Bench, "_picture", lambda *_: 0.01)
    monkeypatch.setattr(Bench, "_clock", lambda _: 0.0)

    def of(*arguments):
        options = run_all.parse([*SMALL, "--no-cache", "--out", str(tmp_path), *arguments])
        plan = make_plan(make_request(options), fetch=False)
        return plan, calibrate(plan, processes=1, before=0)

    return of


def seconds(forecast):
    """Without the start of the process."""
    return sum(part.seconds for part in forecast.parts)


SCORING = 2 * (100 + (200 - 64) / 64 * 10)  # two halves of 200 test images
TESTS = 400 * 0.01


def test_time_is_steps_class_sets_and_pictures_times_their_seconds(forecast):
    plan, found = forecast("--methods", "cocoop", "--seeds", "1", "--set", "cocoop.epochs=3")
    assert steps_of(plan, plan.missing[0]) == 3 * 4
    views = 10 * 4  # ten epochs ahead
    assert seconds(found) == pytest.approx(1000 + 3 * 4 + SCORING + views * 0.01 + TESTS)
    assert [(part.runs, part.trainings, part.steps) for part in found.parts] == [(1, 1, 12)]
    assert found.portions[0].encoded == 400 + views


def test_more_epochs_take_more_steps_in_one_training(forecast):
    one, ten = (
        seconds(forecast("--methods", "cocoop", "--seeds", "1", "--set", f"cocoop.epochs={n}")[1]) for n in (1, 10)
    )
    assert ten - one == pytest.approx(9 * 4)


def test_seeds_train_in_one_pass_but_are_scored_and_encoded_each(forecast):
    arguments = ["--methods", "cocoop", "--set", "cocoop.epochs=10"]
    one, three = (forecast(*arguments, "--seeds", *seeds)[1] for seeds in (["1"], ["1", "2", "3"]))
    assert seconds(three) - seconds(one) == pytest.approx(2 * SCORING + 2 * 10 * 4 * 0.01), "the same test images"
    assert [(part.runs, part.trainings, part.steps) for part in three.parts] == [(3, 3, 120)]


def test_seeds_train_one_by_one_without_lockstep(forecast):
    arguments = ["--methods", "cocoop", "--set", "cocoop.epochs=10", "--seeds", "1", "2"]
    together, apart = (seconds(forecast(*arguments, *more)[1]) for more in ([], ["--no-lockstep"]))
    assert apart - together == pytest.approx(1000 + 10 * 4)


def test_seeds_train_one_by_one_where_a_method_cannot_share_its_passes(forecast):
    arguments = ["--protocol", "few_shot", "--methods", "coop", "--set", "coop.class_specific=true"]
    one, two = (forecast(*arguments, "--set", "coop.epochs=10", "--seeds", *seeds)[1] for seeds in (["1"], ["1", "2"]))
    all_classes = 100 + (400 - 64) / 64 * 10
    views = 10 * 8 * 0.01
    assert seconds(two) - seconds(one) == pytest.approx(1000 + 10 * 1 + all_classes + views)


def test_methods_share_train_views_but_not_those_of_patches(forecast):
    short = ["--set", "cocoop.epochs=10", "--set", "kgcoop.epochs=10", "--set", "copl.epochs=10", "--seeds", "1"]
    pictures = {}
    for some in (["cocoop"], ["cocoop", "kgcoop"], ["cocoop", "copl"]):
        pictures[len(some), some[-1]] = forecast("--methods", *some, *short)[1].portions[0].encoded
    assert pictures[2, "kgcoop"] == pictures[1, "cocoop"] == 400 + 10 * 4
    assert pictures[2, "copl"] == pictures[1, "cocoop"] + 10 * 4


def test_taken_training_is_scored_alone(forecast):
    arguments = ["--datasets", "synth_things", "synth_actions", "--methods", "cocoop", "--seeds", "1"]
    plan, found = forecast("--protocol", "all", *arguments, "--set", "cocoop.epochs=1")
    (taken,) = plan.taken
    parts = [part for part in found.parts if part.trainings == 0]
    assert [(part.protocol, part.runs, part.steps) for part in parts] == [(taken.protocol, 1, 0)]
    assert parts[0].seconds < 1000
    assert sum(part.trainings for part in found.parts) == len(plan.missing) - 1


def test_method_that_learns_nothing_is_scored_alone(forecast):
    _, found = forecast("--methods", "zero_shot", "--seeds", "1", "2")
    assert seconds(found) == pytest.approx(2 * SCORING + TESTS)
    assert found.portions[0].pictures == 0


@pytest.fixture
def plain_method(tmp_path, monkeypatch):
    """A method that knows the public interface alone: one temperature, learned."""
    folder = tmp_path / "methods"
    folder.mkdir()
    for path in discovery.METHODS.glob("*.yaml"):  # the suite has recipes for them
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "warm.yaml").write_text("defaults: {epochs: 2, batch_size: 4}\n")
    (folder / "warm.py").write_text(
        """
import torch
from benchmark.method import Method

class Warm(Method):
    def __init__(self, clip, options, class_names, template):
        super().__init__(clip, options)
        self.warmth = torch.nn.Parameter(torch.ones((), device=clip.device))
        self.set_classes(class_names, template)

    def set_classes(self, class_names, template):
        super().set_classes(class_names, template)
        self.text = self.clip.encode_texts([template.replace("{}", name) for name in self.class_names])

    def forward(self, images):
        return self.warmth * self.clip.logit_scale * images.pooled @ self.text.T
"""
    )
    monkeypatch.setattr(discovery, "METHODS", folder)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])


@pytest.mark.slow
def test_command_measures_a_method_with_the_public_interface_alone(plain_method, tmp_path, capsys):
    assert run_all.main([*SMALL, "--calibrate", "--methods", "warm", "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    row = [line.split() for line in text.splitlines() if "warm" in line][-1]
    assert row[:5] == ["base2new", "warm", "3", "3", "6"]
    assert "in one process;" in text
    assert "GB in all" not in text


@pytest.mark.slow
def test_command_prints_runs_hours_and_memory_and_leaves_nothing(tmp_path, capsys):
    arguments = ["--datasets", "synth_actions", "synth_things", "--shots", "1", "--seeds", "1", "2", "--device", "cpu"]
    arguments += ["--methods", "zero_shot", "coop", "copl", "--processes", "2", "--out", str(tmp_path / "out")]
    assert run_all.main([*arguments, "--calibrate"]) == 0
    text = capsys.readouterr().out
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in text.splitlines() if line.startswith("base2new")}
    assert rows["base2new", "coop"][:2] == ["4", "4"]
    assert rows["base2new", "zero_shot"][:3] == ["4", "0", "0"]
    assert "in 2 processes side by side;" in text
    assert "GB a process" in text
    assert "GB in all" in text
    assert not (tmp_path / "out").exists()


def test_nothing_is_measured_where_nothing_is_missing(forecast, monkeypatch):
    monkeypatch.setattr("benchmark.planning.plan.store.missing", lambda specs, results: [])
    _, found = forecast("--methods", "zero_shot")
    assert describe_forecast(found) == "Nothing is left to run."


def test_plan_says_trainings_and_how_to_learn_more(tmp_path, capsys):
    assert run_all.main([*SMALL, "--plan", "--methods", "zero_shot", "kgcoop", "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    row = next(line.split() for line in text.splitlines() if line.startswith("kgcoop"))
    assert row[:5] == ["kgcoop", "3", "0", "3", "3"]
    assert "--calibrate adds hours and memory" in text
