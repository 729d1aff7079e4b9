"""Encode prompts with CLIP's text tower, computing only what can reach a text feature.

CLIP's text tower is causal and is read at the end token (EOT), so three savings leave every number as it is:
a sequence ends at its EOT instead of at 77; prompts that begin alike share what they have in common, which turns a
class set into a *trie* of suffix tokens behind one start token and one context; and the last layer is evaluated at
the EOT rows only. `TextPlan` is the trie of a class set, made once; `TextEncoder.encode` runs contexts through it.
`TextEncoder.encode_dense` is the ordinary path, for prompts whose context is not at the front, and the
reference to which the tests compare the plan.
"""

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmark.clip.trie import TextPlan
from benchmark.common.shapes import check_shape
from benchmark.errors import ShapeError

QUICK = 1.702  # QuickGELU's factor
CHUNK_ROWS = {"cpu": 4096, "cuda": 32768}  # per pass through a layer: bounds memory, fills a matrix product
KEPT_ROWS = 16384  # rows of a pass whose activations are kept for the backward; above it, each chunk is computed twice
SMALLEST_CHUNK = 128

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # rows, weight, bias: as F.linear


class _Layer:
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
        self, x: Tensor, mask: Tensor | None, rows: Tensor | None = None, product: Product = F.linear
    ) -> Tensor:
        """x: (S, R, T) to (S, R, T); with `rows` (S, E) only those rows are computed: (S, E, T).

        mask: (S or 1, 1, R or E, R), True where a row may look; None is the causal mask.
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
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
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


class TextEncoder:
    """CLIP's frozen text tower. It holds no parameters of its own and never makes a gradient of a weight."""

    def __init__(self, text_model: nn.Module, projection: nn.Module, start_id: int):
        self.layers = [_Layer(layer) for layer in text_model.encoder.layers]
        self.tokens = text_model.embeddings.token_embedding.weight  # (vocabulary, T)
        self.positions = text_model.embeddings.position_embedding.weight  # (max_length, T)
        self.final_norm, self.projection = text_model.final_layer_norm, projection
        self.start_id = start_id
        self.chunk_rows = CHUNK_ROWS.get(self.tokens.device.type, CHUNK_ROWS["cpu"])
        self.kept_rows = KEPT_ROWS

    def halve_chunks(self) -> bool:
        """Use half the memory from now on; returns False if chunks cannot be smaller.

        The features stay the same, up to the order of sums inside a matrix product.
        """
        if self.chunk_rows <= SMALLEST_CHUNK:
            return False
        self.chunk_rows //= 2
        self.kept_rows = 0
        return True

    @property
    def max_length(self) -> int:
        """Tokens that have a position embedding: 77 in most checkpoints."""
        return self.positions.shape[0]

    @property
    def width(self) -> int:
        """T, width of a token embedding."""
        return self.tokens.shape[1]

    def plan(self, suffixes: Sequence[Sequence[int]], n_ctx: int) -> TextPlan:
        """The trie of these suffixes for this encoder; see TextPlan."""
        return TextPlan(suffixes, n_ctx, max_length=self.max_length, device=self.tokens.device)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Token embeddings without position: ids of any shape to (..., T)."""
        return F.embedding(token_ids, self.tokens)

    def encode(self, plan: TextPlan, context: Tensor, *, copies: int = 1, unit_length: bool = True) -> Tensor:
        """Text features of every class of a plan behind each of B contexts.

        Args:
            plan: made by `plan`, with M context vectors.
            context: (B, M, T), position not yet added; B is 1 when all images share a context.
            copies: how many equal parts of the contexts are separate computations, which on a CPU give bit by bit the
                values of a call for each.
            unit_length: False keeps the length that the projection gives.
        Returns:
            (B, C, D), at least float32.
        Raises:
            ShapeError: the context does not fit the plan.
        """
        check_shape("context", tuple(context.shape), "BMT", M=plan.n_ctx, T=self.width)
        context = context.to(self.tokens.dtype)  # a tower in half precision; gradients come back in the context's type
        groups, rows = plan.visible.shape[:2]
        group_step = max(1, self.chunk_rows // rows)
        image_step = max(1, self.chunk_rows // (rows * min(groups, group_step)))
        run = self._runner(context.shape[0] * plan.rows)
        product = apart(copies) if copies > 1 and context.device.type == "cpu" else F.linear
        own = context.unflatten(0, (copies, -1))  # (copies, b, M, T)
        parts = []
        for first in range(0, own.shape[1], image_step):
            some = own[:, first : first + image_step].flatten(0, 1)
            slices = [slice(g, g + group_step) for g in range(0, groups, group_step)]
            chunks = [run(self._encode_chunk, plan, which, some, product) for which in slices]
            classes = torch.cat(chunks, dim=1).flatten(1, 2)[:, plan.class_rows]  # (copies * b, C, T)
            parts.append(classes.unflatten(0, (copies, -1)))
        features = self._project(torch.cat(parts, dim=1).flatten(0, 1), product)
        return unit(features) if unit_length else at_least_float32(features)

    def _runner(self, rows: int) -> Callable[..., Tensor]:
        """How a chunk of a pass of so many rows is called: directly, or recomputed in the backward."""
        if rows <= self.kept_rows or not torch.is_grad_enabled():
            return lambda work, *inputs: work(*inputs)
        return functools.partial(checkpoint, use_reentrant=False, preserve_rng_state=False)

    def _encode_chunk(self, plan: TextPlan, which: slice, context: Tensor, product: Product) -> Tensor:
        """End rows after the last layer for some groups and some contexts: (b, g, E, T)."""
        visible, end_rows = plan.visible[which], plan.end_rows[which]
        groups, rows = visible.shape[:2]
        images, front = context.shape[0], 1 + plan.n_ctx
        start = self.embed(torch.full((1, 1), self.start_id, device=context.device))
        before = torch.cat([start.expand(images, 1, -1), context], dim=1) + self.positions[:front]  # (b, 1 + M, T)
        nodes = self.embed(plan.token_ids[which]) + self.positions[plan.positions[which]]  # (g, N, T)
        x = torch.cat(
            [
                before[:, None].expand(images, groups, front, -1),
                nodes[None].expand(images, groups, rows - front, -1).to(before.dtype),
            ],
            dim=2,
        ).flatten(0, 1)  # (b * g, R, T)
        mask = visible[:, None]  # (g, 1, R, R)
        end_mask = mask.gather(2, end_rows[:, None, :, None].expand(-1, -1, -1, rows))  # (g, 1, E, R)
        if groups > 1:
            mask, end_mask = mask.repeat(images, 1, 1, 1), end_mask.repeat(images, 1, 1, 1)
        for layer in self.layers[:-1]:
            x = layer(x, mask, product=product)
        x = self.layers[-1](x, end_mask, end_rows.repeat(images, 1), product)  # (b * g, E, T)
        return x.unflatten(0, (images, groups))

    def encode_dense(self, embeddings: Tensor, end: Tensor) -> Tensor:
        """Text features of already embedded prompts, each computed in full up to the longest end token.

        Args:
            embeddings: (S, L, T) token embeddings from the start token on, position not yet added.
            end: (S,) index of the end token, in tokens from the left.
        Returns:
            (S, D), unit length, at least float32.
        Raises:
            ShapeError: L is longer than the encoder has positions for.
        """
        check_shape("embeddings", tuple(embeddings.shape), "SLT", T=self.width)
        length = int(end.max()) + 1
        if length > self.max_length:
            raise ShapeError(f"A prompt has {length} tokens, but the text encoder takes at most {self.max_length}.")
        step, run = max(1, self.chunk_rows // length), self._runner(embeddings.shape[0] * length)
        chunks = zip(embeddings[:, :length].to(self.tokens.dtype).split(step), end.split(step), strict=True)
        rows = torch.cat([run(self._encode_dense_chunk, some, ends) for some, ends in chunks])
        return unit(self._project(rows))

    def _encode_dense_chunk(self, embeddings: Tensor, end: Tensor) -> Tensor:
        """(s, L, T) to the rows (s, T) at the end tokens after the last layer."""
        x = embeddings + self.positions[: embeddings.shape[1]]
        for layer in self.layers:
            x = layer(x, None)
        return x[torch.arange(len(end), device=x.device), end]

    def _project(self, x: Tensor, product: Product = F.linear) -> Tensor:
        """Rows (..., T) at the end token to features (..., D)."""
        return product(self.final_norm(x), self.projection.weight, self.projection.bias)


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32, or in float64 where it is that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit(x: Tensor) -> Tensor:
    """x (..., D) divided by its length, in at least float32; plain division without an epsilon, as the authors do."""
    x = at_least_float32(x)
    return x / x.norm(dim=-1, keepdim=True)
