"""Running out of memory: the work is done in smaller chunks, and the numbers stay."""

import pytest
import torch
from accelerate import Accelerator

from benchmark.clip.backbone import load_clip
from benchmark.clip.text import SMALLEST_CHUNK, TextEncoder
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.features.store import FeatureStore
from benchmark.plugins.factory import create_method
from benchmark.training.step import Stepper

NAMES = [f"{colour} {shape}" for colour in ("red", "green", "blue") for shape in ("circle", "star", "cross", "ring")]
LABELS = torch.arange(6)


@pytest.fixture
def clip():
    """One of its own, for its chunks are halved for good."""
    return load_clip(CHECKPOINT)


def make(clip, name="cocoop", **config):
    return create_method(name, clip=clip, class_names=NAMES, template="a photo of a {}.", config=config, seed=1)


def gradients(method, images):
    method.zero_grad()
    method.backward(method.loss(images, LABELS))
    return torch.cat([p.grad.flatten() for p in method.parameters()])


def step(method, optimizer, images):
    return Stepper([method], optimizer, Accelerator(cpu=True), graphs=True).step([images], [LABELS])


def give_up_above(monkeypatch, rows, error):
    """An encoder whose memory holds no chunk of more rows."""
    real = TextEncoder._encode_chunk

    def narrow(self, plan, which, context, *others):
        if plan.visible[which].shape[:2].numel() * len(context) > rows:
            raise type(error)(*error.args)  # a new one: its frames hold what halving should free
        return real(self, plan, which, context, *others)

    monkeypatch.setattr(TextEncoder, "_encode_chunk", narrow)


@pytest.mark.parametrize(
    "name, config",
    [("coop", {}), ("cocoop", {}), ("coop", {"class_position": "front"}), ("maple", {"depth": 3}),
     ("tcp", {"layer": 1})],
)  # fmt: skip
def test_smaller_chunks_and_recomputation_change_nothing(clip, pictures, name, config):
    method = make(clip, name, **config)
    images = pictures(clip, 6, method.needs_patches)
    wanted, logits = gradients(method, images), method(images)
    while clip.text.halve_chunks():
        pass
    assert (clip.text.chunk_rows, clip.text.kept_rows) == (SMALLEST_CHUNK, 0)
    assert (method(images) - logits).abs().max() < 2e-5
    assert (gradients(method, images) - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")],
)
def test_a_step_that_does_not_fit_goes_on_in_halves(clip, pictures, monkeypatch, error):
    images = pictures(clip, 6)
    one, other = make(clip), make(clip)
    steps = [torch.optim.SGD(method.parameters(), lr=0.1) for method in (one, other)]
    wanted = step(one, steps[0], images)
    give_up_above(monkeypatch, 256, error)
    got = step(other, steps[1], images)
    assert clip.text.chunk_rows == 256
    assert got.item() == pytest.approx(wanted.item(), abs=1e-5)
    for name, value in one.learned_state().items():
        assert (other.learned_state()[name] - value).abs().max() < 1e-6


def test_other_errors_are_not_taken_for_it(clip, pictures, monkeypatch):
    give_up_above(monkeypatch, 0, RuntimeError("shapes do not match"))
    method = make(clip)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        step(method, optimizer, pictures(clip, 6))
    assert clip.text.kept_rows > 0


def test_images_that_do_not_fit_go_through_in_halves(clip, dataset, monkeypatch):
    (wanted,) = FeatureStore(clip).test(dataset, dataset.test, None, batch=64)
    real, sizes = clip.encode_images, []

    def narrow(pixels, patches=None):
        sizes.append(len(pixels))
        if len(pixels) > 12:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(pixels, patches)

    monkeypatch.setattr(clip, "encode_images", narrow)
    (got,) = FeatureStore(clip).test(dataset, dataset.test, None, batch=64)
    assert max(size for size in sizes if size <= 12) == 8, "half of the sixteen images of a pass"
    assert (got.pooled - wanted.pooled).abs().max() < 1e-6
