"""A training whose loss is not finite stops, names the step, and keeps the last good values and the step's images."""

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
from benchmark.records.store import load
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.loop import Trainer
from benchmark.training.schedule import shuffled


@pytest.fixture
def train(clip, dataset, make_copies):
    """train(bad): CoOp on six images in three epochs, where the loss of the steps in `bad` is NaN."""
    items = dataclasses.replace(dataset, train=dataset.train[:6])

    def run(bad, **tools):
        [copy] = make_copies("coop", seeds=[4], items=items)
        plain, steps = copy.method.loss, iter(range(100))

        def loss(images, labels):
            losses = plain(images, labels)
            factor = float("nan") if next(steps) in bad else 1.0
            return Losses({name: factor * term for name, term in losses.terms.items()})

        copy.method.loss = loss
        training = Training(epochs=3, batch_size=2, learning_rate=0.01)
        Trainer([copy], training, store=FeatureStore(clip), accelerator=Accelerator(cpu=True), **tools).fit()

    run.items = items
    return run


def test_loss_that_is_not_finite_names_epoch_step_and_images(train):
    with pytest.raises(DivergedError, match="seed 4 became nan in epoch 1 of 3, step 2 of 3") as caught:
        train(bad=[5])
    about = caught.value.about
    order = shuffled(6, 4, 1)[4:6]
    assert (about["epoch"], about["step"], len(about["losses"])) == (1, 2, 1)
    assert about["images"] == [relative_path(train.items, train.items.train[i]) for i in order]


@pytest.mark.parametrize("step, learned_something", [(1, False), (3, False), (4, True)])
def test_learned_values_at_the_start_of_the_last_good_epoch_are_kept(train, make_copies, step, learned_something):
    with pytest.raises(DivergedError) as caught:
        train(bad=[step])
    kept, start = caught.value.last_good["ctx"], make_copies("coop", seeds=[4])[0].method.learned_state()["ctx"]
    assert torch.isfinite(kept).all()
    assert torch.equal(kept, start) != learned_something


def test_no_checkpoint_of_a_loss_that_is_not_finite_is_written(train, tmp_path):
    kept = Checkpoints(tmp_path, ["a"], minutes=0)
    with pytest.raises(DivergedError):
        train(bad=[3], checkpoints=kept)
    assert (kept.load()[0].epoch, kept.load()[0].step) == (1, 0)


@pytest.mark.slow
def test_diverged_run_leaves_its_recipe_images_and_last_good_values_and_the_others_finish(tmp_path, capsys):
    arguments = ["--datasets", "synth_actions", "--methods", "zero_shot", "coop", "--shots", "1", "--seeds", "1",
                 "--set", "coop.learning_rate=1e308", "--set", "coop.epochs=3", "--device", "cpu", "--out",
                 str(tmp_path)]  # fmt: skip
    assert run_all.main(arguments) == 1
    (path,) = (tmp_path / "failed").rglob("*.json")
    failure = load(path)
    assert (failure.status, failure.spec.training.learning_rate) == ("failed", 1e308)
    assert "became nan in epoch 2 of 3" in failure.error
    assert failure.training["images"]
    assert torch.isfinite(safetensors.torch.load_file(path.with_suffix(".safetensors"))["ctx"]).all()
    assert "FAILED, DivergedError" in capsys.readouterr().err
    assert len(list((tmp_path / "synthetic").rglob("shots*.json"))) == 1


@pytest.fixture
def fit(clip, dataset, make_copies):
    """fit("coop", views=2, limit=...): five epochs on six images, one step each; what the loss saw and was learned."""
    items = dataclasses.replace(dataset, train=dataset.train[:6])

    def run(name, views, limit=1 << 30):
        [copy] = make_copies(name, seeds=[4], items=items, **({"depth": 3} if name == "maple" else {}))
        plain, seen = copy.method.loss, []
        copy.method.loss = lambda images, labels: seen.append(images) or plain(images, labels)
        store = FeatureStore(clip, limit_bytes=limit)
        training = Training(epochs=5, batch_size=6, learning_rate=0.01, views=views)
        Trainer([copy], training, store=store, accelerator=Accelerator(cpu=True)).fit()
        orders = [shuffled(6, 4, epoch) for epoch in range(5)]
        in_place = [images[torch.tensor(order).argsort()] for images, order in zip(seen, orders, strict=True)]
        return copy.method.learned_state(), in_place, orders, store.encoder.images_encoded

    return run


@pytest.mark.parametrize(
    "name, limit, encoded", [("coop", 1 << 30, 2), ("copl", 1 << 30, 2), ("copl", 1, 5), ("maple", 1 << 30, 2)]
)
def test_epochs_take_the_views_in_turn_in_an_order_of_their_own(fit, name, limit, encoded):
    _, seen, orders, count = fit(name, 2, limit)
    assert count == encoded * 6, "what does not stay in memory is encoded in each epoch"
    for epoch in range(3):
        for part, again in zip(seen[epoch].tensors().values(), seen[epoch + 2].tensors().values(), strict=True):
            assert (part - again).abs().max() < 2e-5
        assert (seen[epoch].pooled - seen[epoch + 1].pooled).abs().max() > 1e-3
    assert len(set(map(tuple, orders))) > 3


@pytest.mark.parametrize("name", ["coop", "copl", "maple"])
@pytest.mark.parametrize("views", [5, 7])
def test_as_many_views_as_epochs_are_the_views_without_the_option(fit, name, views):
    (given, _, _, count), (fresh, _, _, all_views) = fit(name, views), fit(name, None)
    assert count == all_views
    assert given.keys() == fresh.keys() and all(torch.equal(given[key], fresh[key]) for key in fresh)
