"""Implement PromptSRC: independent deep prompts of both towers, held near the frozen features.

Khattak et al., "Self-regulating Prompts: Foundational Model Adaptation without Forgetting", ICCV 2023, arXiv
2307.06948; trainers/promptsrc.py and clip/model.py at bb95c77. Without the weights and the average it is their IVLP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.clip.layer import Edits, insert_rows, replace_rows
from benchmark.clip.text import unit
from benchmark.common.constants import CONTEXT_STD, PROMPTSRC_TEMPLATES
from benchmark.errors import ConfigError
from benchmark.method import Losses, fill_template
from benchmark.prompts import cosine_logits, random_context
from benchmark.towers import TowerMethod, check_layers


@dataclass(frozen=True, kw_only=True)
class PromptSRCOptions:
    """Options of PromptSRC.

    Attributes:
        n_ctx, n_ctx_vision: M and N, the number of prompt vectors of each layer of the text and of the image tower.
        ctx_init: words of which the first M start the text prompts of layer 0; None starts from N(0, 0.02).
        depth, depth_vision: number of layers with prompts of their own in each tower; 1: layer 0 only.
        text_weight, image_weight: of the mean absolute difference of text and image features to the frozen ones.
        logits_weight: of the divergence of the predictions from those of the frozen features.
        gpa_mean, gpa_std: in epochs, of the Gaussian weights of the average that is scored; null: the last epoch is.
    """

    n_ctx: int
    n_ctx_vision: int
    ctx_init: str | None
    depth: int
    depth_vision: int
    text_weight: float
    image_weight: float
    logits_weight: float
    gpa_mean: float | None
    gpa_std: float

    def __post_init__(self) -> None:
        if min(self.n_ctx, self.n_ctx_vision) < 1:
            raise ConfigError(f"n_ctx is {self.n_ctx}, n_ctx_vision {self.n_ctx_vision}; give at least 1 each.")
        if min(self.text_weight, self.image_weight, self.logits_weight) < 0 or self.gpa_std <= 0:
            raise ConfigError("text_weight, image_weight and logits_weight must be 0 or more, gpa_std above 0.")


class PromptSRC(TowerMethod):
    """Cross-entropy and three distances to frozen CLIP; a Gaussian-weighted average over the epochs is scored.

    The learned tensors are `ctx` and `text_prompts.{i}` (M, T), which enter text layers 0 and i, and
    `vision_prompts.{i}` (N, V), which enter image layer i.
    """

    Options = PromptSRCOptions
    needs_patches, needs_pooled = 0, True

    def __init__(self, clip: Clip, options: PromptSRCOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        check_layers(clip, text={"depth": options.depth}, image={"depth_vision": options.depth_vision})
        self.start_context(options.n_ctx, options.ctx_init if options.n_ctx <= 4 else None)
        deeper = {str(i): random_context(clip, options.n_ctx) for i in range(1, options.depth)}
        self.text_prompts = nn.ParameterDict(deeper)
        shape, dtype = (options.n_ctx_vision, clip.vision_width), clip.learnable_dtype
        self.vision_prompts = nn.ParameterDict(
            {str(i): nn.Parameter(torch.randn(shape, dtype=dtype) * CONTEXT_STD) for i in range(options.depth_vision)}
        ).to(clip.device)
        self.register_buffer("average", torch.zeros_like(parameters_to_vector(self.parameters())), persistent=False)
        self.set_classes(class_names, template)

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """As Method.set_classes; forgets the frozen features of other classes."""
        super().set_classes(class_names, template)
        self._frozen: Tensor | None = None

    def frozen(self) -> Tensor:
        """The mean (C, D) of the frozen text features over 60 templates, made when the first loss reads it."""
        if self._frozen is None:
            texts = [fill_template(self.class_names, one) for one in PROMPTSRC_TEMPLATES]
            with torch.autocast(self.clip.device.type, enabled=False):
                features = [self.clip.encode_texts(some, unit_length=False) for some in texts]
            self._frozen = unit(torch.stack(features).mean(dim=0))
        return self._frozen

    def text_edits(self) -> Edits:
        """Replace the context where it enters the deeper layers."""
        return Edits(enter={int(i): partial(replace_rows, rows=p, first=1) for i, p in self.text_prompts.items()})

    def image_edits(self) -> Edits:
        """Append the prompts behind the patches, and replace them where they enter the deeper layers."""
        last = 1 + self.clip.patch_count
        put = {i: replace_rows if i != "0" else insert_rows for i in self.vision_prompts}
        return Edits(enter={int(i): partial(put[i], rows=rows, first=last) for i, rows in self.vision_prompts.items()})

    def loss(self, images: ImageFeatures, labels: Tensor) -> Losses:
        """Return the terms `cross_entropy`, `text`, `image` and `logits`, the last three already weighted."""
        options, text, image, own = self.options, self.text_features(images), self.image_features(images), self.frozen()
        logits = cosine_logits(self.clip, image, text)
        frozen = cosine_logits(self.clip, images.pooled, own[None]).log_softmax(-1)
        divergence = (frozen.exp() * (frozen - logits.log_softmax(-1))).mean()
        return Losses(
            {
                "cross_entropy": F.cross_entropy(logits, labels),
                "text": options.text_weight * F.l1_loss(text[0], own),
                "image": options.image_weight * F.l1_loss(image, images.pooled),
                "logits": options.logits_weight * divergence,
            }
        )

    @torch.no_grad()
    def after_epoch(self, done: int, epochs: int) -> None:
        """Add the prompts to the average; after the last epoch, take it."""
        mean, deviation, own = self.options.gpa_mean, self.options.gpa_std, list(self.parameters())
        if mean is None:
            return
        exponents = [-((epoch - mean) ** 2) / (2 * deviation**2) for epoch in range(1, epochs + 1)]
        weights = torch.tensor(exponents, dtype=torch.float64).softmax(dim=0)  # no sum of weights that underflow to 0
        self.average += weights[done - 1].item() * parameters_to_vector(own)
        if done == epochs:
            for parameter, value in zip(own, self.average.split([p.numel() for p in own]), strict=True):
                parameter.copy_(value.view_as(parameter))
