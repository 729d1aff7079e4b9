"""Implement zero-shot CLIP: class names in a hand-written template, nothing learned.

Radford et al., ICML 2021, arXiv 2103.00020; trainers/zsclip.py of CoOp at ff61507.
"""

from torch import Tensor

from benchmark.clip.backbone import ImageFeatures
from benchmark.prompts import TemplateMethod, TemplateOptions, cosine_logits


class ZeroShot(TemplateMethod):
    """Score images by the cosine with the mean text feature of each class."""

    Options = TemplateOptions

    def forward(self, images: ImageFeatures) -> Tensor:
        """Return logits (B, C)."""
        return cosine_logits(self.clip, images.pooled, self.text[None])
