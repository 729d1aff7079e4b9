"""Implement CoPL: the patches of an image shift and weight the context vectors.

Goswami et al., "CoPL: Contextual Prompt Learning for Vision-Language Understanding", AAAI 2024, arXiv 2307.00910.
The authors published no code; docs/copl.md lists what the paper states, what it leaves open and what was chosen here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.errors import ConfigError
from benchmark.prompts import MetaNet, PromptMethod, check_context_keys


@dataclass(frozen=True, kw_only=True)
class CoPLOptions:
    """Options of CoPL; defaults are in methods/copl.yaml, their reasons in docs/copl.md.

    Attributes:
        n_ctx, ctx_init: as in CoCoOp.
        patches: patch features in the joint space (projected) or of the vision tower (raw).
        score: function that compares the conditional vector of a patch with a context vector.
        center: whether the score sees the conditional vectors less their mean over the patches of an image.
        context: what a patch combines by its weights: the context vectors (prompts), or their sums with its conditional
            vector (dynamic).
        aggregate: reduction of the combinations of all patches to one.
        update: one shift for all context vectors (shared), or one each from the patches aligned with it (per_prompt).
        weighting: false turns the alignment weights off; a patch then contributes its conditional vector.
        local: false uses the global image embedding as the only patch.
    """

    n_ctx: int
    ctx_init: str | None
    patches: Literal["projected", "raw"]
    score: Literal["dot", "general", "concat"]
    center: bool
    context: Literal["prompts", "dynamic"]
    aggregate: Literal["mean", "sum"]
    update: Literal["shared", "per_prompt"]
    weighting: bool
    local: bool

    def __post_init__(self) -> None:
        check_context_keys(self.n_ctx, self.ctx_init)
        if self.center and not self.local:
            raise ConfigError("center: true compares patches, and local: false leaves one. Give one of the two.")


class CoPL(PromptMethod):
    """The learned tensors are `ctx`, those of `meta_net`, and those of `score` if it has any."""

    Options = CoPLOptions
    conditional = True

    def __init__(self, clip: Clip, options: CoPLOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        self.needs_patches = options.patches if options.local else None
        self.start_context(options.n_ctx, options.ctx_init)
        raw = self.needs_patches == "raw"
        self.meta_net = MetaNet(clip, clip.vision_width if raw else clip.joint_width)
        self.score = _SCORES[options.score](clip) if options.weighting else None
        self.set_classes(class_names, template)

    def _conditional(self, images: ImageFeatures) -> Tensor:
        """Return one conditional vector s_p for each patch, (B, P, T); P is 1 without local features."""
        local = images.patches if self.options.local else images.pooled[:, None]
        return self.meta_net(local)

    def _align(self, conditional: Tensor) -> Tensor:
        """Return weights over the M context vectors for each patch: (B, P, T) to (B, P, M)."""
        if self.score is None:
            return conditional.new_full((*conditional.shape[:2], self.options.n_ctx), 1 / self.options.n_ctx)
        width = conditional.shape[-1]
        if self.options.center:  # most of a conditional vector is h's output bias: a part that all patches share
            conditional = conditional - conditional.mean(dim=1, keepdim=True)
        scores = self.score(F.layer_norm(conditional, (width,)), F.layer_norm(self.ctx, (width,)))
        return (scores.to(self.ctx.dtype) / math.sqrt(width)).softmax(dim=-1)  # not in the dtype of autocast

    def alignment(self, images: ImageFeatures) -> Tensor:
        """Return the weight of each context vector for each patch, (B, P, M); it sums to one over M."""
        return self._align(self._conditional(images))

    def context(self, images: ImageFeatures) -> Tensor:
        """Return (B, M, T): the learned context plus the shift computed from the patches."""
        conditional = self._conditional(images)
        aggregate = torch.sum if self.options.aggregate == "sum" else torch.mean
        if self.score is None:
            return self.ctx + aggregate(conditional, dim=1)[:, None]
        weights, dynamic = self._align(conditional), self.options.context == "dynamic"
        # Without - 1 / M, equal weights would add the mean context vector to all: a constant that `ctx` can absorb.
        # With it, training starts at the embeddings of the words.
        surplus = weights - 1 / self.options.n_ctx
        if self.options.update == "per_prompt":
            patches = conditional.shape[1] if self.options.aggregate == "mean" else 1
            pairs = torch.einsum("bpm,bpt->bmt", weights, conditional) if dynamic else _scaled(surplus, self.ctx)
            return self.ctx + self.options.n_ctx / patches * pairs
        summary = surplus @ self.ctx  # (B, P, T)
        return self.ctx + aggregate(summary + conditional if dynamic else summary, dim=1)[:, None]


def _scaled(surplus: Tensor, context: Tensor) -> Tensor:
    """Multiply each context vector by its weight above the equal one, summed over patches: (B, P, M) to (B, M, T)."""
    return surplus.sum(dim=1)[..., None] * context


class _Dot(nn.Module):
    """Compute s . v; it has no parameters."""

    def __init__(self, clip: Clip):
        super().__init__()

    def forward(self, conditional: Tensor, context: Tensor) -> Tensor:
        """Map (B, P, T) and (M, T) to (B, P, M)."""
        return conditional @ context.T


class _General(nn.Module):
    """Compute s . W v."""

    def __init__(self, clip: Clip):
        super().__init__()
        width = clip.token_width
        self.bilinear = nn.Linear(width, width, bias=False, dtype=clip.learnable_dtype).to(clip.device)

    def forward(self, conditional: Tensor, context: Tensor) -> Tensor:
        """Map (B, P, T) and (M, T) to (B, P, M)."""
        return conditional @ self.bilinear(context).T


class _Concat(nn.Module):
    """Compute u . tanh(W [s; v]).

    Neither starts at zero: tanh is nearly linear there, and v alone would shift all scores of a prompt alike.
    """

    def __init__(self, clip: Clip):
        super().__init__()
        width, hidden, dtype = clip.token_width, max(1, clip.joint_width // 16), clip.learnable_dtype
        self.hidden = nn.Linear(2 * width, hidden, bias=False, dtype=dtype).to(clip.device)
        self.reduce = nn.Linear(hidden, 1, bias=False, dtype=dtype).to(clip.device)

    def forward(self, conditional: Tensor, context: Tensor) -> Tensor:
        """Map (B, P, T) and (M, T) to (B, P, M)."""
        of_patch, of_context = self.hidden.weight.split(conditional.shape[-1], dim=1)
        joined = F.linear(conditional, of_patch)[..., None, :] + F.linear(context, of_context)  # (B, P, M, D // 16)
        return self.reduce(torch.tanh(joined))[..., 0]


_SCORES: dict[str, type[nn.Module]] = {"dot": _Dot, "general": _General, "concat": _Concat}
