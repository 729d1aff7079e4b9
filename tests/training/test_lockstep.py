"""Seeds in lockstep: one pass through the text tower, and the values of each as if it had trained alone."""

import dataclasses

import pytest
import torch
from accelerate import Accelerator

from benchmark.common.config import Training
from benchmark.errors import DataError, DivergedError
from benchmark.features.store import FeatureStore
from benchmark.plugins.factory import create_method
from benchmark.records.store import collect
from benchmark.running import runner
from benchmark.training.lockstep import can_share
from benchmark.training.loop import fit, fit_together
from run_all import main

SEEDS = (1, 2, 3)
CASES = [
    ("coop", {}),
    ("coop", {"n_ctx": 16, "ctx_init": None}),
    ("cocoop", {}),
    ("kgcoop", {}),
    ("prograd", {}),
    ("copl", {}),
    ("copl", {"score": "general", "update": "per_prompt"}),
]


@pytest.fixture
def one_thread():
    """As each process of a grid has: with several, a product may be summed in another order for another size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def copies(clip, dataset, name, config, seeds=SEEDS):
    return [
        create_method(
            name, clip=clip, class_names=dataset.class_names, template=dataset.template, config=config, seed=seed
        )
        for seed in seeds
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name, config", CASES)
def test_lockstep_equals_one_by_one_to_the_last_bit(clip, dataset, one_thread, name, config):
    training, tools = (
        Training(epochs=3, batch_size=4),
        {"store": FeatureStore(clip), "accelerator": Accelerator(cpu=True)},
    )
    together, alone = copies(clip, dataset, name, config), copies(clip, dataset, name, config)
    assert can_share(together)
    reports = fit_together(together, training, [dataset] * 3, seeds=SEEDS, **tools)
    for seed, one, other, report in zip(SEEDS, together, alone, reports, strict=True):
        wanted = fit(other, training, dataset, seed=seed, **tools)
        assert report.losses == wanted.losses
        assert (report.steps, report.images, report.together) == (wanted.steps, wanted.images, 3)
        state = other.learned_state()
        assert all(torch.equal(value, state[key]) for key, value in one.learned_state().items())
        moved = copies(clip, dataset, name, config, [seed])[0].learned_state()
        assert any(not torch.equal(value, moved[key]) for key, value in state.items()), "nothing was learned"


def test_what_cannot_share_a_pass_says_so(clip, dataset):
    assert not can_share(copies(clip, dataset, "zero_shot", {}))
    assert not can_share(copies(clip, dataset, "coop", {"class_position": "front"}))
    assert not can_share(copies(clip, dataset, "coop", {"class_specific": True}))


def test_a_method_with_a_backward_of_its_own_is_trained_alone(clip, dataset):
    methods = copies(clip, dataset, "coop", {})
    own = type("Own", (type(methods[0]),), {"backward": lambda self, losses: losses.total.backward()})
    for method in methods:
        method.__class__ = own
    assert not can_share(methods)


def test_samples_of_different_sizes_are_refused(clip, dataset):
    less = dataclasses.replace(dataset, train=dataset.train[1:])
    with pytest.raises(DataError, match="one by one"):
        fit_together(
            copies(clip, dataset, "coop", {}, (1, 2)), Training(epochs=1, batch_size=4), [dataset, less],
            seeds=(1, 2), store=FeatureStore(clip), accelerator=Accelerator(cpu=True),
        )  # fmt: skip


def test_diverging_seed_is_named(clip, dataset):
    methods = copies(clip, dataset, "coop", {})
    with torch.no_grad():
        methods[1].ctx.fill_(float("nan"))
    with pytest.raises(DivergedError, match="seed 2 became nan"):
        fit_together(
            methods, Training(epochs=1, batch_size=4), [dataset] * 3,
            seeds=SEEDS, store=FeatureStore(clip), accelerator=Accelerator(cpu=True),
        )  # fmt: skip


@pytest.mark.usefixtures("sketched")
def test_one_seed_that_fails_takes_no_other_with_it(tmp_path, monkeypatch, capsys):
    """What fails in lockstep is tried one by one."""
    tried = []

    def together(methods, training, samples, *, seeds, **tools):
        tried.append(tuple(seeds))
        raise DivergedError("the loss of seed 2 became nan")

    def alone(method, training, sample, *, seed, **tools):
        tried.append(seed)
        if seed == 2:
            raise DivergedError("the loss became nan")
        return fit(method, training, sample, seed=seed, **tools)

    monkeypatch.setattr(runner, "fit_together", together)
    monkeypatch.setattr(runner, "fit", alone)
    arguments = ["--datasets", "synth_actions", "--methods", "coop", "--shots", "1", "--set", "coop.epochs=1"]
    assert main([*arguments, "--processes", "1", "--device", "cpu", "--out", str(tmp_path)]) == 1
    assert tried == [(1, 2, 3), 1, 2, 3]
    found, _ = collect(tmp_path)
    assert sorted(record.spec.seed for record in found) == [1, 3]
    assert "1 of 3 runs failed" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("sketched")
def test_lockstep_and_its_absence_leave_the_same_records(tmp_path, one_thread):
    arguments = ["--datasets", "synth_actions", "--methods", "cocoop", "coop", "--shots", "1", "--device", "cpu"]
    arguments += ["--set", "coop.epochs=1", "--set", "cocoop.epochs=1", "--processes", "1"]
    states = []
    for name, extra in (("one", ["--no-lockstep"]), ("together", [])):
        assert main([*arguments, *extra, "--out", str(tmp_path / name)]) == 0
        found, _ = collect(tmp_path / name)
        assert {record.training["together"] for record in found} == {3 if name == "together" else 1}
        files = sorted((tmp_path / name).rglob("*.safetensors"))
        states.append([(path.name, path.read_bytes()) for path in files])
    assert len(states[0]) == 6
    assert states[0] == states[1]
