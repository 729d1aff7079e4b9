"""Seeds in lockstep: one pass through the text tower, and the same values as in separate trainings."""

import dataclasses

import pytest
import torch
from accelerate import Accelerator

from benchmark.common.config import Training
from benchmark.errors import DataError, DivergedError
from benchmark.features.store import FeatureStore
from benchmark.training.lockstep import can_share
from benchmark.training.loop import Trainer

SEEDS = (1, 2, 3)
CASES = [
    ("coop", {}), ("coop", {"n_ctx": 16, "ctx_init": None}), ("cocoop", {}), ("kgcoop", {}), ("prograd", {}),
    ("copl", {}), ("copl", {"score": "general", "update": "per_prompt"}),
]  # fmt: skip


@pytest.fixture
def one_thread():
    """As in each process of a grid: with several threads the order of a sum may depend on the size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def fit():
    """fit(copies, epochs): train them; returns their reports."""

    def run(copies, epochs=1):
        tools = {"store": FeatureStore(copies[0].method.clip), "accelerator": Accelerator(cpu=True)}
        return Trainer(copies, Training(epochs=epochs, batch_size=4), **tools).fit()

    return run


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["clip", "clip64"])
@pytest.mark.parametrize("name, config", CASES)
def test_lockstep_equals_separate_trainings_to_the_last_bit(
    request, make_copies, fit, one_thread, name, config, backbone
):
    backbone = request.getfixturevalue(backbone)
    together, alone = (make_copies(name, seeds=SEEDS, clip=backbone, **config) for _ in range(2))
    assert can_share([copy.method for copy in together])
    for one, other, report in zip(together, alone, fit(together, epochs=3), strict=True):
        fresh = {key: value.clone() for key, value in other.method.learned_state().items()}
        [wanted] = fit([other], epochs=3)
        assert (report.losses, report.steps, report.images) == (wanted.losses, wanted.steps, wanted.images)
        assert (report.together, wanted.together) == (3, 1)
        state = other.method.learned_state()
        assert all(torch.equal(value, state[key]) for key, value in one.method.learned_state().items())
        assert any(not torch.equal(value, fresh[key]) for key, value in state.items()), "nothing was learned"


def test_methods_that_cannot_share_a_pass_are_recognized(make_copies):
    def share(name, **config):
        return can_share([copy.method for copy in make_copies(name, seeds=SEEDS, **config)])

    assert not share("zero_shot")
    assert not share("coop", class_position="front")
    assert not share("coop", class_specific=True)
    [copy] = make_copies("coop")
    copy.method.__class__ = type("Own", (type(copy.method),), {"backward": lambda self, losses: None})
    assert not can_share([copy.method]), "it has a backward of its own"


def test_samples_of_different_sizes_are_refused_and_a_diverging_seed_is_named(make_copies, fit, dataset):
    less = dataclasses.replace(dataset, train=dataset.train[1:])
    with pytest.raises(DataError, match="one by one"):
        fit([*make_copies("coop"), *make_copies("coop", seeds=[2], items=less)])
    copies = make_copies("coop", seeds=SEEDS)
    with torch.no_grad():
        copies[1].method.ctx.fill_(float("nan"))
    with pytest.raises(DivergedError, match="seed 2 became nan"):
        fit(copies)
