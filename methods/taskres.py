"""Implement TaskRes: a learned residual on the text feature of each class.

Yu et al., "Task Residual for Tuning Vision-Language Models", CVPR 2023, arXiv 2211.10277; trainers/taskres.py at
293cc9e. This is the regular base, the text features of zero-shot CLIP. The enhanced base of the authors, a text
projection trained beforehand, is not part of this method.
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
class TaskResOptions(TemplateOptions):
    """Options of TaskRes, in addition to the templates.

    Attributes:
        alpha: factor of the residuals.
    """

    alpha: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha <= 0:
            raise ConfigError(f"alpha is {self.alpha}; it multiplies the learned residuals, so it must be above 0.")


class TaskRes(TemplateMethod):
    """Cross-entropy on unit(t + alpha x), with t not normalized; x (C, D) is learned and starts at zero."""

    Options = TaskResOptions
    transfers = False
    unit_length = False

    def __init__(self, clip: Clip, options: TaskResOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options, class_names, template)
        zeros = torch.zeros(len(class_names), clip.joint_width, dtype=clip.learnable_dtype, device=clip.device)
        self.text_feature_residuals = nn.Parameter(zeros)

    def forward(self, images: ImageFeatures) -> Tensor:
        """Return logits (B, C)."""
        text = unit(self.text + self.options.alpha * self.text_feature_residuals[self.rows])  # (C, D)
        return cosine_logits(self.clip, images.pooled, text[None])
