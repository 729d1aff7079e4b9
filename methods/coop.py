"""Implement CoOp: a learned context before, around or after every class name.

Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022, arXiv 2109.01134; trainers/coop.py at ff61507.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchmark.clip.backbone import Clip
from benchmark.errors import ConfigError
from benchmark.prompts import PromptMethod, check_context_keys


@dataclass(frozen=True, kw_only=True)
class CoOpOptions:
    """Options of CoOp.

    Attributes:
        n_ctx: M, the number of learned context vectors.
        ctx_init: words to start from; None starts from N(0, 0.02).
        class_specific: learn a context for each class; it cannot score other classes.
        class_position: position of the class name: after the context, inside it (at M // 2), or before it.
    """

    n_ctx: int
    ctx_init: str | None
    class_specific: bool
    class_position: Literal["end", "middle", "front"]

    def __post_init__(self) -> None:
        check_context_keys(self.n_ctx, self.ctx_init)
        if self.class_specific and self.ctx_init is not None:
            raise ConfigError("class_specific contexts start at random; set ctx_init: null or class_specific: false.")


class CoOp(PromptMethod):
    """Cross-entropy on the logits of learned prompts; the learned tensor is `ctx`, (M, T) or (C, M, T)."""

    Options = CoOpOptions

    def __init__(self, clip: Clip, options: CoOpOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        self.transfers = not options.class_specific
        self.stands_in_front = not options.class_specific and options.class_position == "end"
        self.start_context(options.n_ctx, options.ctx_init, (len(class_names),) if options.class_specific else ())
        self.set_classes(class_names, template)

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """As PromptMethod.set_classes."""
        super().set_classes(class_names, template)
        if not self.stands_in_front:
            self._set_layout()

    def _set_layout(self) -> None:
        """Store which token or context vector is at each position of each class prompt.

        `_tokens` (C, L) holds token ids, `_slots` (C, L) the index of the context vector that replaces the token, or
        -1. The end token has the same position in every layout. The length of a name counts its own tokens only.
        """
        n_ctx = self.options.n_ctx
        ids = self.clip.tokenize([f"{self.prefix} {name}." for name in self.class_names])
        names = [len(row) - 2 for row in self.clip.tokenize(self.class_names)]
        length, device = max(len(row) for row in ids), self.ctx.device
        self._tokens = torch.zeros(len(ids), length, dtype=torch.long, device=device)
        self._slots = torch.full((len(ids), length), -1, device=device)
        self._ends = torch.tensor([len(row) - 1 for row in ids], device=device)
        before = {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[self.options.class_position]
        for c, (row, name) in enumerate(zip(ids, names, strict=True)):
            suffix = [(token, -1) for token in row[1 + n_ctx :]]
            context = [(0, m) for m in range(n_ctx)]
            layout = [(row[0], -1), *context[:before], *suffix[:name], *context[before:], *suffix[name:]]
            self._tokens[c, : len(layout)] = torch.tensor([token for token, _ in layout], device=device)
            self._slots[c, : len(layout)] = torch.tensor([slot for _, slot in layout], device=device)

    def encode_classes(self, context: Tensor) -> Tensor:
        """As PromptMethod.encode_classes; other layouts than context, name use the dense text encoder."""
        if self.stands_in_front:
            return super().encode_classes(context)
        own = self.ctx.expand(len(self.class_names), -1, -1) if self.transfers else self.ctx[self.rows]
        vectors = own.gather(1, self._slots.clamp(min=0)[..., None].expand(-1, -1, own.shape[-1]))  # (C, L, T)
        tokens = self.clip.text.embed(self._tokens).to(vectors.dtype)
        embeddings = torch.where((self._slots >= 0)[..., None], vectors, tokens)
        return self.clip.text.encode_dense(embeddings, self._ends)[None]  # (1, C, D)
