"""CoPL: context prompts that each image weights by what its patches show.

Goswami et al., "CoPL: Contextual Prompt Learning for Vision-Language Understanding", AAAI 2024, arXiv 2307.00910.
There is no public code; docs/copl.md says what the paper states, what it leaves open and what was chosen here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.prompts import MetaNet, PromptMethod, check_context_keys


@dataclass(frozen=True, kw_only=True)
class CoPLOptions:
    """Options of CoPL; the defaults are in methods/copl.yaml, their reasons in docs/copl.md.

    Attributes:
        n_ctx, ctx_init: as CoCoOp's.
        patches: patch features in the joint space, or at the vision width.
        score: how a patch's conditional vector is compared with a context vector.
        aggregate: how the context vectors of all patches become one.
        update: one shift for all context vectors, or each its own from the patches aligned with it.
        weighting: false switches the alignment weights off.
        local: false feeds the global image embedding as the only patch.
    """

    n_ctx: int
    ctx_init: str | None
    patches: Literal["projected", "raw"]
    score: Literal["dot", "general", "concat"]
    aggregate: Literal["mean", "sum"]
    update: Literal["shared", "per_prompt"]
    weighting: bool
    local: bool

    def __post_init__(self) -> None:
        check_context_keys(self.n_ctx, self.ctx_init)


class CoPL(PromptMethod):
    """The learned tensors are `ctx`, those of `meta_net`, and those of `score` where it has any."""

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
        """One conditional vector s_p per patch: (B, P, T); P is 1 without local features."""
        local = images.patches if self.options.local else images.pooled[:, None]
        return self.meta_net(local)

    def _align(self, conditional: Tensor) -> Tensor:
        """Weights over the M context vectors for each patch: (B, P, T) to (B, P, M)."""
        if self.score is None:
            return conditional.new_full((*conditional.shape[:2], self.options.n_ctx), 1 / self.options.n_ctx)
        width = conditional.shape[-1]
        scores = self.score(F.layer_norm(conditional, (width,)), F.layer_norm(self.ctx, (width,)))
        return (scores.to(self.ctx.dtype) / math.sqrt(width)).softmax(dim=-1)  # whatever autocast made of the scores

    def alignment(self, images: ImageFeatures) -> Tensor:
        """How much each patch weights each context vector: (B, P, M), summing to one over M."""
        return self._align(self._conditional(images))

    def context(self, images: ImageFeatures) -> Tensor:
        """(B, M, T): the learned context moved by what the patches show."""
        conditional = self._conditional(images)
        aggregate = torch.sum if self.options.aggregate == "sum" else torch.mean
        if self.score is None:
            return self.ctx + aggregate(conditional, dim=1)[:, None]
        weights = self._align(conditional)
        if self.options.update == "per_prompt":
            pairs = torch.einsum("bpm,bpt->bmt", weights, conditional)  # summed over the patches
            patches = conditional.shape[1] if self.options.aggregate == "mean" else 1
            return self.ctx + self.options.n_ctx / patches * pairs
        # Equal weights would add the mean context vector to every one: a constant that `ctx` absorbs, left out so
        # that the start is the words' own embeddings.
        summary = conditional + (weights - 1 / self.options.n_ctx) @ self.ctx  # (B, P, T)
        return self.ctx + aggregate(summary, dim=1)[:, None]


class _Dot(nn.Module):
    """s . v; nothing to learn."""

    def __init__(self, clip: Clip):
        super().__init__()

    def forward(self, conditional: Tensor, context: Tensor) -> Tensor:
        """(B, P, T) and (M, T) to (B, P, M)."""
        return conditional @ context.T


class _General(nn.Module):
    """s . W v."""

    def __init__(self, clip: Clip):
        super().__init__()
        width = clip.token_width
        self.bilinear = nn.Linear(width, width, bias=False, dtype=clip.learnable_dtype).to(clip.device)

    def forward(self, conditional: Tensor, context: Tensor) -> Tensor:
        """(B, P, T) and (M, T) to (B, P, M)."""
        return conditional @ self.bilinear(context).T


class _Concat(nn.Module):
    """u . tanh(W [s; v]). Neither starts at zero: tanh is near linear there, and v alone would shift all m alike."""

    def __init__(self, clip: Clip):
        super().__init__()
        width, hidden, dtype = clip.token_width, max(1, clip.joint_width // 16), clip.learnable_dtype
        self.hidden = nn.Linear(2 * width, hidden, bias=False, dtype=dtype).to(clip.device)
        self.reduce = nn.Linear(hidden, 1, bias=False, dtype=dtype).to(clip.device)

    def forward(self, conditional: Tensor, context: Tensor) -> Tensor:
        """(B, P, T) and (M, T) to (B, P, M)."""
        of_patch, of_context = self.hidden.weight.split(conditional.shape[-1], dim=1)
        joined = F.linear(conditional, of_patch)[..., None, :] + F.linear(context, of_context)  # (B, P, M, D // 16)
        return self.reduce(torch.tanh(joined))[..., 0]


_SCORES: dict[str, type[nn.Module]] = {"dot": _Dot, "general": _General, "concat": _Concat}
