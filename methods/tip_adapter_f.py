"""Tip-Adapter-F: Tip-Adapter whose keys are fine-tuned.

Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", ECCV 2022, arXiv 2207.09519;
main.py at 327763e. The authors keep the epoch that scores best on the test images, then search alpha and beta on the
validation images; this harness selects nothing there: its numbers are those of the last epoch and of fixed values.
How the cache is filled, and where that differs from the authors' code: methods/tip_adapter.py. The keys are not brought
back to unit length while they are trained, as in the code.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.clip.text import unit
from benchmark.errors import ConfigError
from benchmark.prompts import TemplateMethod, TemplateOptions, cosine_logits


@dataclass(frozen=True, kw_only=True)
class TipAdapterFOptions(TemplateOptions):
    """Options of Tip-Adapter-F, beside the templates.

    Attributes:
        alpha: weight of the cache's votes beside CLIP's logits.
        beta: how fast a vote fades as an image is less like the cached one.
        views: random views of each training image that its key starts as the mean of.
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
    """Cross-entropy on CLIP's logits plus the cache's votes; learned are `keys` (N, D), kept is `values` (N, C).

    Before it has taken a sample the cache is empty, and the logits are CLIP's.
    """

    Options = TipAdapterFOptions
    transfers = False

    def __init__(self, clip: Clip, options: TipAdapterFOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options, class_names, template)
        self.sample_views = options.views
        self.keys = nn.Parameter(torch.empty(0, clip.joint_width, dtype=clip.learnable_dtype, device=clip.device))
        self.register_buffer("values", torch.empty(0, len(class_names), dtype=torch.bool, device=clip.device))

    def take_sample(self, views: Sequence[ImageFeatures], labels: Tensor) -> None:
        """Start the keys where Tip-Adapter's are: at the mean of an image's views; its value is the class."""
        mean = torch.stack([view.pooled for view in views]).mean(dim=0)
        self.keys = nn.Parameter(unit(mean.to(self.keys.dtype)))
        self.values = F.one_hot(self.rows[labels], len(self.trained)).bool()

    def votes(self, pooled: Tensor) -> Tensor:
        """Votes (B, C) of the cache: each key's class gets exp(-beta (1 - f key)); in float32 under autocast too."""
        with torch.autocast(pooled.device.type, enabled=False):
            likeness = pooled.to(self.keys.dtype) @ self.keys.T  # (B, N)
            strength = torch.exp(-self.options.beta * (1 - likeness))
            return (strength @ self.values.to(strength.dtype))[:, self.rows]

    def forward(self, images: ImageFeatures) -> Tensor:
        """Logits (B, C)."""
        logits = cosine_logits(self.clip, images.pooled, self.text[None])
        return logits + self.options.alpha * self.votes(images.pooled)
