"""CUDA graphs are used only if they give the same gradients."""

import pytest
import torch
from accelerate import Accelerator

from benchmark.clip.backbone import load_clip
from benchmark.common.config import Training
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.features.store import FeatureStore
from benchmark.plugins.factory import create_method
from benchmark.training import cuda_graphs
from benchmark.training import step as stepping
from benchmark.training.loop import Trainer, TrainingCopy
from benchmark.training.step import Stepper

NAMES = ["circle", "square", "star", "cross"]
LABELS = torch.tensor([0, 1, 2, 3])
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def make(clip, name="cocoop"):
    return create_method(name, clip=clip, class_names=NAMES, template="a photo of a {}.", seed=1)


class OnGpu(Accelerator):
    """An accelerator that pretends to have a GPU, so that the decisions of a stepper can be tested on a CPU."""

    @property
    def device(self):
        return torch.device("cuda")


def test_step_that_cannot_be_recorded_is_computed_without_a_graph(clip, pictures):
    """Recording fails here because there is no CUDA; on a GPU it may fail because of the method."""
    images, method = pictures(clip, 4), make(clip)
    stepper = Stepper([method], torch.optim.SGD(method.parameters(), lr=0.1), OnGpu(cpu=True), graphs=True)
    with pytest.warns(UserWarning, match="computed without it"):
        total = stepper.step([images], [LABELS])
    plain = make(clip)
    wanted = Stepper([plain], torch.optim.SGD(plain.parameters(), lr=0.1), Accelerator(cpu=True), graphs=True)
    assert torch.equal(total, wanted.step([images], [LABELS]))
    assert all(torch.equal(v, plain.learned_state()[k]) for k, v in method.learned_state().items())
    stepper.step([images], [LABELS])  # recording is not tried again, which would warn


def test_recorded_step_is_replayed_from_the_first_on(clip, pictures, monkeypatch):
    images, method, calls = pictures(clip, 4), make(clip), []

    def recorded(compute, images, labels, parameters):
        def replay(images, labels):
            for parameter in parameters:
                parameter.grad = None
            calls.append("replay")
            return compute(images, labels)

        return replay

    monkeypatch.setattr(stepping, "recorded", recorded)
    stepper = Stepper([method], torch.optim.SGD(method.parameters(), lr=0.1), OnGpu(cpu=True), graphs=True)
    plain = make(clip)
    wanted = Stepper([plain], torch.optim.SGD(plain.parameters(), lr=0.1), Accelerator(cpu=True), graphs=False)
    for _ in range(3):
        assert torch.equal(stepper.step([images], [LABELS]), wanted.step([images], [LABELS]))
    assert calls == ["replay"] * 3


def test_replay_that_differs_is_refused():
    with pytest.raises(cuda_graphs.GraphError, match="differs"):
        cuda_graphs._agree([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 2.1])])
    with pytest.raises(cuda_graphs.GraphError):
        cuda_graphs._agree([torch.tensor([float("nan")])], [torch.tensor([1.0])])
    cuda_graphs._agree([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 2.00001])])


@needs_gpu
@pytest.mark.parametrize("name", ["coop", "cocoop", "kgcoop", "prograd", "copl"])
def test_training_is_the_same_with_and_without_graphs_on_a_gpu(name, dataset):
    clip = load_clip(CHECKPOINT, device="cuda")
    states = []
    for use in (True, False):
        method = create_method(name, clip=clip, class_names=dataset.class_names, template=dataset.template, seed=1)
        training = Training(epochs=3, batch_size=4)
        copy, tools = TrainingCopy(method, dataset, 1), {"store": FeatureStore(clip), "accelerator": Accelerator()}
        Trainer([copy], training, graphs=use, **tools).fit()
        states.append(method.learned_state())
    for key, value in states[0].items():
        assert (value - states[1][key]).abs().max() < 1e-4
