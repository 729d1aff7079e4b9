"""Limits of memory: what surely cannot fit is left out before anything is computed, and what is tight is said."""

import dataclasses
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmark.clip.backbone import ImageFeatures
from benchmark.common import memory as machine
from benchmark.common.config import load_suite
from benchmark.data.catalog import Item, load_dataset
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import ConfigError
from benchmark.planning import memory
from benchmark.planning.plan import make_plan
from benchmark.planning.request import Request
from benchmark.plugins.factory import create_method
from benchmark.running.execute import processes_of
from benchmark.training.evaluate import SCORE_BATCH, score_batch

MANY = 5_000  # classes


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside it; `peak` is the most at one time."""

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.peak = {}, 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and (storage := tensor.untyped_storage())._cdata not in self.alive:
                self.alive[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, storage._cdata)
        return result

    def _freed(self, address):
        self.now -= self.alive.pop(address, 0)


@pytest.fixture
def many(embedded):
    """A dataset of MANY classes with an image each, all of them the same file."""
    whole = load_dataset("synth_actions", embedded("synth_actions"))
    names = tuple(f"thing {number}" for number in range(MANY))
    path = whole.test[0].path
    items = [Item(path, label, name) for label, name in enumerate(names)]
    return dataclasses.replace(whole, class_names=names, train=items, val=items, test=items)


@pytest.fixture
def asked(tmp_path):
    """asked(...) is a request of few-shot runs on the embedded actions at one shot."""

    def request(*methods, **changes):
        values = {
            "protocol": "few_shot", "suite": load_suite("synthetic"), "methods": methods, "seeds": (1,), "shots": (1,),
            "datasets": ("synth_actions",), "source": None, "backbone": "embedded", "precision": "fp32", "data": None,
            "out": tmp_path, "overrides": {},
        }  # fmt: skip
        return Request(**values | changes)

    return request


def small_machine(monkeypatch, total):
    monkeypatch.setattr(memory, "memory_of", lambda device: int(total))


def refusal(request, many):
    with pytest.raises(ConfigError) as error:
        make_plan(request, fetch=False, datasets={"synth_actions": many})
    return str(error.value)


def test_runs_that_cannot_fit_are_left_out_and_the_rest_goes_on(asked, many, monkeypatch):
    small_machine(monkeypatch, 5e7)
    plan = make_plan(asked("zero_shot", "tip_adapter"), fetch=False, datasets={"synth_actions": many})
    assert [run.spec.method for run in plan.runs] == ["zero_shot"]
    (text,) = plan.refused
    assert "tip_adapter on synth_actions needs 0.0" in text and "what it keeps of 5000 images" in text
    assert "this machine has 0.05 GB: its run is left out. Take fewer --shots" in text


def test_the_advice_helps(asked, many, monkeypatch):
    small_machine(monkeypatch, 1.5e8)
    large = {"cocoop": {"batch_size": 64}}
    text = refusal(asked("cocoop", overrides=large), many)
    assert "goes on" not in text, "no run is left"
    assert "a training step of 5000 prompts of each of 64 images" in text and "--set cocoop.batch_size" in text
    assert make_plan(asked("cocoop"), fetch=False, datasets={"synth_actions": many}).runs


def test_a_backbone_that_is_larger_than_the_memory_is_refused(asked, monkeypatch):
    small_machine(monkeypatch, 1e6)
    with pytest.raises(ConfigError, match=r"for the weights of the backbone, .* Take a smaller --backbone"):
        make_plan(asked("coop"), fetch=False)


def test_recorded_runs_stay_in_the_plan_of_a_smaller_machine(asked, monkeypatch):
    monkeypatch.setattr("benchmark.planning.plan.store.missing", lambda specs, results: [])
    small_machine(monkeypatch, 1e6)
    plan = make_plan(asked("coop"), fetch=False)
    assert plan.runs and not plan.missing and not plan.refused


def test_tight_memory_is_a_note_and_takes_fewer_processes(asked, many, monkeypatch):
    monkeypatch.setattr("benchmark.running.execute.default_processes", lambda device: 4)
    monkeypatch.setattr("benchmark.running.execute.is_small", lambda runs: False)
    request = asked("tip_adapter", seeds=(1, 2, 3, 4))
    small_machine(monkeypatch, 1.3e8)
    plan = make_plan(request, fetch=False, datasets={"synth_actions": many})
    assert [note for note in plan.warnings if "it may not fit" in note] and not plan.refused
    assert (plan.side_by_side, processes_of(plan, None), processes_of(plan, 3)) == (2, 1, 1), "one unit of work"
    small_machine(monkeypatch, 1e12)
    plan = make_plan(request, fetch=False, datasets={"synth_actions": many})
    assert not [note for note in plan.warnings if "it may not fit" in note] and plan.side_by_side >= 4


@pytest.mark.parametrize("name, options", [("cocoop", {"batch_size": 16}), ("coop", {}), ("tip_adapter", {})])
def test_no_run_needs_less_than_is_counted(clip, asked, many, name, options):
    """And not much more, where prompts of each image or a table of training images dominate."""
    names = many.class_names[:600]
    few = dataclasses.replace(many, class_names=names, train=many.train[:600], val=[], test=many.test[:600])
    request = asked(name, overrides={name: options})
    (run,) = make_plan(request, fetch=False, datasets={"synth_actions": few}).runs
    method = run.make_method(clip, few)
    check = memory.MemoryCheck(CHECKPOINT, device="cpu", precision="fp32")
    weights, kept, phase = check._parts(run, method)
    stored = sum(value.nbytes for value in clip.model.parameters())
    assert stored < weights.size < 1.5 * stored
    images = ImageFeatures(torch.nn.functional.normalize(torch.randn(600, clip.joint_width), dim=-1))
    with PeakBytes() as used:
        if name == "tip_adapter":
            method.take_sample([images[:]] * method.sample_views, torch.arange(600))
        else:
            batch = run.spec.training.batch_size
            method.backward(method.loss(images[:batch], torch.arange(batch)))
        with torch.no_grad():
            method(images[:SCORE_BATCH])
    counted, needed = kept.size + phase.size, used.peak + images.pooled.nbytes
    assert counted < needed and (name == "coop" or needed < 6 * counted)


def test_many_classes_are_scored_for_fewer_images_at_once(clip, dataset):
    cocoop, coop = (
        create_method(name, clip=clip, class_names=dataset.class_names, template="a {}.", config={}, seed=1)
        for name in ("cocoop", "coop")
    )
    assert score_batch(coop, MANY) == score_batch(cocoop, 1000) == SCORE_BATCH
    assert score_batch(cocoop, 2000) == 32 and score_batch(cocoop, 100_000) == 1


@pytest.mark.parametrize(
    "groups, files, limit",
    [
        ("0::/slurm/job_7/step_0\n", {"slurm/job_7/memory.max": "3000", "slurm/job_7/step_0/memory.max": "max"}, 3000),
        ("0::/elsewhere\n", {"memory.max": "5000"}, 5000),  # a container sees its own group as the root
        ("4:cpu:/a\n3:memory,x:/a/b\n0::/\n", {"memory/a/memory.limit_in_bytes": "2000"}, 2000),
        ("0::/\n", {"memory.max": "max"}, None),
        ("", {}, None),
    ],
)
def test_the_limit_of_a_job_or_container_counts(tmp_path, monkeypatch, groups, files, limit):
    (tmp_path / "cgroup").write_text(groups)
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(f"{text}\n")
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "UNIFIED", tmp_path / "fs")
    monkeypatch.setattr(machine, "OLDER", tmp_path / "fs" / "memory")
    assert machine.total_memory() == (limit or machine.psutil.virtual_memory().total)
    assert machine.with_swap() >= machine.total_memory()
