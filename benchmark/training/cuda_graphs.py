"""Record the gradients of a training step as a CUDA graph: one call starts hundreds of small kernels.

All steps have the same shapes, so the work of the GPU can be recorded once and replayed. A graph is used only if its
first replay gives the gradients of the ordinary computation; otherwise, or if recording fails, training continues
without it.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmark.clip.backbone import ImageFeatures

WARM_UPS = 3  # calls before recording, in which libraries choose their kernels
AGREEMENT = 1e-3  # of the largest gradient, between replay and ordinary computation: kernels may sum in another order

Compute = Callable[[Sequence[ImageFeatures], Sequence[Tensor]], Tensor]


class GraphError(RuntimeError):
    """A replay differs from the ordinary computation."""


def recorded(
    compute: Compute, images: Sequence[ImageFeatures], labels: Sequence[Tensor], parameters: Sequence[nn.Parameter]
) -> Compute | None:
    """Record `compute` for inputs of these shapes; None if that is not possible.

    Args:
        compute: maps images and labels to total losses and writes gradients to `.grad`, which is empty before.
        parameters: their gradients are written. Afterwards `.grad` must not be set to None.
    """
    try:
        return _record(compute, images, labels, parameters)
    except RuntimeError as error:
        warnings.warn(f"CUDA graph of a training step: {error}. Steps are computed without it.", stacklevel=2)
        _clear(parameters)
        return None


def _record(
    compute: Compute, images: Sequence[ImageFeatures], labels: Sequence[Tensor], parameters: Sequence[nn.Parameter]
) -> Compute:
    # the inputs of the graph: later inputs are copied here
    held_images = [own.like({name: t.clone() for name, t in own.on_device().items()}) for own in images]
    held_labels = [own.clone() for own in labels]

    def held() -> tuple[list[ImageFeatures], list[Tensor]]:
        return [own[:] for own in held_images], held_labels  # views, in which nothing is computed and kept yet

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            _clear(parameters)
            wanted_totals = compute(*held()).clone()
    torch.cuda.current_stream().wait_stream(side)
    wanted = [p.grad.clone() for p in parameters]
    _clear(parameters)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        totals = compute(*held())
    graph.replay()
    _agree([totals, *(p.grad for p in parameters)], [wanted_totals, *wanted])

    def replay(images: Sequence[ImageFeatures], labels: Sequence[Tensor]) -> Tensor:
        for kept, own in zip(held_images, images, strict=True):
            for name, tensor in kept.on_device().items():
                tensor.copy_(getattr(own, name), non_blocking=True)
        for kept, own in zip(held_labels, labels, strict=True):
            kept.copy_(own, non_blocking=True)
        graph.replay()
        return totals.clone()

    return replay


def _agree(got: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    for one, other in zip(got, wanted, strict=True):
        if not (one - other).abs().max() <= AGREEMENT * other.abs().max():
            raise GraphError("its replay differs from the ordinary computation")


def _clear(parameters: Sequence[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None
