"""A training whose loss is not finite: it stops, says where, and leaves what it had learned and the step's images."""

import dataclasses

import pytest
import safetensors.torch
import torch
from accelerate import Accelerator

import run_all
from benchmark.common.config import Training
from benchmark.data.catalog import relative_path
from benchmark.errors import DivergedError
from benchmark.features.store import FeatureStore
from benchmark.method import Losses
from benchmark.plugins.factory import create_method
from benchmark.records.store import load
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.loop import fit
from benchmark.training.schedule import shuffled


@pytest.fixture
def training():
    return Training(epochs=3, batch_size=2, learning_rate=0.01)


@pytest.fixture
def train(clip, dataset, training):
    """train(bad): CoOp on six images, where the loss of the steps that `bad` names is not a number."""
    items = dataclasses.replace(dataset, train=dataset.train[:6])

    def run(bad=(), **tools):
        method = create_method("coop", clip=clip, class_names=items.class_names, template=items.template)
        plain, steps = method.loss, iter(range(100))

        def loss(images, labels):
            losses = plain(images, labels)
            factor = float("nan") if next(steps) in bad else 1.0
            return Losses({name: factor * term for name, term in losses.terms.items()})

        method.loss = loss
        fit(method, training, items, store=FeatureStore(clip), seed=4, accelerator=Accelerator(cpu=True), **tools)
        return method.learned_state()

    run.items = items
    return run


def test_loss_that_is_not_finite_names_epoch_step_and_images(train):
    with pytest.raises(DivergedError, match="seed 4 became nan in epoch 1 of 3, step 2 of 3") as caught:
        train(bad=[5])
    about = caught.value.about
    order = shuffled(6, 4, 1)[4:6]
    assert (about["epoch"], about["step"], len(about["losses"])) == (1, 2, 1)
    assert about["images"] == [relative_path(train.items, train.items.train[i]) for i in order]


def test_what_was_learned_when_the_last_good_epoch_began_is_kept(train, training, clip):
    with pytest.raises(DivergedError) as caught:
        train(bad=[4])
    start = create_method("coop", clip=clip, class_names=train.items.class_names, template=train.items.template)
    kept = caught.value.last_good["ctx"]
    assert torch.isfinite(kept).all()
    assert not torch.equal(kept, start.learned_state()["ctx"]), "the first epoch was good"
    for step in (1, 3):  # in the first epoch, or at the first step of the second
        with pytest.raises(DivergedError) as early:
            train(bad=[step])
        assert torch.equal(early.value.last_good["ctx"], start.learned_state()["ctx"])


def test_no_checkpoint_is_written_of_a_loss_that_is_not_finite(train, tmp_path):
    kept = Checkpoints(tmp_path, ["a"], minutes=0)
    with pytest.raises(DivergedError):
        train(bad=[3], checkpoints=kept)
    assert (kept.load()[0].epoch, kept.load()[0].step) == (1, 0)


def test_diverged_run_leaves_its_recipe_images_and_last_good_values_and_the_others_go_on(tmp_path, capsys):
    arguments = ["--datasets", "synth_actions", "--methods", "zero_shot", "coop", "--shots", "1", "--seeds", "1",
                 "--set", "coop.learning_rate=1e38", "--set", "coop.epochs=3", "--device", "cpu", "--out",
                 str(tmp_path)]  # fmt: skip
    assert run_all.main(arguments) == 1
    (path,) = (tmp_path / "failed").rglob("*.json")
    failure = load_failure(path)
    assert "became nan in epoch 2 of 3" in failure.error
    assert failure.spec.training.learning_rate == 1e38
    assert failure.training["images"]
    kept = safetensors.torch.load_file(path.with_suffix(".safetensors"))
    assert torch.isfinite(kept["ctx"]).all()
    assert "FAILED, DivergedError" in capsys.readouterr().err
    assert len(list((tmp_path / "synthetic").rglob("shots*.json"))) == 1


def load_failure(path):
    record = load(path)
    assert record.status == "failed"
    return record
