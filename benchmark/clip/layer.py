"""Compute one layer of a frozen transformer tower."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

QUICK = 1.702  # QuickGELU's factor

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # rows, weight, bias: as F.linear


class Layer:
    """One frozen transformer layer, its three input projections in one matrix."""

    def __init__(self, layer: nn.Module):
        attention = layer.self_attn
        inputs = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.norm1, self.norm2 = layer.layer_norm1, layer.layer_norm2
        self.mlp = _folded_mlp(layer.mlp)
        self.out, self.heads = attention.out_proj, attention.num_heads
        self.weight = torch.cat([p.weight for p in inputs]).detach()  # (3T, T)
        self.bias = torch.cat([p.bias for p in inputs]).detach()

    def __call__(
        self,
        x: Tensor,
        mask: Tensor | None,
        rows: Tensor | None = None,
        product: Product = F.linear,
        *,
        causal: bool = True,
    ) -> Tensor:
        """x: (S, R, T) to (S, R, T); with `rows` (S, E) only those rows are computed: (S, E, T).

        mask: (S or 1, 1, R or E, R), True where a row may look; None: no mask but `causal`.
        causal: whether, without a mask, a row sees only itself and the rows before it.
        product: how rows are multiplied with a weight; see apart.
        """
        normed = self.norm1(x)
        if rows is None:
            query, key, value = product(normed, self.weight, self.bias).chunk(3, dim=-1)
        else:
            width = x.shape[-1]
            index = rows[..., None].expand(-1, -1, width)
            x = x.gather(1, index)  # (S, E, T)
            query = product(normed.gather(1, index), self.weight[:width], self.bias[:width])
            key, value = product(normed, self.weight[width:], self.bias[width:]).chunk(2, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal and mask is None)
        x = x + product(seen.transpose(1, 2).flatten(2), self.out.weight, self.out.bias)
        return x + self.mlp(self.norm2(x), product)


def apart(copies: int) -> Product:
    """A matrix product that multiplies each of `copies` equal parts of x separately.

    On a CPU, rounding may depend on the number of rows; so each copy gets the values that it would have alone.
    """

    def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return torch.cat([F.linear(part, weight, bias) for part in x.chunk(copies)])

    return product


def _folded_mlp(mlp: nn.Module) -> Callable[[Tensor, Product], Tensor]:
    """The two linear maps with the checkpoint's activation between them: (..., T) to (..., T).

    QuickGELU, x sigmoid(1.702 x), is silu(1.702 x) / 1.702: with the factors folded into the weights it is one pass
    over the hidden values instead of three. Half-precision weights would be rounded by it and stay as they are.
    """
    fc1, fc2, activation = mlp.fc1, mlp.fc2, mlp.activation_fn
    if mlp.config.hidden_act != "quick_gelu" or fc1.weight.dtype not in (torch.float32, torch.float64):
        return lambda x, product: product(activation(product(x, fc1.weight, fc1.bias)), fc2.weight, fc2.bias)
    weight1, bias1 = fc1.weight.detach() * QUICK, fc1.bias.detach() * QUICK
    weight2, bias2 = fc2.weight.detach() / QUICK, fc2.bias.detach()
    return lambda x, product: product(F.silu(product(x, weight1, bias1)), weight2, bias2)


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32, or in float64 where it is that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit(x: Tensor) -> Tensor:
    """x (..., D) divided by its length, in at least float32; plain division without an epsilon, as the authors do."""
    x = at_least_float32(x)
    return x / x.norm(dim=-1, keepdim=True)
