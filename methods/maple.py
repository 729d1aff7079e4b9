"""Implement MaPLe: deep prompts of the text tower, and linear maps of them in the image tower.

Khattak et al., "MaPLe: Multi-modal Prompt Learning", CVPR 2023, arXiv 2210.03117; trainers/maple.py and clip/model.py
at 69bce21.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

from torch import nn

from benchmark.clip.backbone import Clip
from benchmark.clip.layer import Edits, insert_rows, replace_rows
from benchmark.errors import ConfigError
from benchmark.prompts import random_context
from benchmark.towers import TowerMethod, check_layers


@dataclass(frozen=True, kw_only=True)
class MaPLeOptions:
    """Options of MaPLe.

    Attributes:
        n_ctx: M, the number of prompt vectors of each layer and tower.
        ctx_init: words of which the first M start the text prompts of layer 0; None starts from N(0, 0.02).
        depth: number of layers with prompts of their own, in both towers; 1: layer 0 only.
    """

    n_ctx: int
    ctx_init: str | None
    depth: int

    def __post_init__(self) -> None:
        if self.n_ctx < 1:
            raise ConfigError(f"n_ctx is {self.n_ctx}; give at least 1.")


class MaPLe(TowerMethod):
    """Cross-entropy on prompts of both towers.

    The learned tensors are `ctx` (M, T) and `compound_prompts_text.{i}` (M, T), and the maps from each to the image
    tower, `proj` and `compound_prompt_projections.{i}` (T to V). The prompts i enter layer i + 1.
    """

    Options = MaPLeOptions
    needs_patches = 0

    def __init__(self, clip: Clip, options: MaPLeOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        check_layers(clip, text={"depth": options.depth}, image={"depth": options.depth})
        # the authors' code leaves the words of more than four vectors out
        self.start_context(options.n_ctx, options.ctx_init if options.n_ctx <= 4 else None)
        deeper = range(1, options.depth)
        self.proj = _projection(clip)
        self.compound_prompts_text = nn.ParameterList([random_context(clip, options.n_ctx) for _ in deeper])
        start = _projection(clip)
        self.compound_prompt_projections = nn.ModuleList([deepcopy(start) for _ in deeper])
        self.set_classes(class_names, template)

    def text_edits(self) -> Edits:
        """Replace the context where it enters the deeper layers."""
        prompts = enumerate(self.compound_prompts_text, start=1)
        return Edits(enter={i: partial(replace_rows, rows=rows, first=1) for i, rows in prompts})

    def image_edits(self) -> Edits:
        """Append the mapped context behind the patches, and replace it where it enters the deeper layers."""
        last = 1 + self.clip.patch_count
        enter = {0: partial(insert_rows, rows=self.proj(self.ctx), first=last)}
        deeper = zip(self.compound_prompts_text, self.compound_prompt_projections, strict=True)
        for i, (rows, projection) in enumerate(deeper, start=1):
            enter[i] = partial(replace_rows, rows=projection(rows), first=last)
        return Edits(enter=enter)


def _projection(clip: Clip) -> nn.Linear:
    """A linear map from the width of the text tower to that of the image tower, with torch's default start."""
    return nn.Linear(clip.token_width, clip.vision_width, dtype=clip.learnable_dtype).to(clip.device)
