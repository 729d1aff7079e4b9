"""Build the trie of the suffix tokens that the prompts of a class set share."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from benchmark.errors import ShapeError

GROUP_NODES = 128  # trie nodes that share one attention mask: more share more, but attention grows with its square
ROW_BLOCK = (
    4  # a group's rows are a multiple of it: CPUs multiply so many rows in one go, and rounding is the same in each
)

FEWEST_ALIKE = 16  # prompts that pass through a layer together though their lengths differ: fewer fill no product


class TextPlan:
    """The trie of the suffix tokens of a class set, split into groups of at most GROUP_NODES nodes.

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
        distinct = sorted({tuple(suffix) for suffix in suffixes})
        self.suffix_lengths = [len(suffix) for suffix in suffixes]  # of each class, the end token included
        self._alike: dict[tuple[int, int], list[tuple[Tensor, int]]] = {}
        self._count(distinct)
        groups, place = _grow_evenly(distinct, GROUP_NODES)
        ends = max(len(group.ends) for group in groups)
        front = 1 + n_ctx
        rows = -(-(front + max(len(group.tokens) for group in groups)) // ROW_BLOCK) * ROW_BLOCK
        size = rows - front
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
        # index of class c among the G * E end rows
        self.class_rows = torch.tensor([place[tuple(s)][0] * ends + place[tuple(s)][1] for s in suffixes]).to(device)

    def _count(self, distinct: Sequence[tuple[int, ...]]) -> None:
        """Count what the computation needs at least: the one trie of all classes, without padding.

        nodes: of the trie; ends: distinct prompts; pairs: (row, row that it sees), context included; end_pairs: those
        of the end rows.
        """
        front = 1 + self.n_ctx
        depths = [len(beginning) for beginning in {s[: i + 1] for s in distinct for i in range(len(s))}]
        self.nodes, self.ends = len(depths), len(distinct)
        self.pairs = front * (front + 1) // 2 + sum(front + depth for depth in depths)
        self.end_pairs = sum(front + len(suffix) for suffix in distinct)

    @cached_property
    def own_rows(self) -> tuple[Tensor, Tensor]:
        """Each class's rows among the G * R rows: (C, L), as [start, context, suffix, padding]; and its end row (C,).

        L is the longest prompt; the padding repeats the end row, which nothing after it reads.
        """
        rows, front = self.visible.shape[1], 1 + self.n_ctx
        group = torch.div(self.class_rows, self.end_rows.shape[1], rounding_mode="floor")  # (C,)
        end = self.end_rows.flatten()[self.class_rows]  # (C,), row of the end token in its group
        seen = self.visible[group, end]  # (C, R): the start, the context, the ancestors and the end row itself
        lengths = torch.tensor(self.suffix_lengths, device=end.device)
        length = front + max(self.suffix_lengths)
        # a node stands after its ancestors, so the rows seen are in the order of the prompt
        order = torch.argsort((~seen).to(torch.uint8), dim=1, stable=True)[:, :length]
        last = front + lengths - 1
        own = torch.where(torch.arange(length, device=end.device) <= last[:, None], order, end[:, None])
        return own + group[:, None] * rows, last

    def alike(self, added: int, most_rows: int) -> list[tuple[Tensor, int]]:
        """Indices of classes in groups of increasing length, and the longest prompt of each: so little is padding.

        A group holds at most `most_rows` rows, padding included, or one prompt; it ends before a longer prompt once it
        has FEWEST_ALIKE. The groups are kept: a recorded step of a GPU cannot make them.

        Args:
            added: rows put into each prompt.
        """
        if (added, most_rows) not in self._alike:
            self._alike[added, most_rows] = self._group(added, most_rows)
        return self._alike[added, most_rows]

    def _group(self, added: int, most_rows: int) -> list[tuple[Tensor, int]]:
        lengths = [1 + self.n_ctx + added + length for length in self.suffix_lengths]
        groups: list[list[int]] = [[]]
        for i in sorted(range(len(lengths)), key=lengths.__getitem__):
            group = groups[-1]
            longer = bool(group) and lengths[i] > lengths[group[-1]]
            if (len(group) >= FEWEST_ALIKE and longer) or (group and (len(group) + 1) * lengths[i] > most_rows):
                groups.append([])
            groups[-1].append(i)
        device = self.token_ids.device
        return [(torch.tensor(group, device=device), lengths[group[-1]]) for group in groups]

    @property
    def rows(self) -> int:
        """Rows that pass through the layers for one context, padding included."""
        return self.visible.shape[0] * self.visible.shape[1]


class _Group:
    """One part of the trie: its nodes in depth-first order, and which of them end a prompt."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self.ends: list[int] = []


def _grow_evenly(
    suffixes: list[tuple[int, ...]], limit: int
) -> tuple[list[_Group], dict[tuple[int, ...], tuple[int, int]]]:
    """As _grow, with the smallest limit that needs no more groups: they are padded to the largest among them."""
    grown = _grow(suffixes, limit)
    low, high = 1, limit  # `high` is enough
    while low < high:
        middle = (low + high) // 2
        tried = _grow(suffixes, middle)
        if len(tried[0]) <= len(grown[0]):
            high, grown = middle, tried
        else:
            low = middle + 1
    return grown


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
