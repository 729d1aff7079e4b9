"""Implement MMRL: representation tokens, learned in a space of their own, join the upper layers of both towers.

Guo and Gu, "MMRL: Multi-Modal Representation Learning for Vision-Language Models", CVPR 2025; trainers/mmrl.py,
trainers/config.py and clip/model_mmrl.py at 27d8821.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.clip.layer import Edits, insert_rows, replace_rows
from benchmark.clip.text import unit
from benchmark.common.constants import CONTEXT_STD
from benchmark.errors import ConfigError
from benchmark.method import Losses, fill_template
from benchmark.prompts import cosine_logits
from benchmark.towers import TowerMethod, check_layers


@dataclass(frozen=True, kw_only=True)
class MMRLOptions:
    """Options of MMRL.

    Attributes:
        n_tokens: n, the number of representation tokens.
        dim: width of their space.
        first, last: the layers that they enter, counted from 1 as in the authors' code.
        alpha: weight of the class token's logits and loss; those of the representation tokens get the rest.
        regularisation: weight of the distances of image and text features to the frozen ones.
        logit_factor: factor of the cosines, in place of CLIP's.
    """

    n_tokens: int
    dim: int
    first: int
    last: int
    alpha: float
    regularisation: float
    logit_factor: float

    def __post_init__(self) -> None:
        if self.first > self.last or min(self.n_tokens, self.dim) < 1:
            raise ConfigError(
                f"first is {self.first}, last {self.last}, n_tokens {self.n_tokens}, dim {self.dim}; first must not be "
                "above last, the others must be at least 1."
            )
        if not 0 <= self.alpha <= 1 or self.regularisation < 0 or self.logit_factor <= 0:
            raise ConfigError("alpha must be in 0..1, regularisation 0 or more, logit_factor above 0.")


class MMRL(TowerMethod):
    """Two losses and two regularizers; the prompts are hand-written.

    The learned tensors are `compound_rep_tokens` (n, dim), their maps to the layers of the image and of the text tower,
    `compound_rep_tokens_r2vproj.{j}` and `compound_rep_tokens_r2tproj.{j}`, and the projection `proj_rep` (V, D) of the
    representation tokens of an image.
    """

    Options = MMRLOptions
    needs_pooled = True

    def __init__(self, clip: Clip, options: MMRLOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        layers = {"first": options.first, "last": options.last}
        check_layers(clip, text=layers, image=layers)
        self.needs_patches = options.first - 1
        like, count = {"dtype": clip.learnable_dtype}, 1 + options.last - options.first
        self.compound_rep_tokens = nn.Parameter(torch.randn(options.n_tokens, options.dim, **like) * CONTEXT_STD)
        to_image, to_text = (nn.Linear(options.dim, width, **like) for width in (clip.vision_width, clip.token_width))
        self.compound_rep_tokens_r2vproj = nn.ModuleList([deepcopy(to_image) for _ in range(count)])
        self.compound_rep_tokens_r2tproj = nn.ModuleList([deepcopy(to_text) for _ in range(count)])
        self.proj_rep = nn.Parameter(torch.randn(clip.vision_width, clip.joint_width, **like) / clip.vision_width**0.5)
        self.to(clip.device)
        self.trained_names: list[str] = []
        self.set_classes(class_names, template)

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """As PromptMethod.set_classes; also encodes the frozen prompts. The first classes are those trained on."""
        frozen = self.clip.encode_texts(fill_template(class_names, template))
        super().set_classes(class_names, template)
        self._frozen, self.trained_names = frozen, self.trained_names or sorted(self.class_names)

    def text_edits(self) -> Edits:
        """Put the tokens in behind the start token."""
        return self._tokens(self.compound_rep_tokens_r2tproj)

    def image_edits(self) -> Edits:
        """Put the tokens in behind the class token."""
        return self._tokens(self.compound_rep_tokens_r2vproj)

    def _tokens(self, maps: nn.ModuleList) -> Edits:
        """Insert the mapped tokens before the first of the layers, and replace them before the others."""
        rows = [to_tower(self.compound_rep_tokens) for to_tower in maps]
        first = self.options.first - 1
        deeper = {first + j: partial(replace_rows, rows=own, first=1) for j, own in enumerate(rows)}
        return Edits(enter=deeper | {first: partial(insert_rows, rows=rows[0], first=1)})

    def both_features(self, images: ImageFeatures) -> tuple[Tensor, Tensor]:
        """Return the features of the class token and of the representation tokens, (B, D) each, of unit length."""
        vision = self.clip.vision
        rows = vision.final_norm(self.image_rows(images, read=1 + self.options.n_tokens))  # (B, 1 + n, V)
        own = rows[:, 1:].mean(dim=1).to(self.proj_rep.dtype) @ self.proj_rep
        return unit(vision.projection(rows[:, 0])), unit(own)

    def forward(self, images: ImageFeatures) -> Tensor:
        """Return logits (B, C): of both features for the classes trained on, else of the class token's alone."""
        text, factor, (image, own) = self.text_features(images), self.options.logit_factor, self.both_features(images)
        logits = cosine_logits(self.clip, image, text, factor)
        if sorted(self.class_names) != self.trained_names or not self.at_home:
            return logits
        return self.options.alpha * logits + (1 - self.options.alpha) * cosine_logits(self.clip, own, text, factor)

    def loss(self, images: ImageFeatures, labels: Tensor) -> Losses:
        """Return the terms `class`, `representation`, `image` and `text`, each already weighted."""
        options, text, (image, own) = self.options, self.text_features(images), self.both_features(images)
        logits, own_logits = (cosine_logits(self.clip, f, text, options.logit_factor) for f in (image, own))
        return Losses(
            {
                "class": options.alpha * F.cross_entropy(logits, labels),
                "representation": (1 - options.alpha) * F.cross_entropy(own_logits, labels),
                "image": options.regularisation * (1 - F.cosine_similarity(image, images.pooled).mean()),
                "text": options.regularisation * (1 - F.cosine_similarity(text[0], self._frozen).mean()),
            }
        )
