"""Implement MMA: adapters beside the upper layers of both towers, which share their middle.

Yang et al., "MMA: Multi-Modal Adapter for Vision-Language Models", CVPR 2024; trainers/mmadapter.py, clip/model.py and
clip/gsl.py at c3d0bc2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmark.clip.backbone import Clip
from benchmark.clip.layer import Edits
from benchmark.errors import ConfigError
from benchmark.towers import TowerMethod, check_layers


@dataclass(frozen=True, kw_only=True)
class MMAOptions:
    """Options of MMA.

    Attributes:
        first, last: the layers with an adapter, counted from 1 as in the authors' code.
        dim: width of the adapters.
        scale: factor of what an adapter adds.
    """

    first: int
    last: int
    dim: int
    scale: float

    def __post_init__(self) -> None:
        if self.first > self.last or self.dim < 1 or self.scale <= 0:
            raise ConfigError(
                f"first is {self.first}, last {self.last}, dim {self.dim}, scale {self.scale}; first must not be above "
                "last, dim at least 1, scale above 0."
            )


class MMA(TowerMethod):
    """Cross-entropy on features of adapted towers; the prompts are "a photo of a NAME." for every dataset.

    The learned tensors are those of `text_adapter.{l}` and `visual_adapter.{l}`, each `down` and `up`, and of
    `shared_adapter.{l}` between them, for each layer l counted from 1.
    """

    Options = MMAOptions
    prefix = "a photo of a"

    def __init__(self, clip: Clip, options: MMAOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        layers = {"first": options.first, "last": options.last}
        check_layers(clip, text=layers, image=layers)
        self.needs_patches = options.first - 1
        numbers = [str(number) for number in range(options.first, options.last + 1)]
        self.text_adapter = nn.ModuleDict({n: _adapter(clip, clip.token_width, options.dim) for n in numbers})
        self.visual_adapter = nn.ModuleDict({n: _adapter(clip, clip.vision_width, options.dim) for n in numbers})
        self.shared_adapter = nn.ModuleDict(
            {n: nn.Sequential(_linear(clip, options.dim, options.dim), nn.ReLU()) for n in numbers}
        )
        self.to(clip.device)
        self.set_classes(class_names, template)

    def text_edits(self) -> Edits:
        """Add the output of the text adapters."""
        return self._beside(self.text_adapter)

    def image_edits(self) -> Edits:
        """Add the output of the image adapters."""
        return self._beside(self.visual_adapter)

    def _beside(self, adapters: nn.ModuleDict) -> Edits:
        return Edits(beside={int(n) - 1: partial(self._adapt, adapters[n], self.shared_adapter[n]) for n in adapters})

    def _adapt(self, adapter: nn.ModuleDict, shared: nn.Module, rows: Tensor, normed: Tensor) -> Tensor:
        """What an adapter adds: from normed rows (S, R, W) to (S, R, W)."""
        scale = self.options.scale
        # the gradients of the adapter are 1 / scale times the true ones, else nothing would train at 0.001
        normed = _Factors.apply(normed.to(self.clip.learnable_dtype), 1.0, scale)
        return _Factors.apply(adapter["up"](shared(adapter["down"](normed))), scale, 1.0)


class _Factors(torch.autograd.Function):
    """Multiply by one factor in the forward pass and by another in the backward pass."""

    @staticmethod
    def forward(ctx, x: Tensor, forward: float, backward: float) -> Tensor:
        ctx.factor = backward
        return x * forward

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient * ctx.factor, None, None


def _adapter(clip: Clip, width: int, dim: int) -> nn.ModuleDict:
    """Linear(width, dim) with ReLU, and Linear(dim, width)."""
    down = nn.Sequential(_linear(clip, width, dim), nn.ReLU())
    return nn.ModuleDict({"down": down, "up": _linear(clip, dim, width)})


def _linear(clip: Clip, inputs: int, outputs: int) -> nn.Linear:
    """A linear map with the authors' start: Kaiming normal over the outputs, biases 0."""
    linear = nn.Linear(inputs, outputs, dtype=clip.learnable_dtype)
    nn.init.kaiming_normal_(linear.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(linear.bias)
    return linear
