"""Implement CLIP-Adapter: a small network on the image feature, mixed with the feature itself.

Gao et al., "CLIP-Adapter: Better Vision-Language Models with Feature Adapters", IJCV 2023, arXiv 2110.04544;
clip_adapter.py at 9ac913a. As there, only the image side is adapted. The authors pass the feature before normalization;
the network has no biases and scales with its input, so the normalized feature gives the same result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.clip.text import unit
from benchmark.errors import ConfigError
from benchmark.prompts import TemplateMethod, TemplateOptions, cosine_logits


@dataclass(frozen=True, kw_only=True)
class ClipAdapterOptions(TemplateOptions):
    """Options of CLIP-Adapter, in addition to the templates.

    Attributes:
        reduction: the width of the feature divided by that of the hidden layer.
        ratio: weight of the adapted feature; that of the original feature is 1 - ratio.
    """

    reduction: int
    ratio: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reduction < 1:
            raise ConfigError(f"reduction is {self.reduction}; it divides the width, so it must be 1 or more.")
        if not 0 <= self.ratio <= 1:
            raise ConfigError(f"ratio is {self.ratio}; it must be from 0 (the original feature only) to 1.")


class ClipAdapter(TemplateMethod):
    """Cross-entropy on adapted image features; the learned tensors are the weights of `down` and `up`."""

    Options = ClipAdapterOptions

    def __init__(self, clip: Clip, options: ClipAdapterOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options, class_names, template)
        width, dtype = clip.joint_width, clip.learnable_dtype
        hidden = max(1, width // options.reduction)
        self.down = nn.Linear(width, hidden, bias=False, dtype=dtype)
        self.up = nn.Linear(hidden, width, bias=False, dtype=dtype)
        self.to(clip.device)

    def adapt(self, pooled: Tensor) -> Tensor:
        """Mix image features (B, D) with their adapted version; returns unit length."""
        features = pooled.to(self.down.weight.dtype)
        change = torch.relu(self.up(torch.relu(self.down(features))))
        return unit(self.options.ratio * change + (1 - self.options.ratio) * features)

    def forward(self, images: ImageFeatures) -> Tensor:
        """Return logits (B, C)."""
        return cosine_logits(self.clip, self.adapt(images.pooled), self.text[None])
