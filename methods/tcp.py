"""Implement TCP: prompts computed from the frozen text feature of each class enter a deep text layer.

Yao et al., "TCP: Textual-based Class-aware Prompt tuning for Visual-Language Model", CVPR 2024, arXiv 2311.18231;
trainers/tcp.py and trainers/clip_text/model.py at bd97bec.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.clip.layer import QUICK, Edits, replace_rows
from benchmark.errors import ConfigError
from benchmark.method import Losses, fill_template
from benchmark.prompts import cosine_logits, knowledge_losses
from benchmark.towers import TowerMethod, check_layers

WORDS = ("a photo of ", "a ")  # of a template, whose place the context takes


@dataclass(frozen=True, kw_only=True)
class TCPOptions:
    """Options of TCP.

    Attributes:
        n_ctx: M, the number of context vectors, and of the class vectors that replace them.
        ctx_init: words of which the first M start the context; None starts from N(0, 0.02).
        layer: the text layer, counted from 0, that the class vectors enter.
        knowledge_weight: weight of the mean `1 - cos` between learned and hand-written text features.
        prompt_template: what follows the context, with {} for the name; None takes the dataset's template without a
            leading "a photo of" or "a photo of a".
        frozen_template: of the hand-written prompts; None takes the dataset's.
    """

    n_ctx: int
    ctx_init: str | None
    layer: int
    knowledge_weight: float
    prompt_template: str | None
    frozen_template: str | None

    def __post_init__(self) -> None:
        if min(self.n_ctx, self.layer) < 1 or self.knowledge_weight < 0:
            raise ConfigError(
                f"n_ctx is {self.n_ctx}, layer {self.layer}, knowledge_weight {self.knowledge_weight}; the first two "
                "must be at least 1, since layer 0 reads the context, the third 0 or more."
            )


class TCP(TowerMethod):
    """Cross-entropy plus the distance to frozen features; the learned tensors are `ctx` and those of `meta_net`."""

    Options = TCPOptions
    needs_patches = None

    def __init__(self, clip: Clip, options: TCPOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        check_layers(clip, text={"layer": options.layer}, image={}, start=0)
        self.apart_from = options.layer
        self.start_context(options.n_ctx, options.ctx_init)
        self.meta_net = ClassNet(clip, options.n_ctx)
        self.set_classes(class_names, template)

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """As PromptMethod.set_classes; also encodes the hand-written prompts."""
        frozen = self.clip.encode_texts(fill_template(class_names, self.options.frozen_template or template))  # (C, D)
        super().set_classes(class_names, template)
        self._frozen = frozen

    def prompts(self, prefix: str, names: Sequence[str], template: str) -> list[str]:
        """Return the text of each class: the context, then `prompt_template`."""
        behind = self.options.prompt_template or _after_words(template)
        return [f"{prefix} {text}" for text in fill_template(names, behind)]

    def text_edits(self) -> Edits:
        """Replace the context by the vectors of each class."""
        rows = self.meta_net(self._frozen)
        return Edits(enter={self.options.layer: partial(replace_rows, rows=rows, first=1)})

    def image_features(self, images: ImageFeatures) -> Tensor:
        """Return the frozen image embeddings (B, D)."""
        return images.pooled

    def loss(self, images: ImageFeatures, labels: Tensor) -> Losses:
        """Return the terms `cross_entropy` and `knowledge`, the latter already weighted."""
        text = self.text_features(images)  # (1, C, D)
        logits = cosine_logits(self.clip, images.pooled, text)
        return knowledge_losses(logits, labels, text[0], self._frozen, self.options.knowledge_weight)


class ClassNet(nn.Module):
    """Linear(D, D // 4), QuickGELU, Linear(D // 4, M T), with torch's default start: (C, D) to (C, M, T)."""

    def __init__(self, clip: Clip, n_ctx: int):
        super().__init__()
        hidden, like = max(1, clip.joint_width // 4), {"dtype": clip.learnable_dtype, "device": "cpu"}
        self.linear1 = nn.Linear(clip.joint_width, hidden, **like)
        self.linear2 = nn.Linear(hidden, n_ctx * clip.token_width, **like)
        self.n_ctx = n_ctx
        self.to(clip.device)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.linear1(features.to(self.linear1.weight.dtype))
        return self.linear2(hidden * torch.sigmoid(QUICK * hidden)).unflatten(-1, (self.n_ctx, -1))


def _after_words(template: str) -> str:
    """The template without a leading "a photo of" or "a photo of a"."""
    rest = template.removeprefix(WORDS[0])
    return template if rest == template else rest.removeprefix(WORDS[1])
