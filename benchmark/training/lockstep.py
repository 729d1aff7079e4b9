"""Train the seeds of a method in lockstep: one pass through the text tower serves all copies.

A small batch of prompts fills neither the matrix units of a core nor a GPU; three batches use them better. Nothing else
is shared: each copy has its own images, loss, gradients and parameters, and on a CPU its values are byte for byte those
of a separate training.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.clip.backbone import ImageFeatures
from benchmark.method import Losses, Method
from benchmark.prompts import PromptMethod


def can_share(methods: Sequence[Method]) -> bool:
    """Whether these copies of a method, made for the same classes, can share one pass."""
    return all(
        isinstance(method, PromptMethod) and method.stands_in_front and type(method).backward is Method.backward
        for method in methods
    )


def losses_of(methods: Sequence[Method], images: Sequence[ImageFeatures], labels: Sequence[Tensor]) -> list[Losses]:
    """The loss of each method on its own images (B, ...) and labels (B,)."""
    if len(methods) == 1:
        return [methods[0].loss(images[0], labels[0])]
    contexts = [method.context(own) for method, own in zip(methods, images, strict=True)]  # each (1 or B, M, T)
    encode, plan = methods[0].clip.text.encode, methods[0].text_plan
    features = encode(plan, torch.cat(contexts), copies=len(contexts)).chunk(len(contexts))
    losses = []
    for method, own, text, wanted in zip(methods, images, features, labels, strict=True):
        with method.given(text):
            losses.append(method.loss(own, wanted))
    return losses


def backward(methods: Sequence[Method], losses: Sequence[Losses]) -> None:
    """Call Method.backward for each, in one pass through what they share."""
    if len(methods) == 1:
        methods[0].backward(losses[0])
        return
    total = torch.stack([own.total for own in losses]).sum()
    if not methods[0].edits_gradients:
        total.backward()
        return
    learnable = [method.learnable() for method in methods]
    parameters = [p for own in learnable for p in own]
    steering = iter(
        torch.autograd.grad(torch.stack([own.total_steering for own in losses]).sum(), parameters, retain_graph=True)
    )
    gradients = iter(torch.autograd.grad(total, parameters))
    for method, own in zip(methods, learnable, strict=True):
        method.add_gradients([next(gradients) for _ in own], [next(steering) for _ in own])
