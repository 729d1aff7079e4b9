"""CUDA graphs: used where they give the same gradients, done without where they do not."""

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
from benchmark.training.loop import fit
from benchmark.training.step import Stepper

NAMES = ["circle", "square", "star", "cross"]
LABELS = torch.tensor([0, 1, 2, 3])
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def make(clip, name="cocoop"):
    return create_method(name, clip=clip, class_names=NAMES, template="a photo of a {}.", seed=1)


class OnGpu(Accelerator):
    """An accelerator that says it has a GPU, so that what a stepper would do there can be followed here."""

    @property
    def device(self):
        return torch.device("cuda")


def test_a_step_that_cannot_be_recorded_is_computed_as_ever(clip, pictures):
    """Here recording fails for want of CUDA, as it may fail there for a method of somebody's."""
    images, method = pictures(clip, 4), make(clip)
    stepper = Stepper([method], torch.optim.SGD(method.parameters(), lr=0.1), OnGpu(cpu=True), graphs=True)
    with pytest.warns(UserWarning, match="computed without it"):
        total = stepper.step([images], [LABELS])
    plain = make(clip)
    wanted = Stepper([plain], torch.optim.SGD(plain.parameters(), lr=0.1), Accelerator(cpu=True), graphs=True)
    assert torch.equal(total, wanted.step([images], [LABELS]))
    assert all(torch.equal(v, plain.learned_state()[k]) for k, v in method.learned_state().items())
    stepper.step([images], [LABELS])  # and is not tried again, which would warn


def test_a_recorded_step_is_replayed_from_the_first(clip, pictures, monkeypatch):
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


def test_a_replay_that_differs_is_refused():
    with pytest.raises(cuda_graphs.GraphError, match="differs"):
        cuda_graphs._agree([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 2.1])])
    with pytest.raises(cuda_graphs.GraphError):
        cuda_graphs._agree([torch.tensor([float("nan")])], [torch.tensor([1.0])])
    cuda_graphs._agree([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 2.00001])])


@needs_gpu
@pytest.mark.parametrize("name", ["coop", "cocoop", "kgcoop", "prograd", "copl"])
def test_graphs_train_as_eager_does_on_a_gpu(name, dataset):
    clip = load_clip(CHECKPOINT, device="cuda")
    states = []
    for use in (True, False):
        method = create_method(name, clip=clip, class_names=dataset.class_names, template=dataset.template, seed=1)
        training = Training(epochs=3, batch_size=4)
        fit(method, training, dataset, store=FeatureStore(clip), seed=1, accelerator=Accelerator(), graphs=use)
        states.append(method.learned_state())
    for key, value in states[0].items():
        assert (value - states[1][key]).abs().max() < 1e-4
