"""The same named checks on every method of the registry; each says which rule it holds up and why."""

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch

from benchmark.clip.backbone import ImageFeatures, load_clip
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import BenchmarkError
from benchmark.method import Method
from benchmark.registry import create_method, method_names

NAMES = ["circle", "square", "star", "cross", "triangle"]
TEMPLATE = "a photo of a {}."
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])

Make = Callable[..., Method]


@pytest.fixture
def images(clip, pictures) -> ImageFeatures:
    return pictures(clip, len(LABELS))


def train(method: Method, images: ImageFeatures, steps: int = 3) -> None:
    """A few steps of SGD at a rate that moves things."""
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        method.backward(method.loss(images, LABELS))
        optimizer.step()


def learns(method: Method) -> bool:
    return bool(method.learned_state())


def check_logits_are_finite_and_of_shape_batch_by_classes(make: Make, images: ImageFeatures) -> None:
    """One score for each image and class; anything else cannot be counted."""
    logits = make()(images)
    assert logits.shape == (len(images), len(NAMES))
    assert torch.isfinite(logits).all()


def check_only_declared_parameters_move(make: Make, images: ImageFeatures) -> None:
    """CLIP is frozen in every method of the table; one that tunes it is not comparable."""
    method = make()
    before = {name: value.clone() for name, value in method.clip.model.state_dict().items()}
    if not learns(method):
        return
    start = method.learned_state()
    train(method, images)
    assert all(torch.equal(value, method.clip.model.state_dict()[name]) for name, value in before.items())
    moved = method.learned_state()
    assert all(not torch.equal(start[name], moved[name]) for name in start), "a declared parameter never moves"
    assert not any(p.grad is not None for p in method.clip.model.parameters())


def check_set_classes_there_and_back_changes_nothing(make: Make, images: ImageFeatures) -> None:
    """Class names are data: scoring other classes in between must not leave a trace."""
    method = make()
    with torch.no_grad():
        before = method(images)
        method.set_classes(["dots", "stripes"], "a {}.")
        assert method(images).shape == (len(images), 2)
        method.set_classes(NAMES, TEMPLATE)
        assert torch.equal(before, method(images))


def check_refused_classes_leave_the_method_as_it_was(make: Make, images: ImageFeatures) -> None:
    """A class set is taken whole or not at all: half of two would be scored without a word."""
    method = make()
    with torch.no_grad():
        before = method(images)
        refused = [
            ([], TEMPLATE),
            ("dog", TEMPLATE),
            ([3], TEMPLATE),
            (["dog"], "a photo."),
            (["dog"], "{} or {}."),
            (["very " * 80], TEMPLATE),
        ]
        for names, template in refused:
            with pytest.raises(BenchmarkError):
                method.set_classes(names, template)
            assert method.class_names == tuple(NAMES)
            assert torch.equal(method(images), before)
        with suppress(BenchmarkError):  # only some methods read the template
            method.set_classes(["dog"], "a photo of " + "very " * 80 + "{}.")
            return
        assert method.class_names == tuple(NAMES)
        assert torch.equal(method(images), before)


def check_braces_in_a_template_are_text(make: Make, images: ImageFeatures) -> None:
    """Only {} is where the name goes; class names and templates are never read as format strings."""
    method = make()
    method.set_classes(["{x}", "a {0} b"], "a {y} of {}.")
    assert method(images).shape == (len(images), 2)


def check_towers_in_half_precision_leave_learnables_in_float32(make: Make, images: ImageFeatures) -> None:
    """A backbone may be loaded in half precision; what is learned is float32 all the same."""
    method = make(clip=load_clip(CHECKPOINT, dtype=torch.bfloat16))
    losses = method.loss(images, LABELS)
    if learns(method):
        method.backward(losses)
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in method.parameters())
    assert method(images).dtype == torch.float32


def check_learned_state_loads_to_the_same_logits(make: Make, images: ImageFeatures) -> None:
    """A record's tensors are all that a method learned; with them it scores as it did."""
    method = make()
    if learns(method):
        train(method, images)
    other = make(seed=5)
    other.load_learned_state(method.learned_state())
    with torch.no_grad():
        assert torch.equal(method(images), other(images))


def check_learned_state_is_loaded_strictly(make: Make, images: ImageFeatures) -> None:
    """A tensor too many or too few is another method's state."""
    method = make()
    with pytest.raises(Exception, match="unknown"):
        method.load_learned_state(method.learned_state() | {"stranger": torch.zeros(1)})
    if learns(method):
        with pytest.raises(Exception, match="missing"):
            method.load_learned_state({})


def check_same_seed_gives_same_weights_and_leaves_global_generators(make: Make, images: ImageFeatures) -> None:
    """A run is repeatable, and making a method disturbs no other random draw."""
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one = make(seed=3).learned_state()
    assert torch.equal(torch.rand(1), expected)
    two = make(seed=3).learned_state()
    assert all(torch.equal(one[name], two[name]) for name in one)


def check_loss_terms_sum_to_total(make: Make, images: ImageFeatures) -> None:
    """What is minimised is what is reported."""
    losses = make().loss(images, LABELS)
    assert losses.total.item() == pytest.approx(sum(term.item() for term in losses.terms.values()), rel=1e-6)


def check_batch_equals_its_images_one_by_one(make: Make, images: ImageFeatures) -> None:
    """An image's score depends on that image alone, or accuracy would depend on the batch size."""
    method = make()
    with torch.no_grad():
        together = method(images)
        alone = torch.cat([method(images[i : i + 1]) for i in range(len(images))])
    assert (together - alone).abs().max() < 1e-4


def check_class_order_permutes_logits(make: Make, images: ImageFeatures) -> None:
    """The order of the classes carries no information."""
    method, order = make(), [3, 1, 4, 0, 2]
    with torch.no_grad():
        before = method(images)
        method.set_classes([NAMES[c] for c in order], TEMPLATE)
        assert (method(images) - before[:, order]).abs().max() < 1e-4


def check_logits_follow_any_change_of_the_parameters(make: Make, images: ImageFeatures) -> None:
    """What is remembered between calls must not outlive the values it was made from, however they were changed."""
    method = make()
    for change in (
        lambda p: p.data.add_(0.1),
        lambda p: p.data.copy_(p.data * 0.5),
        lambda p: setattr(p, "data", p.data + 0.05),
    ):
        for parameter in method.parameters():
            with torch.no_grad():
                before = method(images)
                change(parameter)
                assert not torch.equal(before, method(images))


def check_learnables_stay_float32_under_autocast(make: Make, images: ImageFeatures) -> None:
    """Half-precision parameters lose the small steps at the end of the schedule."""
    method = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = method.loss(images, LABELS)
        logits = method(images)
    assert logits.dtype == torch.float32
    if learns(method):
        method.backward(losses)
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in method.parameters())


def check_logits_follow_the_precision_in_force(make: Make, images: ImageFeatures) -> None:
    """What is remembered under one autocast is another number under the next."""
    method, types = make(), (torch.bfloat16, torch.float16)

    def logits(method: Method, dtype: torch.dtype) -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
            return method(images)

    fresh = [logits(make(), dtype) for dtype in types]
    assert all(torch.equal(logits(method, dtype), wanted) for dtype, wanted in zip(types, fresh, strict=True))


def check_patches_are_read_only_when_declared(make: Make, images: ImageFeatures) -> None:
    """The harness computes patch features only for those who say so; for the others they are not there."""
    method = make()
    if method.needs_patches is None:
        assert torch.equal(method(images), method(ImageFeatures(images.pooled)))
    else:
        with pytest.raises((TypeError, AttributeError)):
            method(ImageFeatures(images.pooled))


CHECKS = [check for name, check in sorted(globals().items()) if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", method_names())
def test_method(name, check, clip, images):
    def make(**changes) -> Method:
        return create_method(name, **({"clip": clip, "class_names": NAMES, "template": TEMPLATE} | changes))

    check(make, images)
