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
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmark.clip.layer import NO_EDITS, Edits, Layer, Product, apart, at_least_float32, unit
from benchmark.clip.trie import TextPlan
from benchmark.common.shapes import check_shape
from benchmark.errors import ShapeError

CHUNK_ROWS = {"cpu": 4096, "cuda": 32768}  # per pass through a layer: bounds memory, fills a matrix product
KEPT_ROWS = 16384  # rows of a pass whose activations are kept for the backward; above it, each chunk is computed twice
SMALLEST_CHUNK = 128

Result = TypeVar("Result")


class TextEncoder:
    """CLIP's frozen text tower. It holds no parameters of its own and never makes a gradient of a weight."""

    def __init__(self, text_model: nn.Module, projection: nn.Module, start_id: int):
        self.layers = [Layer(layer) for layer in text_model.encoder.layers]
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

    def encode(
        self,
        plan: TextPlan,
        context: Tensor,
        *,
        copies: int = 1,
        unit_length: bool = True,
        edits: Edits = NO_EDITS,
        apart_from: int | None = None,
    ) -> Tensor:
        """Text features of every class of a plan behind each of B contexts.

        Args:
            plan: made by `plan`, with M context vectors.
            context: (B, M, T), position not yet added; B is 1 when all images share a context.
            copies: how many equal parts of the contexts are separate computations, which on a CPU give bit by bit the
                values of a call for each.
            unit_length: False keeps the length that the projection gives.
            edits: what a method does inside the tower. Prompts share their rows, so an edit is the same for all classes
                and sees rows [start, context, nodes of the trie].
            apart_from: the layer from which each class has rows of its own; needs B = 1. `enter` of that layer sees
                (C, R, T), one sequence [start, context, suffix, padding] a class; edits of deeper layers see some of
                these sequences.
        Returns:
            (B, C, D), at least float32.
        Raises:
            ConfigError, ShapeError: the context does not fit the plan, or the edits do not fit the tower.
        """
        check_shape("context", tuple(context.shape), "BMT", M=plan.n_ctx, T=self.width)
        edits.check(range(len(self.layers)))
        if apart_from is not None:
            rows = self._encode_apart(plan, context, edits, apart_from)
            return (unit if unit_length else at_least_float32)(self._project(rows))[None]
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
            chunks = [run(self._encode_chunk, plan, which, some, product, edits) for which in slices]
            classes = torch.cat(chunks, dim=1).flatten(1, 2)[:, plan.class_rows]  # (copies * b, C, T)
            parts.append(classes.unflatten(0, (copies, -1)))
        features = self._project(torch.cat(parts, dim=1).flatten(0, 1), product)
        return unit(features) if unit_length else at_least_float32(features)

    def _runner(self, rows: int) -> Callable[..., Tensor]:
        """How a chunk of a pass of so many rows is called: directly, or recomputed in the backward."""
        if rows <= self.kept_rows or not torch.is_grad_enabled():
            return lambda work, *inputs: work(*inputs)
        return functools.partial(checkpoint, use_reentrant=False, preserve_rng_state=False)

    def _encode_chunk(self, plan: TextPlan, which: slice, context: Tensor, product: Product, edits: Edits) -> Tensor:
        """End rows after the last layer for some groups and some contexts: (b, g, E, T)."""
        images, last = context.shape[0], len(self.layers) - 1
        x, visible = self._through_trie(plan, which, context, edits, product, last)
        x = edits.entering(last, x)
        visible = _widened(visible, x.shape[1])
        end_rows = plan.end_rows[which] + x.shape[1] - plan.visible.shape[-1]
        groups, rows = visible.shape[:2]
        mask = visible[:, None].gather(2, end_rows[:, None, :, None].expand(-1, -1, -1, rows))  # (g, 1, E, R)
        mask = mask.repeat(images, 1, 1, 1) if groups > 1 else mask
        x = self.layers[last](x, mask, end_rows.repeat(images, 1), product, edits=edits.of(last))  # (b * g, E, T)
        return x.unflatten(0, (images, groups))

    def _through_trie(
        self, plan: TextPlan, which: slice, context: Tensor, edits: Edits, product: Product, layers: int
    ) -> tuple[Tensor, Tensor]:
        """Rows of some groups and some contexts after the first `layers` layers, those that edits put in included.

        Returns:
            (b * g, R, T), and which row sees which, (g, R, R).
        """
        visible = plan.visible[which]
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
        mask = None
        for i in range(layers):
            x = edits.entering(i, x)
            if mask is None or mask.shape[-1] != x.shape[1]:
                visible = _widened(visible, x.shape[1])
                mask = visible[:, None].repeat(images, 1, 1, 1) if groups > 1 else visible[:, None]
            x = self.layers[i](x, mask, product=product, edits=edits.of(i))
        return x, visible

    def _encode_apart(self, plan: TextPlan, context: Tensor, edits: Edits, first: int) -> Tensor:
        """Rows (C, T) at the end tokens after the last layer; the layers before `first` share the rows of the trie."""
        if context.shape[0] != 1:
            raise ShapeError(f"Prompts that are apart by class take one context, not {context.shape[0]}.")
        context = context.to(self.tokens.dtype)
        groups = max(1, self.chunk_rows // plan.visible.shape[1])
        run = self._runner(plan.rows)
        slices = [slice(g, g + groups) for g in range(0, len(plan.visible), groups)]
        parts = [run(self._through_trie, plan, which, context, edits, F.linear, first)[0] for which in slices]
        if parts[0].shape[1] != plan.visible.shape[-1]:
            raise ShapeError(f"{edits.made_at}: rows are put in before layer {first}, where classes part.")
        rows, ends = plan.own_rows  # (C, L), (C,)
        x = edits.entering(first, torch.cat(parts).flatten(0, 1)[rows])  # (C, L, T)
        added = x.shape[1] - rows.shape[1]
        run = self._runner(sum(plan.suffix_lengths) + len(x) * (1 + plan.n_ctx + added))
        groups = plan.alike(added, self.chunk_rows)
        parts = [run(self._finish_apart, x[own, :longest], ends[own] + added, edits, first) for own, longest in groups]
        return torch.cat(parts)[torch.cat([own for own, _ in groups]).argsort()]

    def _finish_apart(self, x: Tensor, end: Tensor, edits: Edits, first: int) -> Tensor:
        """Rows (c, L, T) that enter layer `first` to those at the end tokens (c, T) after the last layer."""
        last = len(self.layers) - 1
        for i in range(first, last + 1):
            x = edits.entering(i, x) if i > first else x
            if i < last:
                x = self.layers[i](x, None, edits=edits.of(i))
        seen = torch.arange(x.shape[1], device=x.device) <= end[:, None]  # (c, L)
        return self.layers[last](x, seen[:, None, None], end[:, None], edits=edits.of(last))[:, 0]

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


def _widened(visible: Tensor, rows: int) -> Tensor:
    """Which of `rows` rows see which, (g, rows, rows), if those missing in (g, R, R) are put in behind the start."""
    added = rows - visible.shape[-1]
    if not added:
        return visible
    wide = F.pad(visible, (added, 0, added, 0))
    wide[:, :, 0] = True
    wide[:, 1:, 1 : 1 + added] = True
    wide[:, 1 : 1 + added, 1 : 1 + added] = torch.ones(added, added, dtype=torch.bool, device=visible.device).tril()
    wide[:, 1 + added :, 1 + added :] = visible[:, 1:, 1:]
    wide[:, 0, 1:] = False
    wide[:, 1 : 1 + added, 1 + added :] = False
    return wide


def ran_out_of_memory(error: RuntimeError) -> bool:
    """Whether the allocator of a GPU or a CPU raised this error."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def in_memory(encoder: TextEncoder, work: Callable[[], Result]) -> Result:
    """The result of `work`, which is repeated with halved chunks of prompts while it runs out of memory.

    `work` must be repeatable: it clears at its start what an interrupted call left.
    """
    while True:
        try:
            return work()
        except RuntimeError as error:
            if not ran_out_of_memory(error) or not encoder.halve_chunks():
                raise
        free_memory()


def free_memory() -> None:
    """Free the memory of a failed attempt. Call it outside the except block: the frames of the error hold tensors."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
