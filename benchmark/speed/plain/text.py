"""Compute text features as the authors do, as the reference for the harness's speed.

Every prompt is a sequence of 77 tokens, the prompts of each image pass through the whole tower separately, and the row
of the end token is selected afterwards. Sources: CoOp trainers/coop.py and trainers/cocoop.py at ff61507, CLIP model.py
at a1d0717. Tests compare it with the same goldens as the fast path.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.clip.backbone import Clip
from benchmark.prompts import PromptMethod

LENGTH = 77  # tokens of every prompt, padding included


class PlainTextTower:
    """CLIP's text tower, with sequences as (77, S, T)."""

    def __init__(self, clip: Clip):
        text = clip.model.text_model
        self.embeddings, self.layers, self.final_norm = text.embeddings, text.encoder.layers, text.final_layer_norm
        self.projection = clip.model.text_projection
        self.mask = torch.full((LENGTH, LENGTH), float("-inf"), device=clip.device, dtype=clip.dtype).triu(1)

    def __call__(self, prompts: Tensor, ends: Tensor) -> Tensor:
        """Encode prompts (S, 77, T) without positions and their end positions (S,) to features (S, D), unit length."""
        x = (prompts + self.embeddings.position_embedding.weight).permute(1, 0, 2)  # (77, S, T)
        for layer in self.layers:
            x = x + attend(layer.self_attn, layer.layer_norm1(x), self.mask)
            x = x + layer.mlp(layer.layer_norm2(x))
        x = self.final_norm(x.permute(1, 0, 2))  # (S, 77, T)
        features = self.projection(x[torch.arange(len(x), device=x.device), ends])
        return features / features.norm(dim=-1, keepdim=True)


def attend(attention: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    """Compute torch's MultiheadAttention with an additive mask, (R, S, W) to (R, S, W)."""
    heads = attention.num_heads
    query, key, value = (  # each (S, heads, R, W / heads)
        F.linear(x, part.weight, part.bias).unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)
        for part in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return attention.out_proj(attended.permute(2, 0, 1, 3).flatten(2))


def make_plain(method: PromptMethod) -> PromptMethod:
    """Make a method encode the prompts of its current classes the plain way; return it."""
    clip, tower = method.clip, PlainTextTower(method.clip)
    rows = clip.tokenize([f"{method.prefix} {name}." for name in method.class_names])
    token_ids = torch.tensor([row + [0] * (LENGTH - len(row)) for row in rows], device=clip.device)  # (C, 77)
    ends = torch.tensor([len(row) - 1 for row in rows], device=clip.device)
    embedded = clip.text.embed(token_ids)  # (C, 77, T)
    n_ctx = method.ctx.shape[-2]

    def encode_classes(context: Tensor) -> Tensor:
        """Compute PromptMethod.encode_classes image by image."""
        features = []
        for vectors in context:  # (M, T)
            shared = vectors.expand(len(embedded), -1, -1)
            prompts = torch.cat([embedded[:, :1], shared, embedded[:, 1 + n_ctx :]], dim=1)
            features.append(tower(prompts, ends))
        return torch.stack(features)

    method.encode_classes = encode_classes
    return method
