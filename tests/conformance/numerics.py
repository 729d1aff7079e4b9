"""Check precision: learned values stay float32, whatever the precision of the backbone."""

from collections.abc import Iterable

import torch
from torch import Tensor

from benchmark.method import Method
from tests.conformance.subject import LABELS, Subject, embedded_clip, images_for


def check_learnables_stay_float32_under_autocast(subject: Subject) -> None:
    """Parameters, gradients and logits are float32 under autocast, because half precision loses small steps."""
    method = subject.make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = method.loss(images_for(method), LABELS)
        logits = method(images_for(method))
    _assert_float32([("the logits", logits)])
    if method.learnable():
        method.backward(losses)
        _assert_learnables_float32(method)


def check_towers_in_half_precision_leave_learnables_in_float32(subject: Subject) -> None:
    """Parameters are float32 on a half-precision backbone too (clip.learnable_dtype), because small steps are lost."""
    method = subject.make(clip=embedded_clip(torch.bfloat16))
    losses = method.loss(images_for(method), LABELS)
    _assert_float32([("the logits", method(images_for(method)))])
    if method.learnable():
        method.backward(losses)
        _assert_learnables_float32(method)


def check_logits_follow_the_precision_in_force(subject: Subject) -> None:
    """Values cached under one precision are not used under another, or one run would be scored in two precisions."""
    method = subject.make()
    for dtype in (torch.bfloat16, torch.float16):
        found, wanted = _logits_under(dtype, method), _logits_under(dtype, subject.make())
        assert torch.equal(found, wanted), (
            f"under {dtype} the logits are not those of a fresh instance; they differ by up to "
            f"{(found - wanted).abs().max():.3g}."
        )


@torch.no_grad()
def _logits_under(dtype: torch.dtype, method: Method) -> Tensor:
    with torch.autocast("cpu", dtype=dtype):
        return method(images_for(method))


def _assert_learnables_float32(method: Method) -> None:
    named = [(name, parameter) for name, parameter in method.named_parameters() if parameter.requires_grad]
    _assert_float32([(f"'{name}'", parameter) for name, parameter in named])
    _assert_float32([(f"the gradient of '{name}'", parameter.grad) for name, parameter in named])


def _assert_float32(named: Iterable[tuple[str, Tensor | None]]) -> None:
    for what, tensor in named:
        assert tensor is not None, f"{what} is missing."
        assert tensor.dtype == torch.float32, f"{what}: {tensor.dtype}, not float32."
