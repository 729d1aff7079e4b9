"""Encode images with CLIP's image tower, layer by layer, computing only what is read of the last layer."""

import torch
from torch import Tensor, nn

from benchmark.clip.layer import NO_EDITS, Edits, Layer

CPU_ROWS = 600  # rows per pass on a CPU: enough to fill a core, few enough for its caches


class VisionEncoder:
    """CLIP's frozen image tower. It holds no parameters of its own and never makes a gradient of a weight.

    Rows of an image are its class token and its P patches, (B, 1 + P, V). Those that enter layer 0 are taken before the
    tower's first norm, so that a method can put its prompts in there.
    """

    def __init__(self, vision_model: nn.Module, projection: nn.Module):
        self.embed, self.first_norm = vision_model.embeddings, vision_model.pre_layrnorm
        self.layers = [Layer(layer) for layer in vision_model.encoder.layers]
        self.final_norm, self.projection = vision_model.post_layernorm, projection

    def enter(self, pixels: Tensor, layer: int) -> Tensor:
        """Rows (B, 1 + P, V) that enter a layer, of images (B, 3, H, W)."""
        x = self.embed(pixels)
        for i in range(layer):
            x = self.layers[i](self.first_norm(x) if i == 0 else x, None, causal=False)
        return x

    def leave(self, x: Tensor, first: int = 0, *, edits: Edits = NO_EDITS, read: int | None = None) -> Tensor:
        """Rows after the last layer.

        Args:
            x: (B, R, V), the rows that enter layer `first`.
            edits: what a method does in the layers from there on.
            read: the number of first rows that are read; None: all.
        Returns:
            (B, `read`, V); without `read`, all rows, those that edits put in included.
        Raises:
            ConfigError, ShapeError: the edits do not fit the tower.
        """
        edits.check(range(first, len(self.layers)))
        for i in range(first, len(self.layers)):
            x = edits.entering(i, x)
            if i == 0:
                x = self.first_norm(x)
            rows = None
            if read is not None and i + 1 == len(self.layers):
                rows = torch.arange(read, device=x.device).expand(len(x), -1)
            x = self.layers[i](x, None, rows, causal=False, edits=edits.of(i))
        return x

    def encode(self, pixels: Tensor, *, class_only: bool = False) -> Tensor:
        """Rows after the last layer: (B, 3, H, W) to (B, 1 + P, V), the class token first, or (B, 1, V) of it alone."""
        return self.leave(self.enter(pixels, 0), read=1 if class_only else None)

    def project(self, rows: Tensor) -> Tensor:
        """Rows (..., V) after the last layer to the joint space (..., D)."""
        return self.projection(self.final_norm(rows))
