"""A training step's gradients as one CUDA graph: hundreds of small kernels, started by one call.

A step has the same shapes from first to last, so what the GPU does in it can be recorded once and replayed. The record
is only used after its first replay has given the gradients that the ordinary computation gives; where it does not, or
where recording fails, training goes on without.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmark.clip.backbone import ImageFeatures

WARM_UPS = 3  # calls before recording, so that libraries have chosen their kernels
AGREEMENT = 1e-3  # of the largest gradient, between replay and ordinary computation: kernels may sum in another order

Compute = Callable[[Sequence[ImageFeatures], Sequence[Tensor]], Tensor]


class GraphError(RuntimeError):
    """A replay did not give what the ordinary computation gives."""


def recorded(
    compute: Compute, images: Sequence[ImageFeatures], labels: Sequence[Tensor], parameters: Sequence[nn.Parameter]
) -> Compute | None:
    """A function that does what `compute` does for inputs of these shapes, or None where that cannot be recorded.

    Args:
        compute: from images and labels to total losses, leaving gradients in `.grad`, which it finds empty.
        parameters: those whose gradients it fills. Afterwards their `.grad` must not be set to None.
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
    # what the graph reads: later inputs are copied here
    held_images = [ImageFeatures(**{name: t.clone() for name, t in own.on_device().items()}) for own in images]
    held_labels = [own.clone() for own in labels]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            _clear(parameters)
            wanted_totals = compute(held_images, held_labels).clone()
    torch.cuda.current_stream().wait_stream(side)
    wanted = [p.grad.clone() for p in parameters]
    _clear(parameters)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        totals = compute(held_images, held_labels)
    graph.replay()
    _agree([totals, *(p.grad for p in parameters)], [wanted_totals, *wanted])

    def replay(images: Sequence[ImageFeatures], labels: Sequence[Tensor]) -> Tensor:
        for held, own in zip(held_images, images, strict=True):
            for name, tensor in held.on_device().items():
                tensor.copy_(getattr(own, name), non_blocking=True)
        for held, own in zip(held_labels, labels, strict=True):
            held.copy_(own, non_blocking=True)
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
