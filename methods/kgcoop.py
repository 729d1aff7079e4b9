"""Implement KgCoOp: CoOp with a penalty on the distance to hand-written prompts.

Yao et al., "Visual-Language Prompt Tuning with Knowledge-guided Context Optimization", CVPR 2023, arXiv 2303.13283;
trainers/kgcoop.py at c43ccc3. The paper uses the squared distance of the features, which for unit vectors
is twice the `1 - cos` of the code: a weight of 8 here, as in the scripts of the authors, is 4 in the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.errors import ConfigError
from benchmark.method import Losses, fill_template
from benchmark.prompts import PromptMethod, check_context_keys, cosine_logits, knowledge_losses


@dataclass(frozen=True, kw_only=True)
class KgCoOpOptions:
    """Options of KgCoOp.

    Attributes:
        n_ctx: M, the number of learned context vectors.
        ctx_init: words to start from; None starts from N(0, 0.02).
        knowledge_weight: weight of the mean `1 - cos` between learned and hand-written text features.
    """

    n_ctx: int
    ctx_init: str | None
    knowledge_weight: float

    def __post_init__(self) -> None:
        check_context_keys(self.n_ctx, self.ctx_init)
        if self.knowledge_weight < 0:
            raise ConfigError(f"knowledge_weight is {self.knowledge_weight}; it must be 0 or more.")


class KgCoOp(PromptMethod):
    """Cross-entropy plus the distance to the frozen features of the template; the learned tensor is `ctx`."""

    Options = KgCoOpOptions

    def __init__(self, clip: Clip, options: KgCoOpOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        self.start_context(options.n_ctx, options.ctx_init)
        self.set_classes(class_names, template)

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """As PromptMethod.set_classes; also encodes the hand-written prompts."""
        hand_written = self.clip.encode_texts(fill_template(class_names, template))  # (C, D)
        super().set_classes(class_names, template)
        self._hand_written = hand_written

    def loss(self, images: ImageFeatures, labels: Tensor) -> Losses:
        """Return the terms `cross_entropy` and `knowledge`, the latter already weighted."""
        text = self.text_features(images)  # (1, C, D)
        logits = cosine_logits(self.clip, images.pooled, text)
        return knowledge_losses(logits, labels, text[0], self._hand_written, self.options.knowledge_weight)
