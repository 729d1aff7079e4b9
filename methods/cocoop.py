"""Implement CoCoOp: a small network shifts the context by the image.

Zhou et al., "Conditional Prompt Learning for Vision-Language Models", CVPR 2022, arXiv 2203.05557;
trainers/cocoop.py of CoOp at ff61507.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.prompts import MetaNet, PromptMethod, check_context_keys


@dataclass(frozen=True, kw_only=True)
class CoCoOpOptions:
    """Options of CoCoOp.

    Attributes:
        n_ctx: M, the number of learned context vectors.
        ctx_init: words to start from; None starts from N(0, 0.02).
    """

    n_ctx: int
    ctx_init: str | None

    def __post_init__(self) -> None:
        check_context_keys(self.n_ctx, self.ctx_init)


class CoCoOp(PromptMethod):
    """C prompts for each image; the learned tensors are `ctx` and those of `meta_net`."""

    Options = CoCoOpOptions
    conditional = True

    def __init__(self, clip: Clip, options: CoCoOpOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        self.start_context(options.n_ctx, options.ctx_init)
        self.meta_net = MetaNet(clip, clip.joint_width)
        self.set_classes(class_names, template)

    def context(self, images: ImageFeatures) -> Tensor:
        """Return (B, M, T): all context vectors plus the shift computed from the normalized image embedding."""
        return self.ctx + self.meta_net(images.pooled)[:, None]
