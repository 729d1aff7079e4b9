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

LABELS = [torch.tensor([0, 1, 2, 3])]


class OnGpu(Accelerator):
    """An accelerator that pretends to have a GPU, so that the decisions of a stepper can be tested on a CPU."""

    @property
    def device(self):
        return torch.device("cuda")


@pytest.fixture
def stepper(make_copies):
    """stepper(accelerator): for a fresh CoCoOp."""

    def make(accelerator):
        method = make_copies("cocoop")[0].method
        return Stepper([method], torch.optim.SGD(method.parameters(), lr=0.1), accelerator(cpu=True), graphs=True)

    return make


def test_step_is_replayed_if_it_can_be_recorded_and_computed_without_a_graph_if_not(
    clip, pictures, stepper, monkeypatch
):
    """Recording fails here because there is no CUDA; on a GPU it may fail because of the method."""
    images, graphs, plain, replayed = [pictures(clip, 4)], stepper(OnGpu), stepper(Accelerator), []
    with pytest.warns(UserWarning, match="computed without it"):
        total = graphs.step(images, LABELS)
    assert torch.equal(total, plain.step(images, LABELS))
    assert torch.equal(graphs.step(images, LABELS), plain.step(images, LABELS)), "recording again would warn"

    def recorded(compute, images, labels, parameters):
        def replay(images, labels):
            for parameter in parameters:
                parameter.grad = None
            replayed.append(True)
            return compute(images, labels)

        return replay

    monkeypatch.setattr(stepping, "recorded", recorded)
    graphs, plain = stepper(OnGpu), stepper(Accelerator)
    for _ in range(3):
        assert torch.equal(graphs.step(images, LABELS), plain.step(images, LABELS))
    assert len(replayed) == 3


@pytest.mark.parametrize("replayed", [[1.0, 2.1], [1.0, float("nan")]])
def test_replay_that_differs_is_refused(replayed):
    with pytest.raises(cuda_graphs.GraphError, match="differs"):
        cuda_graphs._agree([torch.tensor(replayed)], [torch.tensor([1.0, 2.0])])
    cuda_graphs._agree([torch.tensor([1.0, 2.00001])], [torch.tensor([1.0, 2.0])])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", ["coop", "cocoop", "kgcoop", "prograd", "copl"])
def test_training_is_the_same_with_and_without_graphs_on_a_gpu(name, dataset):
    clip, states = load_clip(CHECKPOINT, device="cuda"), []
    for graphs in (True, False):
        method = create_method(name, clip=clip, class_names=dataset.class_names, template=dataset.template, seed=1)
        copy, tools = TrainingCopy(method, dataset, 1), {"store": FeatureStore(clip), "accelerator": Accelerator()}
        Trainer([copy], Training(epochs=3, batch_size=4), graphs=graphs, **tools).fit()
        states.append(method.learned_state())
    for key, value in states[0].items():
        assert (value - states[1][key]).abs().max() < 1e-4
