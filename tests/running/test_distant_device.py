"""Runs on a device other than the CPU: all tensors are on one device, and a step reads no value back."""

import copy

import pytest

import run_all
from benchmark.cli.arguments import make_request
from benchmark.clip.backbone import Clip, load_clip
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.planning.plan import make_plan
from benchmark.records import store
from benchmark.running import runner
from benchmark.running.accelerator import make_accelerator
from benchmark.running.progress import Progress
from tests.helpers.distant import DEVICE, DistantAccelerator, distant_device

EPOCHS = {"coop": 2, "cocoop": 1, "kgcoop": 2, "prograd": 2, "copl": 1, "clip_adapter": 2}
LEARNS_CLASS_BY_CLASS = {"taskres": 2, "tip_adapter": 0, "tip_adapter_f": 2}


def run_on(accelerator, out, protocol, epochs):
    """The records of a small grid, by spec."""
    words = ["--datasets", "synth_actions", "--seeds", "1", "2", "--shots", "2", "--no-cache", "--out", str(out)]
    words += [word for name, count in epochs.items() if count for word in ("--set", f"{name}.epochs={count}")]
    words += ["--protocol", protocol, "--precision", "fp32", "--methods", *epochs]
    plan = make_plan(make_request(run_all.parse(words)), fetch=False)
    runner.Runner(plan.settings, accelerator).run_all(plan.missing, Progress(len(plan.missing)))
    return {spec: store.load(spec.record_path(out)) for spec in plan.specs}


@pytest.mark.slow
@pytest.mark.parametrize(
    "protocol, epochs",
    [("base2new", {"zero_shot": 0, **EPOCHS}), ("few_shot", LEARNS_CLASS_BY_CLASS)],
    ids=["base2new", "few_shot"],
)
def test_results_on_another_device_equal_those_on_the_cpu_and_steps_read_nothing_back(tmp_path, protocol, epochs):
    near, clip = run_on(make_accelerator("cpu", "fp32"), tmp_path / "near", protocol, epochs), load_clip(CHECKPOINT)
    with distant_device() as reads, pytest.MonkeyPatch.context() as patch:
        moved = Clip(copy.deepcopy(clip.model).to(DEVICE), clip.tokenizer, clip.name, (clip.mean, clip.std))
        patch.setattr(runner, "load_clip", lambda path, device, dtype: moved)
        far = run_on(DistantAccelerator(), tmp_path / "far", protocol, epochs)
    for spec, record in near.items():
        assert far[spec].training.get("losses", []) == pytest.approx(record.training.get("losses", []), rel=1e-4)
        for class_set, score in record.scores.items():
            assert abs(far[spec].scores[class_set].correct - score.correct) <= 1
    trained = sum(spec.training.epochs for spec in near if spec.training)
    assert 0 < len(reads.within("loop.py")) <= trained, "the total losses, once an epoch"
    assert not [place for file in ("step.py", "lockstep.py", "text.py", "schedule.py") for place in reads.within(file)]
