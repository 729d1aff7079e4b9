"""Zero-shot CLIP: the class name in a hand-written template, nothing learned.

Radford et al., ICML 2021, arXiv 2103.00020; trainers/zsclip.py of CoOp at ff61507.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.clip.text import unit
from benchmark.errors import ConfigError
from benchmark.method import Method, filled
from benchmark.prompts import cosine_logits


@dataclass(frozen=True, kw_only=True)
class ZeroShotOptions:
    """Options of zero-shot CLIP.

    Attributes:
        templates: ensemble these templates instead of using the dataset's one; None uses that.
    """

    templates: tuple[str, ...] | None

    def __post_init__(self) -> None:
        wrong = [template for template in self.templates or () if template.count("{}") != 1]
        if wrong or self.templates == ():
            raise ConfigError(f"templates must be a list of texts with {{}} exactly once; got {wrong or 'none'}.")


class ZeroShot(Method):
    """The cosine of the image with the mean text feature of each class."""

    Options = ZeroShotOptions

    def __init__(self, clip: Clip, options: ZeroShotOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        self.set_classes(class_names, template)

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """As Method.set_classes; encodes the classes at once, since nothing here ever changes."""
        templates = self.options.templates or (template,)
        features = [self.clip.encode_texts(filled(class_names, t)) for t in templates]
        super().set_classes(class_names, template)
        self._text = features[0] if len(features) == 1 else unit(torch.stack(features).mean(dim=0))  # (C, D)

    def forward(self, images: ImageFeatures) -> Tensor:
        """Logits (B, C)."""
        return cosine_logits(self.clip, images.pooled, self._text[None])
