"""Implement Tip-Adapter: zero-shot CLIP plus votes of the training images by similarity, without training.

Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", ECCV 2022, arXiv 2207.09519;
main.py and utils.py at 327763e. Differences: The authors search alpha and beta on the validation images; this harness
uses fixed values. The features of the views are normalized before they are averaged, as in the paper; the code does not
normalize them. CLIP's logits are scaled by the factor of the checkpoint; the code writes 100. The crops of the views
are the harness's, which may be smaller than the authors'.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.clip.text import unit
from benchmark.errors import ConfigError
from benchmark.prompts import TemplateMethod, TemplateOptions, cosine_logits


@dataclass(frozen=True, kw_only=True)
class TipAdapterOptions(TemplateOptions):
    """Options of Tip-Adapter, in addition to the templates.

    Attributes:
        alpha: weight of the votes of the cache, added to CLIP's logits.
        beta: how fast a vote decreases with the distance to the cached image.
        views: number of random views of a training image; its key is their mean.
    """

    alpha: float
    beta: float
    views: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha < 0 or self.beta < 0:
            raise ConfigError(f"alpha is {self.alpha} and beta {self.beta}; both must be 0 or more.")
        if self.views < 1:
            raise ConfigError(f"views is {self.views}; at least 1 view of each training image is needed.")


class TipAdapter(TemplateMethod):
    """CLIP's logits plus the votes; the buffers are `keys` (N, D) and `values` (N, C), one true entry in each row.

    Before `take_sample` the cache is empty, and the logits are CLIP's.
    """

    Options = TipAdapterOptions
    transfers = False

    def __init__(self, clip: Clip, options: TipAdapterOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options, class_names, template)
        self.sample_views = options.views
        keys = torch.empty(0, clip.joint_width, dtype=clip.learnable_dtype, device=clip.device)
        values = torch.empty(0, len(class_names), dtype=torch.bool, device=clip.device)
        self.register_buffer("keys", keys)
        self.register_buffer("values", values)

    def take_sample(self, views: Sequence[ImageFeatures], labels: Tensor) -> None:
        """Fill the cache: the key of an image is the mean of its views, its value the class."""
        mean = torch.stack([view.pooled for view in views]).mean(dim=0)
        self.keys = unit(mean.to(self.keys.dtype))
        self.values = self.rows[labels][:, None] == torch.arange(len(self.trained), device=labels.device)

    def votes(self, pooled: Tensor) -> Tensor:
        """Return votes (B, C): each key adds exp(-beta (1 - cosine)) to its class; float32 under autocast too."""
        with torch.autocast(pooled.device.type, enabled=False):
            similarity = pooled.to(self.keys.dtype) @ self.keys.T  # (B, N)
            strength = torch.exp(-self.options.beta * (1 - similarity))
            return (strength @ self.values.to(strength.dtype))[:, self.rows]

    def forward(self, images: ImageFeatures) -> Tensor:
        """Return logits (B, C)."""
        logits = cosine_logits(self.clip, images.pooled, self.text[None])
        return logits + self.options.alpha * self.votes(images.pooled)
