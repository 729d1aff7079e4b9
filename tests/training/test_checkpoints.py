"""An interrupted training resumes to the same bytes; a damaged checkpoint is ignored."""

import dataclasses
import functools
from types import SimpleNamespace

import pytest
import safetensors.torch
from accelerate import Accelerator

from benchmark.common import shutdown
from benchmark.common.config import Training
from benchmark.common.shutdown import Terminated
from benchmark.errors import RecordError
from benchmark.features.store import FeatureStore
from benchmark.training import checkpoints as module
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.loop import Trainer
from benchmark.training.step import Stepper

NEVER = 10**9


@pytest.fixture(scope="module")
def train(clip64, dataset, make_copies):
    """train(name, ...): learned bytes of the seeds of a method after three epochs, and their reports."""
    items = dataclasses.replace(dataset, train=dataset.train[:6], test=[])

    def run(name, *, seeds=(1,), checkpoints=None, optimizer="sgd", batch_size=2, limit_bytes=1 << 30, **config):
        training = Training(epochs=3, batch_size=batch_size, warmup_epochs=1, learning_rate=0.01, optimizer=optimizer)
        copies = make_copies(name, seeds=seeds, items=items, clip=clip64, **config)
        store, accelerator = FeatureStore(clip64, limit_bytes=limit_bytes), Accelerator(cpu=True)
        reports = Trainer(copies, training, store=store, accelerator=accelerator, checkpoints=checkpoints).fit()
        learned = [safetensors.torch.save(copy.method.learned_state()) for copy in copies]
        return learned, [(report.losses, report.steps) for report in reports]

    return run


@pytest.fixture(scope="module")
def undisturbed(train):
    """undisturbed(name, ...): the same of a training that was not interrupted, done once for all tests."""
    return functools.cache(train)


@pytest.fixture
def end_after(monkeypatch):
    """end_after(n): the process is asked to end during the step after these."""
    step, done = Stepper.step, []

    def counted(self, *arguments):
        done.append(None)
        return step(self, *arguments)

    monkeypatch.setattr(Stepper, "step", counted)

    def after(count):
        done.clear()
        monkeypatch.setattr(shutdown, "_requested", SimpleNamespace(is_set=lambda: len(done) > count))

    return after


@pytest.mark.parametrize("steps", [0, 2, 4])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("coop", {"optimizer": "adamw"}),
        ("cocoop", {"batch_size": 1}),
        ("prograd", {"seeds": (1, 2, 3)}),
        ("copl", {"batch_size": 1, "limit_bytes": 1}),
        ("promptsrc", {"depth": 2, "depth_vision": 2, "gpa_mean": 2, "gpa_std": 1}),
    ],
)
def test_interrupted_training_resumes_to_the_same_bytes(train, undisturbed, end_after, tmp_path, name, settings, steps):
    seeds = settings.get("seeds", (1,))
    wanted = undisturbed(name, **settings)
    end_after(steps)
    with pytest.raises(Terminated):
        train(name, checkpoints=Checkpoints(tmp_path, seeds), **settings)
    end_after(NEVER)
    again = Checkpoints(tmp_path, seeds)
    state = again.load()[0]
    assert (state.epoch, state.step) != (0, 0)
    if name == "promptsrc":  # its average over the epochs is no learned value
        assert state.tensors["kept average"].any() == (state.epoch > 0)
    assert train(name, checkpoints=again, **settings) == wanted


@pytest.fixture
def written(train, tmp_path):
    """The file of a checkpoint of CoOp after the last step, named "a"."""
    train("coop", checkpoints=Checkpoints(tmp_path, ["a"], minutes=60))
    assert not list(tmp_path.rglob("*.safetensors")), "no checkpoint was due"
    train("coop", checkpoints=Checkpoints(tmp_path, ["a"], minutes=0))
    (path,) = tmp_path.rglob("*.safetensors")
    return path


@pytest.mark.parametrize("damage", ["empty", "no tensors", "cut", "other method"])
def test_damaged_checkpoint_or_one_of_another_method_is_ignored(train, undisturbed, tmp_path, written, damage):
    name = "cocoop" if damage == "other method" else "coop"
    contents = {"empty": b"", "no tensors": b"not a file of tensors", "cut": written.read_bytes()[:-7]}
    written.write_bytes(contents.get(damage, written.read_bytes()))
    assert train(name, checkpoints=Checkpoints(tmp_path, ["a"])) == undisturbed(name)


def test_incomplete_foreign_and_removed_checkpoints_are_not_loaded(tmp_path, written, monkeypatch):
    kept = Checkpoints(tmp_path, ["a"])
    assert kept.load() is not None
    assert Checkpoints(tmp_path, ["a", "b"]).load() is None, "one of two is missing"
    with monkeypatch.context() as patch:
        patch.setattr(module.torch, "__version__", "1.0")
        assert Checkpoints(tmp_path, ["a"]).load() is None, "it is of another version of torch"
    kept.remove()
    kept.remove()
    assert kept.load() is None


def test_training_continues_if_the_folder_cannot_be_written(train, undisturbed, tmp_path, monkeypatch):
    def full(*_):
        raise RecordError("No space left on device.")

    monkeypatch.setattr(module, "write_atomically", full)
    with pytest.warns(UserWarning, match="No space left on device. The training goes on"):
        assert train("coop", checkpoints=Checkpoints(tmp_path, ["a"], minutes=0)) == undisturbed("coop")
