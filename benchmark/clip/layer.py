"""Compute one layer of a frozen transformer tower, and what a method does inside it."""

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.errors import ConfigError, ShapeError

QUICK = 1.702  # QuickGELU's factor
FEW_ROWS = 512  # more fill a core's product already

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
        edits: "LayerEdits | None" = None,
    ) -> Tensor:
        """x: (S, R, T) to (S, R, T); with `rows` (S, E) only those rows are computed: (S, E, T).

        mask: (S or 1, 1, R or E, R), True where a row may look; None: no mask but `causal`.
        causal: whether, without a mask, a row sees only itself and the rows before it.
        product: how rows are multiplied with a weight; see apart.
        edits: what a method adds inside the layer.
        """
        normed = self.norm1(x)
        beside, inputs = (None, None) if edits is None else edits.additions(x, normed)
        if rows is None:
            query, key, value = product(normed, self.weight, self.bias).chunk(3, dim=-1)
        else:
            width = x.shape[-1]
            index = rows[..., None].expand(-1, -1, width)
            x = x.gather(1, index)  # (S, E, T)
            query = product(normed.gather(1, index), self.weight[:width], self.bias[:width])
            key, value = product(normed, self.weight[width:], self.bias[width:]).chunk(2, dim=-1)
            beside = None if beside is None else beside.gather(1, index)
        if inputs is not None:
            more = inputs.chunk(3, dim=-1)
            query = query + (more[0] if rows is None else more[0].gather(1, index))
            key, value = key + more[1], value + more[2]
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal and mask is None)
        x = x + product(seen.transpose(1, 2).flatten(2), self.out.weight, self.out.bias)
        x = x + self.mlp(self.norm2(x), product)
        return x if beside is None else x + beside


def apart(copies: int) -> Product:
    """A matrix product of which each of `copies` equal parts of x gets, byte by byte, the values that it has alone.

    On a CPU, rounding may depend on the number of rows: then the parts are multiplied one after the other.
    """

    def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rows = x.shape[:-1].numel() // copies
        few = rows <= FEW_ROWS and not torch.is_autocast_enabled("cpu")
        if few and _same_together(copies, rows, tuple(weight.shape), weight.dtype, torch.get_num_threads()):
            return F.linear(x, weight, bias)
        return torch.cat([F.linear(part, weight, bias) for part in x.chunk(copies)])

    return product


@functools.cache
def _same_together(copies: int, rows: int, shape: tuple[int, int], dtype: torch.dtype, threads: int) -> bool:
    """Whether products of this shape have the same bytes in one call as in one for each copy, backward too.

    It is tried, with random values: which rows a CPU sums alike depends on its kernels, which the shape alone selects.
    """
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, gradient = (
        torch.randn(size, generator=generator, dtype=dtype)
        for size in ((copies * rows, shape[1]), shape, shape[:1], (copies * rows, shape[0]))
    )
    with torch.no_grad():
        forward = torch.cat([F.linear(part, weight, bias) for part in x.chunk(copies)])
        backward = torch.cat([part @ weight for part in gradient.chunk(copies)])
        return torch.equal(F.linear(x, weight, bias), forward) and torch.equal(gradient @ weight, backward)


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


Enter = Callable[[Tensor], Tensor]
Beside = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Edits:
    """What a method does inside a tower, by layer, counted from 0. Rows are (S, R, W).

    Attributes:
        enter: from the rows that would enter a layer to those that do: prompts put in, replaced or mixed. Of images the
            class token stays the first row. Of texts, rows that are put in stand directly behind the start token; each
            row after them sees them.
        beside: from the rows that enter a layer, and the same rows normed by it, to what is added to the rows that
            leave it, of the same shape (an adapter).
        inputs: from normed rows to what is added to query, key and value, (S, R, 3 W) (LoRA).
        made_at: file and line of the code that made this object, for messages.
    """

    enter: Mapping[int, Enter] = field(default_factory=dict)
    beside: Mapping[int, Beside] = field(default_factory=dict)
    inputs: Mapping[int, Enter] = field(default_factory=dict)
    made_at: str = field(init=False, default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        frame = sys._getframe(2)  # the caller of __init__
        object.__setattr__(self, "made_at", f"{frame.f_code.co_filename}:{frame.f_lineno}")

    def check(self, layers: range) -> None:
        """Check that only these layers are edited.

        Raises:
            ConfigError: another layer is edited.
        """
        for kind in ("enter", "beside", "inputs"):
            for i in getattr(self, kind):
                if i not in layers:
                    raise ConfigError(
                        f"{self.made_at}: `{kind}` edits layer {i}, but only layers {layers.start} to "
                        f"{layers.stop - 1} can be edited here. Layers count from 0."
                    )

    def entering(self, i: int, x: Tensor) -> Tensor:
        """The rows that enter layer i, in the type of x.

        Raises:
            ShapeError: the edit returns another number of sequences, another width, or fewer rows.
        """
        if i not in self.enter:
            return x
        edited = self.enter[i](x)
        fits = isinstance(edited, Tensor) and edited.ndim == 3 and edited.shape[::2] == x.shape[::2]
        if not fits or edited.shape[1] < x.shape[1]:
            wanted = f"({x.shape[0]}, {x.shape[1]} or more, {x.shape[2]})"
            raise ShapeError(f"{self.made_at}: `enter` of layer {i} returned {_shape(edited)}, not {wanted}.")
        return edited.to(x.dtype)

    def of(self, i: int) -> "LayerEdits | None":
        """What is added inside layer i; None: nothing."""
        if i not in self.beside and i not in self.inputs:
            return None
        return LayerEdits(i, self.beside.get(i), self.inputs.get(i), self.made_at)


@dataclass(frozen=True)
class LayerEdits:
    """What a method adds inside one layer; see Edits."""

    layer: int
    beside: Beside | None
    inputs: Enter | None
    made_at: str

    def additions(self, x: Tensor, normed: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What is added to the rows that leave the layer, and to query, key and value; None: nothing.

        Raises:
            ShapeError: an edit returns another shape.
        """
        shape = (*x.shape[:2], 3 * x.shape[2])
        beside = None if self.beside is None else self._checked("beside", self.beside, (x, normed), tuple(x.shape))
        return beside, None if self.inputs is None else self._checked("inputs", self.inputs, (normed,), shape)

    def _checked(self, kind: str, edit: Callable, given: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        added = edit(*given)
        if not isinstance(added, Tensor) or tuple(added.shape) != shape:
            raise ShapeError(f"{self.made_at}: `{kind}` of layer {self.layer} returned {_shape(added)}, not {shape}.")
        return added.to(given[0].dtype)


NO_EDITS = Edits()


def replace_rows(x: Tensor, rows: Tensor, first: int) -> Tensor:
    """x (S, R, W) with `rows`, (M, W) or (S, M, W), in the place of those from `first` on, counted from 0."""
    rows = rows.to(x.dtype).expand(len(x), -1, -1)
    return torch.cat([x[:, :first], rows, x[:, first + rows.shape[1] :]], dim=1)


def insert_rows(x: Tensor, rows: Tensor, first: int) -> Tensor:
    """x (S, R, W) with `rows`, (M, W) or (S, M, W), before the row `first`: (S, R + M, W)."""
    return torch.cat([x[:, :first], rows.to(x.dtype).expand(len(x), -1, -1), x[:, first:]], dim=1)


def _shape(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32, or in float64 where it is that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit(x: Tensor) -> Tensor:
    """x (..., D) divided by its length, in at least float32; plain division without an epsilon, as the authors do."""
    x = at_least_float32(x)
    return x / x.norm(dim=-1, keepdim=True)
