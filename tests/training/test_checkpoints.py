"""Trainings that go on where they were: the same bytes as never having stopped; what is damaged is not believed."""

import dataclasses
from types import SimpleNamespace

import pytest
import safetensors.torch
from accelerate import Accelerator

from benchmark.common import shutdown
from benchmark.common.config import Training
from benchmark.common.shutdown import Terminated
from benchmark.errors import RecordError
from benchmark.features.store import FeatureStore
from benchmark.plugins.factory import create_method
from benchmark.training import checkpoints as module
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.loop import fit_together
from benchmark.training.step import Stepper


@pytest.fixture(scope="module")
def train(clip, dataset):
    """train(name, ...): what seeds of a method learn in three epochs, and their reports."""
    items = dataclasses.replace(dataset, train=dataset.train[:6], test=[])

    def run(name, *, seeds=(1,), checkpoints=None, optimizer="sgd", batch_size=2, limit_bytes=1 << 30, **options):
        training = Training(epochs=3, batch_size=batch_size, warmup_epochs=1, learning_rate=0.01, optimizer=optimizer)
        made = [
            create_method(name, clip=clip, class_names=items.class_names, template=items.template, config=options,
                          seed=seed)
            for seed in seeds
        ]  # fmt: skip
        reports = fit_together(
            made, training, [items] * len(seeds), store=FeatureStore(clip, limit_bytes=limit_bytes), seeds=seeds,
            accelerator=Accelerator(cpu=True), checkpoints=checkpoints,
        )  # fmt: skip
        return [safetensors.torch.save(method.learned_state()) for method in made], reports

    return run


@pytest.fixture(scope="module")
def undisturbed(train):
    """undisturbed(name, ...): the same of a training that never stopped, done once for all tests."""
    done = {}

    def of(name, **settings):
        key = (name, *sorted(settings.items()))
        if key not in done:
            done[key] = train(name, **settings)
        return done[key]

    return of


@pytest.fixture
def asked_after(monkeypatch):
    """asked_after(n): the process is asked to end while it does one more step than these."""
    step, done = Stepper.step, []

    def counted(self, *arguments):
        done.append(None)
        return step(self, *arguments)

    def after(count):
        done.clear()
        monkeypatch.setattr(Stepper, "step", counted)
        monkeypatch.setattr(shutdown, "_requested", SimpleNamespace(is_set=lambda: len(done) > count))

    return after


CASES = [
    ("coop", {}, {}),
    ("coop", {}, {"optimizer": "adamw"}),
    ("cocoop", {}, {"batch_size": 1}),
    ("prograd", {}, {"seeds": (1, 2, 3)}),
    ("copl", {}, {"batch_size": 1, "limit_bytes": 1}),
]


@pytest.mark.parametrize(("name", "options", "settings"), CASES)
@pytest.mark.parametrize("steps", [0, 2, 4])
def test_training_that_was_ended_goes_on_to_the_same_bytes(
    train, undisturbed, asked_after, tmp_path, name, options, settings, steps
):
    seeds = settings.get("seeds", (1,))
    wanted, told = undisturbed(name, **settings, **options)
    asked_after(steps)
    with pytest.raises(Terminated):
        train(name, checkpoints=Checkpoints(tmp_path, seeds), **settings, **options)
    asked_after(10**9)
    again = Checkpoints(tmp_path, seeds)
    moment = again.load()[0]
    assert (moment.epoch, moment.step) != (0, 0)
    got, reports = train(name, checkpoints=again, **settings, **options)
    assert got == wanted
    assert [report.losses for report in reports] == [report.losses for report in told]
    assert [report.steps for report in reports] == [report.steps for report in told]


def test_nothing_is_written_until_it_is_due(train, tmp_path):
    train("coop", checkpoints=Checkpoints(tmp_path, ["a"], minutes=60))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_checkpoints_after_every_step_change_nothing(train, undisturbed, tmp_path):
    wanted, _ = undisturbed("cocoop")
    got, _ = train("cocoop", checkpoints=Checkpoints(tmp_path, ["a"], minutes=0))
    assert got == wanted
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


@pytest.mark.parametrize("damage", [b"", b"not a file of tensors", None])
def test_damaged_checkpoint_is_a_new_start(train, undisturbed, tmp_path, damage):
    wanted, _ = undisturbed("coop")
    train("coop", checkpoints=Checkpoints(tmp_path, ["a"], minutes=0))
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-7] if damage is None else damage)
    assert Checkpoints(tmp_path, ["a"]).load() is None
    assert train("coop", checkpoints=Checkpoints(tmp_path, ["a"]))[0] == wanted


def test_checkpoint_of_other_tensors_is_a_new_start(train, undisturbed, tmp_path):
    train("coop", checkpoints=Checkpoints(tmp_path, ["a"], minutes=0))
    wanted, _ = undisturbed("cocoop")
    assert train("cocoop", checkpoints=Checkpoints(tmp_path, ["a"]))[0] == wanted


def test_checkpoints_at_different_places_are_no_lockstep(train, tmp_path):
    train("coop", checkpoints=Checkpoints(tmp_path, ["a"], minutes=0))
    assert Checkpoints(tmp_path, ["a", "b"]).load() is None


def test_checkpoint_of_another_version_of_torch_is_not_read(train, tmp_path, monkeypatch):
    train("coop", checkpoints=Checkpoints(tmp_path, ["a"], minutes=0))
    monkeypatch.setattr(module.torch, "__version__", "1.0")
    assert Checkpoints(tmp_path, ["a"]).load() is None


def test_folder_that_cannot_be_written_ends_no_training(train, undisturbed, tmp_path, monkeypatch):
    def full(*_):
        raise RecordError("No space left on device.")

    wanted, _ = undisturbed("coop")
    monkeypatch.setattr(module, "write_atomically", full)
    with pytest.warns(UserWarning, match="No space left on device. The training goes on"):
        assert train("coop", checkpoints=Checkpoints(tmp_path, ["a"], minutes=0))[0] == wanted


def test_removed_checkpoint_is_gone_and_a_missing_one_no_error(train, tmp_path):
    kept = Checkpoints(tmp_path, ["a"], minutes=0)
    train("coop", checkpoints=kept)
    kept.remove()
    kept.remove()
    assert kept.load() is None
