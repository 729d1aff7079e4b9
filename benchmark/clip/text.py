"""The text encoder, computing only what can reach a text feature.

CLIP's text tower is causal and is read at the end token (EOT), so three savings leave every number as it is:
a sequence ends at its EOT instead of at 77; prompts that begin alike share what they have in common, which turns a
class set into a *trie* of suffix tokens behind one start token and one context; and the last layer is evaluated at
the EOT rows only. `TextPlan` is the trie of a class set, made once; `TextEncoder.encode` runs contexts through it.
`TextEncoder.encode_dense` is the ordinary path, for prompts whose context does not stand in front, and the
reference that the tests hold the plan against.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.errors import ShapeError
from benchmark.shapes import check_shape

GROUP_NODES = 128  # trie nodes that share one attention mask: more share more, but attention grows with its square
CHUNK_TOKENS = 4096  # rows pushed through a layer at once: bounds memory, and still fills a matrix product


class TextPlan:
    """What a set of prompts shares: a trie of their suffix tokens, cut into groups of at most GROUP_NODES nodes.

    A prompt is [start, context 1..M, suffix tokens, end]; the suffix of a class holds its name, the full stop and the
    end token. A node of the trie is a suffix token after a particular beginning; it sees the start, the context, its
    ancestors and itself. Equal class names share their end node.

    Args:
        suffixes: token ids of each class after the context, the end token last; in the order of the classes.
        n_ctx: M, context vectors between the start token and the suffix (0 for an ordinary text).
        max_length: tokens that the encoder has positions for.
    Raises:
        ShapeError: no class, an empty suffix, or a prompt longer than `max_length` tokens.
    """

    def __init__(self, suffixes: Sequence[Sequence[int]], n_ctx: int, *, max_length: int, device: torch.device):
        if not suffixes or not all(len(suffix) for suffix in suffixes):
            raise ShapeError("TextPlan: at least one class, and at least one token after each context, is needed.")
        longest = max(suffixes, key=len)
        if 1 + n_ctx + len(longest) > max_length:
            raise ShapeError(
                f"A prompt has {1 + n_ctx + len(longest)} tokens, but the text encoder takes at most {max_length}, "
                "start, context and end included. Shorten the class name, the template or n_ctx."
            )
        self.n_ctx, self.classes = n_ctx, len(suffixes)
        groups, place = _grow(sorted({tuple(suffix) for suffix in suffixes}), GROUP_NODES)
        size = max(len(group.tokens) for group in groups)
        ends = max(len(group.ends) for group in groups)
        front, rows = 1 + n_ctx, 1 + n_ctx + size
        token_ids = torch.zeros(len(groups), size, dtype=torch.long)
        positions = torch.zeros(len(groups), size, dtype=torch.long)
        visible = torch.zeros(len(groups), rows, rows, dtype=torch.bool)
        visible[:, :, 0] = True  # every row sees the start token; so a padding row has something to attend to
        visible[:, :front, :front] = torch.ones(front, front, dtype=torch.bool).tril()
        end_rows = torch.zeros(len(groups), ends, dtype=torch.long)
        for g, group in enumerate(groups):
            count = len(group.tokens)
            token_ids[g, :count] = torch.tensor(group.tokens)
            positions[g, :count] = front + torch.tensor(group.depths)
            visible[g, front : front + count, :front] = True
            for node, parent in enumerate(group.parents):
                row = front + node
                if parent >= 0:
                    visible[g, row, front:] = visible[g, front + parent, front:]
                visible[g, row, row] = True
            end_rows[g, : len(group.ends)] = front + torch.tensor(group.ends)
        self.token_ids = token_ids.to(device)  # (G, N)
        self.positions = positions.to(device)  # (G, N)
        self.visible = visible.to(device)  # (G, R, R), R = 1 + M + N: may row i see row j
        self.end_rows = end_rows.to(device)  # (G, E)
        # where class c is found among the G * E end rows
        self.class_rows = torch.tensor([place[tuple(s)][0] * ends + place[tuple(s)][1] for s in suffixes]).to(device)

    @property
    def rows(self) -> int:
        """Rows pushed through the layers for one context, padding included."""
        return self.visible.shape[0] * self.visible.shape[1]


class _Group:
    """One part of the trie: its nodes in depth-first order, and which of them end a prompt."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self.ends: list[int] = []


def _grow(suffixes: list[tuple[int, ...]], limit: int) -> tuple[list[_Group], dict[tuple[int, ...], tuple[int, int]]]:
    """Put sorted, distinct suffixes into groups; returns them and, for each suffix, (group, place among its ends)."""
    groups: list[_Group] = [_Group()]
    place: dict[tuple[int, ...], tuple[int, int]] = {}
    path: list[int] = []  # nodes of the suffix before, from the top
    before: tuple[int, ...] = ()
    for suffix in suffixes:
        shared = 0
        while shared < min(len(suffix), len(before)) and suffix[shared] == before[shared]:
            shared += 1
        group = groups[-1]
        if group.tokens and len(group.tokens) + len(suffix) - shared > limit:
            group, shared, path = _Group(), 0, []
            groups.append(group)
        path = path[:shared]
        for depth in range(shared, len(suffix)):
            group.parents.append(path[-1] if path else -1)
            path.append(len(group.tokens))
            group.tokens.append(suffix[depth])
            group.depths.append(depth)
        place[suffix] = (len(groups) - 1, len(group.ends))
        group.ends.append(path[-1])
        before = suffix
    return groups, place


class _Layer:
    """One frozen transformer layer, its three input projections in one matrix."""

    def __init__(self, layer: nn.Module):
        attention = layer.self_attn
        inputs = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.norm1, self.norm2 = layer.layer_norm1, layer.layer_norm2
        self.fc1, self.fc2, self.activation = layer.mlp.fc1, layer.mlp.fc2, layer.mlp.activation_fn
        self.out, self.heads = attention.out_proj, attention.num_heads
        self.weight = torch.cat([p.weight for p in inputs]).detach()  # (3T, T)
        self.bias = torch.cat([p.bias for p in inputs]).detach()

    def __call__(self, x: Tensor, mask: Tensor | None, rows: Tensor | None = None) -> Tensor:
        """x: (S, R, T) to (S, R, T); with `rows` (S, E) only those rows are computed: (S, E, T).

        mask: (S or 1, 1, R or E, R), True where a row may look; None is the causal mask.
        """
        normed = self.norm1(x)
        if rows is None:
            query, key, value = F.linear(normed, self.weight, self.bias).chunk(3, dim=-1)
        else:
            width = x.shape[-1]
            index = rows[..., None].expand(-1, -1, width)
            x = x.gather(1, index)  # (S, E, T)
            query = F.linear(normed.gather(1, index), self.weight[:width], self.bias[:width])
            key, value = F.linear(normed, self.weight[width:], self.bias[width:]).chunk(2, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.fc2(self.activation(self.fc1(self.norm2(x))))


class TextEncoder:
    """CLIP's frozen text tower. It holds no parameters of its own and never makes a gradient of a weight."""

    def __init__(self, text_model: nn.Module, projection: nn.Module, start_id: int):
        self.layers = [_Layer(layer) for layer in text_model.encoder.layers]
        self.tokens = text_model.embeddings.token_embedding.weight  # (vocabulary, T)
        self.positions = text_model.embeddings.position_embedding.weight  # (77, T)
        self.final_norm, self.projection = text_model.final_layer_norm, projection
        self.start_id = start_id

    @property
    def max_length(self) -> int:
        """Tokens that have a position embedding: 77."""
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

    def encode(self, plan: TextPlan, context: Tensor) -> Tensor:
        """Text features of every class of a plan behind each of B contexts.

        Args:
            plan: made by `plan`, with M context vectors.
            context: (B, M, T), position not yet added; B is 1 when all images share a context.
        Returns:
            (B, C, D), unit length, at least float32.
        Raises:
            ShapeError: the context does not fit the plan.
        """
        check_shape("context", tuple(context.shape), "BMT", M=plan.n_ctx, T=self.width)
        groups, rows = plan.visible.shape[:2]
        group_step = max(1, CHUNK_TOKENS // rows)
        image_step = max(1, CHUNK_TOKENS // (rows * min(groups, group_step)))
        parts = []
        for first in range(0, context.shape[0], image_step):
            some = context[first : first + image_step]
            chunks = [self._encode_chunk(plan, slice(g, g + group_step), some) for g in range(0, groups, group_step)]
            parts.append(torch.cat(chunks, dim=1).flatten(1, 2)[:, plan.class_rows])  # (b, C, T)
        return self._project(torch.cat(parts))

    def _encode_chunk(self, plan: TextPlan, which: slice, context: Tensor) -> Tensor:
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
            x = layer(x, mask)
        x = self.layers[-1](x, end_mask, end_rows.repeat(images, 1))  # (b * g, E, T)
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
        step = max(1, CHUNK_TOKENS // length)
        parts = []
        for some, ends in zip(embeddings[:, :length].split(step), end.split(step), strict=True):
            x = some + self.positions[:length]
            for layer in self.layers:
                x = layer(x, None)
            parts.append(x[torch.arange(len(ends), device=x.device), ends])
        return self._project(torch.cat(parts))

    def _project(self, x: Tensor) -> Tensor:
        """Rows (..., T) at the end token to features (..., D) of unit length."""
        return unit(self.projection(self.final_norm(x)))


def unit(x: Tensor) -> Tensor:
    """x (..., D) divided by its length, in at least float32; plain division without an epsilon, as the authors do."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x / x.norm(dim=-1, keepdim=True)
