"""Check logits: their shape, and what they may depend on."""

import safetensors.torch
import torch

from benchmark.clip.backbone import ImageFeatures
from tests.conformance.subject import NAMES, Subject, differ, features_of, images_for, logits_of, refusal, train


def check_logits_are_finite_and_of_shape_batch_by_classes(subject: Subject) -> None:
    """Logits are finite and have the shape (images, classes), because other values cannot be counted."""
    method = subject.make()
    logits, wanted = logits_of(method), (len(images_for(method)), len(NAMES))
    assert tuple(logits.shape) == wanted, f"logits of shape {tuple(logits.shape)}, not {wanted}."
    wrong = (~logits.isfinite()).sum().item()
    assert not wrong, f"{wrong} of {logits.numel()} logits are infinite or undefined."


def check_batch_equals_its_images_one_by_one(subject: Subject) -> None:
    """An image's logits depend on that image alone, or accuracy would depend on how images fall into batches."""
    method = train(subject.make())
    images = images_for(method)
    with torch.no_grad():
        alone = torch.cat([method(images[i : i + 1]) for i in range(len(images))])
    together = logits_of(method)
    assert not differ(together, alone), (
        f"logits of a batch of {len(images)} differ from those of its images one by one by up to "
        f"{(together - alone).abs().max():.3g}."
    )


def check_patches_are_read_only_when_declared(subject: Subject) -> None:
    """A method reads patch features only if needs_patches says so, because the harness computes them only then.

    A number names a layer that the image tower has.
    """
    method = subject.make(with_sample=False)
    refused = refusal(lambda: method.clip.check_patches(method.needs_patches))
    assert not refused, f"needs_patches is {method.needs_patches!r}: {refused}"
    method = subject.make()
    if method.needs_patches is not None:
        return
    with_patches = features_of(method.clip, len(images_for(method)), "projected", 0)
    with torch.no_grad():
        there, absent = method(with_patches), method(ImageFeatures(with_patches.pooled))
    assert torch.equal(there, absent), "needs_patches is None, but the logits change when patches are given."


def check_learned_state_loads_to_the_same_logits(subject: Subject) -> None:
    """A record's tensors hold everything that was learned, so that a new instance with them gives the same logits.

    Values kept from training images are a buffer; one with a row for each image starts with no rows.
    """
    method = train(subject.make())
    state = safetensors.torch.load(safetensors.torch.save(method.learned_state()))
    other = subject.make(seed=5, with_sample=False)
    other.load_learned_state(state)
    assert torch.equal(logits_of(method), logits_of(other)), (
        f"after load_learned_state ({', '.join(state) or 'nothing'}) another instance has other logits. Make "
        "learned values nn.Parameters and other values buffers (register_buffer)."
    )


def check_learned_state_is_loaded_strictly(subject: Subject) -> None:
    """A learned state with a tensor too many or too few is refused, because it belongs to another method."""
    method = subject.make()
    state = method.learned_state()
    refused = refusal(lambda: method.load_learned_state(state | {"unknown": torch.zeros(1)}))
    assert refused, "load_learned_state accepted a tensor 'unknown' that the method does not have."
    if state:
        refused = refusal(lambda: method.load_learned_state({}))
        assert refused, f"load_learned_state accepted a state without {', '.join(state)}."


def check_logits_follow_any_change_of_the_parameters(subject: Subject) -> None:
    """Logits follow the current parameters, so cached values must not be used after a parameter changes.

    An optimizer, a loaded state and a write to `.data` change parameters in different ways.
    """
    method = train(subject.make())
    for change in (
        lambda p: p.data.add_(0.1),
        lambda p: p.data.copy_(p.data * 0.5),
        lambda p: setattr(p, "data", p.data + 0.05),
    ):
        for name, parameter in method.named_parameters():
            logits_of(method)  # fills a cache
            change(parameter)
            fresh = subject.make(seed=5)
            fresh.load_learned_state(method.learned_state())
            assert not differ(logits_of(fresh), logits_of(method)), (
                f"'{name}' was changed, but the logits are still those of its old values, or of some of them."
            )
