"""Provide the base class of methods that learn inside the towers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.clip.layer import NO_EDITS, Edits, unit
from benchmark.errors import ConfigError
from benchmark.method import fill_template
from benchmark.prompts import PromptMethod, cosine_logits


class TowerMethod(PromptMethod):
    """Base class of methods that learn inside the towers.

    A subclass sets `needs_patches` to the first image layer that it edits (its images bring the rows that enter it) and
    returns from `text_edits` and `image_edits` what it does in the layers. One without context vectors leaves out
    `start_context`: its prompts are then the template with each name.

    Attributes:
        apart_from: the text layer from which each class has rows of its own; see TextEncoder.encode.
    """

    stands_in_front = False  # each copy edits the layers with its own values, so seeds do not share a pass
    apart_from: int | None = None
    prefix = ""

    def __init__(self, clip: Clip, options: Any):
        super().__init__(clip, options)
        self.ctx: Tensor = torch.empty(0, clip.token_width, dtype=clip.learnable_dtype, device=clip.device)

    @classmethod
    def settle(cls, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """As Method.settle: fewer context vectors than words are no contradiction."""
        return {**defaults, **given}

    def start_context(self, n_ctx: int, ctx_init: str | None, copies: tuple[int, ...] = ()) -> None:
        """Create `ctx` (M, T) from the first M words; the others stay fixed tokens of the prompts.

        Raises:
            ConfigError: there are fewer words than vectors.
        """
        if ctx_init is not None and len(ctx_init.replace("_", " ").split()) < n_ctx:
            raise ConfigError(f"ctx_init '{ctx_init}' has fewer words than n_ctx, {n_ctx}. Give more words, or null.")
        del self.ctx  # a parameter cannot take the place of a plain tensor
        super().start_context(n_ctx, ctx_init)
        self.ctx = nn.Parameter(self.ctx.detach()[:n_ctx].clone())

    def prompts(self, prefix: str, names: Sequence[str], template: str) -> list[str]:
        """As PromptMethod.prompts; without context vectors, the template with each name."""
        return super().prompts(prefix, names, template) if prefix else fill_template(names, template)

    def text_edits(self) -> Edits:
        """Return what the method does in the text tower, from the current values of the parameters."""
        return NO_EDITS

    def image_edits(self) -> Edits:
        """Return what the method does in the image tower, from layer `needs_patches` on."""
        return NO_EDITS

    @torch.no_grad()
    def try_edits(self) -> None:
        """Apply the edits to rows of zeros, layer by layer, before anything is encoded or trained.

        Raises:
            ConfigError, ShapeError: an edit is of a layer that is not there, or returns rows of another shape.
        """
        clip, image_start = self.clip, self.needs_patches if isinstance(self.needs_patches, int) else 0
        text = (len(self.class_names), 2 + self.ctx.shape[-2], clip.token_width)
        image = (2, 1 + clip.patch_count, clip.vision_width)
        for edits, layers, shape in (
            (self.text_edits(), range(clip.text_layers), text),
            (self.image_edits(), range(image_start, clip.vision_layers), image),
        ):
            edits.check(layers)
            x = torch.zeros(shape, dtype=clip.dtype, device=clip.device)
            for i in layers:
                x = edits.entering(i, x)
                if own := edits.of(i):
                    own.additions(x, x)

    def encode_classes(self, context: Tensor) -> Tensor:
        """As PromptMethod.encode_classes, with the edits."""
        encode = self.clip.text.encode
        return encode(self.text_plan, context, edits=self.text_edits(), apart_from=self.apart_from)

    def image_rows(self, images: ImageFeatures, read: int = 1) -> Tensor:
        """Return the first `read` rows after the last layer of the edited image tower, (B, `read`, V)."""
        rows = images.patches.to(self.clip.dtype)
        return self.clip.vision.leave(rows, self.needs_patches, edits=self.image_edits(), read=read)

    def image_features(self, images: ImageFeatures) -> Tensor:
        """Return the image embeddings (B, D) of the edited image tower, of unit length."""
        return unit(self.clip.vision.project(self.image_rows(images))[:, 0])

    def forward(self, images: ImageFeatures) -> Tensor:
        """Return logits (B, C)."""
        return cosine_logits(self.clip, self.image_features(images), self.text_features(images))


def check_layers(clip: Clip, *, text: Mapping[str, int], image: Mapping[str, int], start: int = 1) -> None:
    """Check options that name or count layers of the towers, from `start` on.

    Raises:
        ConfigError: a tower has no such layer; the message names the option and the tower.
    """
    for tower, layers, given in (("text", clip.text_layers, text), ("image", clip.vision_layers, image)):
        for name, value in given.items():
            if value not in range(start, start + layers):
                last = start + layers - 1
                raise ConfigError(
                    f"{name} is {value}, but the layers of the {tower} tower of {clip.name}, counted from {start}, end "
                    f"at {last}. Give {start} to {last}."
                )
