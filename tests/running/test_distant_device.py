"""Runs on a device other than the CPU: no tensor is left behind on one of them, and a step reads nothing back."""

import copy

import pytest
import torch

import run_all
from benchmark.cli.arguments import make_request
from benchmark.clip.backbone import Clip, load_clip
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.planning.plan import make_plan
from benchmark.records import store
from benchmark.running import runner
from benchmark.running.accelerator import make_accelerator
from benchmark.running.progress import Progress
from benchmark.running.runner import Runner
from tests.helpers.distant import DEVICE, DistantAccelerator, distant_device

EPOCHS = {"coop": 2, "cocoop": 1, "kgcoop": 2, "prograd": 2, "copl": 1, "clip_adapter": 2}
SMALL = ["--datasets", "synth_actions", "--seeds", "1", "2", "--shots", "2", "--no-cache"]
LEARNS_CLASS_BY_CLASS = ["taskres", "tip_adapter", "tip_adapter_f"]


@pytest.fixture
def run_on(tmp_path):
    """run_on("near" or "far", protocol, methods): a small grid's records, on the CPU or another device; reads."""

    def run(where, protocol, methods):
        out, settings = tmp_path / where, []
        for method in methods:
            epochs = EPOCHS.get(method, 2)
            settings += ["--set", f"{method}.epochs={epochs}"] if method not in ("zero_shot", "tip_adapter") else []
        words = ["--protocol", protocol, "--methods", *methods, *SMALL, *settings, "--out", str(out)]
        plan = make_plan(make_request(run_all.parse(words)), fetch=False)
        near, reads = load_clip(CHECKPOINT), []
        if where == "near":
            Runner(plan, make_accelerator("cpu", "fp32")).run_all(plan.missing, Progress(len(plan.missing)))
        else:
            with distant_device() as reads, pytest.MonkeyPatch.context() as patch:
                clip = Clip(copy.deepcopy(near.model).to(DEVICE), near.tokenizer, near.name, (near.mean, near.std))
                patch.setattr(runner, "load_clip", lambda path, device: clip)
                there = Runner(plan, DistantAccelerator())
                there.run_all(plan.missing, Progress(len(plan.missing)))
        made = {spec: store.load(spec.record_path(out)) for spec in plan.specs}
        return made, reads

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "protocol, methods",
    [("base2new", ["zero_shot", *EPOCHS]), ("few_shot", LEARNS_CLASS_BY_CLASS)],
    ids=["base2new", "few_shot"],
)
def test_runs_on_another_device_are_as_on_the_cpu_and_steps_read_nothing_back(run_on, protocol, methods):
    far, reads = run_on("far", protocol, methods)
    near, _ = run_on("near", protocol, methods)
    for spec, record in near.items():
        assert far[spec].training.get("losses", []) == pytest.approx(record.training.get("losses", []), rel=1e-4)
        for class_set, score in record.scores.items():
            assert abs(far[spec].scores[class_set].correct - score.correct) <= 1
    epochs = sum(spec.training.epochs for spec in near if spec.training)
    assert len(reads.within("fit.py")) <= epochs, "the totals, once an epoch"
    assert not [place for file in ("step.py", "lockstep.py", "text.py", "schedule.py") for place in reads.within(file)]


def test_stand_in_refuses_what_a_gpu_refuses():
    with distant_device() as reads:
        far = torch.ones(3, device=DEVICE)
        with pytest.raises(RuntimeError, match="both devices"):
            far + torch.ones(3)
        assert (far + 1.0).device == DEVICE
        assert reads == []
        assert (far * torch.tensor(2.0)).sum().item() == 6.0
        assert len(reads) == 1
