"""Encode images with CLIP's image tower, layer by layer, computing only what is read of the last layer."""

import torch
from torch import Tensor, nn

from benchmark.clip.layer import Layer


class VisionEncoder:
    """CLIP's frozen image tower. It holds no parameters of its own and never makes a gradient of a weight."""

    def __init__(self, vision_model: nn.Module, projection: nn.Module):
        self.embed, self.first_norm = vision_model.embeddings, vision_model.pre_layrnorm
        self.layers = [Layer(layer) for layer in vision_model.encoder.layers]
        self.final_norm, self.projection = vision_model.post_layernorm, projection

    def encode(self, pixels: Tensor, *, class_only: bool = False) -> Tensor:
        """Rows after the last layer: (B, 3, H, W) to (B, 1 + P, V), the class token first, or (B, 1, V) of it alone."""
        x = self.first_norm(self.embed(pixels))
        for layer in self.layers[:-1]:
            x = layer(x, None, causal=False)
        rows = torch.zeros(len(x), 1, dtype=torch.long, device=x.device) if class_only else None
        return self.layers[-1](x, None, rows, causal=False)

    def project(self, rows: Tensor) -> Tensor:
        """Rows (..., V) after the last layer to the joint space (..., D)."""
        return self.projection(self.final_norm(rows))
