"""Implement Tip-Adapter-F: Tip-Adapter with fine-tuned keys.

Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", ECCV 2022, arXiv 2207.09519;
main.py at 327763e. The authors keep the epoch with the best test accuracy, then search alpha and beta on the validation
images; this harness uses the last epoch and fixed values. methods/tip_adapter.py describes the cache and how it differs
from the authors' code. The keys are not normalized again during training, as in the code.
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
class TipAdapterFOptions(TemplateOptions):
    """Options of Tip-Adapter-F, in addition to the templates.

    Attributes:
        alpha: weight of the votes of the cache, added to CLIP's logits.
        beta: how fast a vote decreases with the distance to the cached image.
        views: number of random views of a training image; its key starts as their mean.
    """

    alpha: float
    beta: float
    views: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha <= 0 or self.beta <= 0:
            raise ConfigError(f"alpha is {self.alpha} and beta {self.beta}; at 0 the keys would learn nothing.")
        if self.views < 1:
            raise ConfigError(f"views is {self.views}; at least 1 view of each training image is needed.")


class TipAdapterF(TemplateMethod):
    """Cross-entropy on CLIP's logits plus the votes; `keys` (N, D) are learned, `values` (N, C) is a buffer.

    Before `take_sample` the cache is empty, and the logits are CLIP's.
    """

    Options = TipAdapterFOptions
    transfers = False

    def __init__(self, clip: Clip, options: TipAdapterFOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options, class_names, template)
        self.sample_views = options.views
        self.keys = nn.Parameter(torch.empty(0, clip.joint_width, dtype=clip.learnable_dtype, device=clip.device))
        self.register_buffer("values", torch.empty(0, len(class_names), dtype=torch.bool, device=clip.device))

    def take_sample(self, views: Sequence[ImageFeatures], labels: Tensor) -> None:
        """Start the keys as Tip-Adapter's, the means of the views; the values are the classes."""
        mean = torch.stack([view.pooled for view in views]).mean(dim=0)
        self.keys = nn.Parameter(unit(mean.to(self.keys.dtype)))
        self.values = self.rows[labels][:, None] == torch.arange(len(self.trained), device=labels.device)

    def votes(self, pooled: Tensor) -> Tensor:
        """Return votes (B, C): each key adds exp(-beta (1 - f key)) to its class; float32 under autocast too."""
        with torch.autocast(pooled.device.type, enabled=False):
            similarity = pooled.to(self.keys.dtype) @ self.keys.T  # (B, N)
            strength = torch.exp(-self.options.beta * (1 - similarity))
            return (strength @ self.values.to(strength.dtype))[:, self.rows]

    def forward(self, images: ImageFeatures) -> Tensor:
        """Return logits (B, C)."""
        logits = cosine_logits(self.clip, images.pooled, self.text[None])
        return logits + self.options.alpha * self.votes(images.pooled)
