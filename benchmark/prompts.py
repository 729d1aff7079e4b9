"""Provide the parts that methods share: logits, learned context vectors, CoCoOp's network, hand-written prompts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.clip.text import unit
from benchmark.common.constants import CONTEXT_STD
from benchmark.errors import ConfigError
from benchmark.method import Losses, Method, clean_class_names, fill_template

MOST_VECTORS = 1000  # no text encoder takes as many, and more may not fit into memory before that shows


def cosine_logits(clip: Clip, pooled: Tensor, text: Tensor, factor: float | None = None) -> Tensor:
    """Return the scaled cosines of image and text features, both of unit length.

    Args:
        pooled: (B, D).
        text: (1, C, D), shared by all images, or (B, C, D), one set for each image.
        factor: of the cosines; None: CLIP's.
    Returns:
        (B, C), in at least float32 even under autocast: bfloat16 would round a logit of 30 to steps of 0.125.
    """
    with torch.autocast(pooled.device.type, enabled=False):
        scaled = (clip.logit_scale.to(text.dtype) if factor is None else factor) * pooled.to(text.dtype)
        if text.shape[0] == 1:
            return scaled @ text[0].T
        # not einsum: it would lay out the gradient of `text` differently in memory, and its sum would then have
        # another order than when several seeds share a pass
        return torch.bmm(text, scaled[..., None])[..., 0]


def knowledge_losses(logits: Tensor, labels: Tensor, text: Tensor, frozen: Tensor, weight: float) -> Losses:
    """Return the terms `cross_entropy` and `knowledge`: the weighted mean `1 - cos` of learned and frozen features.

    Args:
        text, frozen: (C, D).
    Source: KgCoOp trainers/kgcoop.py at c43ccc3; TCP trainers/tcp.py at bd97bec has the same.
    """
    distance = 1 - F.cosine_similarity(text, frozen, eps=1e-7).mean()
    return Losses({"cross_entropy": F.cross_entropy(logits, labels), "knowledge": weight * distance})


def initial_context(clip: Clip, words: str) -> tuple[Tensor, str]:
    """Return the token embeddings (M, T) of words as start of a context, and the normalized words.

    M is the number of space-separated words, not of tokens, as in the authors' code: if punctuation adds tokens, the
    last tokens of the text stay in the suffix. Source: CoOp trainers/coop.py at ff61507.
    """
    words = " ".join(words.replace("_", " ").split())
    count = len(words.split())
    ids = torch.tensor(clip.tokenize([words])[0][1 : 1 + count], device=clip.device)
    return clip.text.embed(ids).to(clip.learnable_dtype, copy=True), words


def random_context(clip: Clip, *shape: int) -> Tensor:
    """Sample context vectors (*shape, T) from N(0, 0.02) with the generator that the harness seeds."""
    vectors = torch.randn(*shape, clip.token_width, dtype=clip.learnable_dtype) * CONTEXT_STD
    return vectors.to(clip.device)


class MetaNet(nn.Module):
    """CoCoOp's bottleneck network from an image (or patch) embedding to a shift of the context.

    Linear(in_width, D // 16), ReLU, Linear(D // 16, T), with torch's default initialization.
    Source: CoCoOp, arXiv 2203.05557; trainers/cocoop.py at ff61507.
    """

    def __init__(self, clip: Clip, in_width: int):
        super().__init__()
        hidden, dtype = max(1, clip.joint_width // 16), clip.learnable_dtype
        self.linear1 = nn.Linear(in_width, hidden, dtype=dtype)
        self.linear2 = nn.Linear(hidden, clip.token_width, dtype=dtype)
        self.to(clip.device)

    def forward(self, features: Tensor) -> Tensor:
        """Map (..., in_width) to (..., T)."""
        return self.linear2(torch.relu(self.linear1(features.to(self.linear1.weight.dtype))))


class PromptMethod(Method):
    """Base class of methods whose class prompts are [start, M context vectors, class name, ".", end].

    A subclass sets `self.ctx` and `self.prefix` (the M words before a name when it is tokenized; `start_context` sets
    both) and ends its `__init__` with `set_classes`. A method that conditions the context on the images overrides
    `context`.
    """

    ctx: nn.Parameter  # (M, T)
    prefix: str
    conditional = False  # whether the context depends on the images
    stands_in_front = True  # whether all classes share a context in front of the name, encoded by `text_plan`

    @classmethod
    def settle(cls, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """As Method.settle; a given n_ctx replaces a default ctx_init that contradicts it, and the reverse."""
        settled = {**defaults, **given}
        words = settled.get("ctx_init")
        if not isinstance(words, str) or "n_ctx" not in settled:
            return settled
        count = len(words.replace("_", " ").split())
        if "ctx_init" not in given and (settled["n_ctx"] != count or settled.get("class_specific")):
            settled["ctx_init"] = None
        elif "ctx_init" in given and "n_ctx" not in given:
            settled["n_ctx"] = count
        return settled

    def start_context(self, n_ctx: int, ctx_init: str | None, copies: tuple[int, ...] = ()) -> None:
        """Create the learnable context from words, or at random if `ctx_init` is None."""
        if ctx_init is None:
            vectors, self.prefix = random_context(self.clip, *copies, n_ctx), " ".join(["X"] * n_ctx)
        else:
            vectors, self.prefix = initial_context(self.clip, ctx_init)
        self.ctx = nn.Parameter(vectors)

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """As Method.set_classes; tokenizes each prompt with words in the place of the context vectors."""
        prefix, n_ctx = self.prefix_for(template), self.ctx.shape[-2]
        ids = self.clip.tokenize(self.prompts(prefix, clean_class_names(class_names, template), template))
        plan = self.clip.plan([row[1 + n_ctx :] for row in ids], n_ctx)
        super().set_classes(class_names, template)  # raises before anything changes
        self.prefix, self.text_plan = prefix, plan
        self._kept: tuple[list[Tensor], torch.dtype | None, Tensor] | None = None
        self._given: Tensor | None = None

    def prefix_for(self, template: str) -> str:
        """Return the words before a name for a template; by default those that the context started from."""
        return self.prefix

    def prompts(self, prefix: str, names: Sequence[str], template: str) -> list[str]:
        """Return the text of each class; by default "<prefix> <name>.", as in CoOp's code."""
        return [f"{prefix} {name}." for name in names]

    def context(self, images: ImageFeatures) -> Tensor:
        """Return the context vectors: (1, M, T) if all images share them, else (B, M, T)."""
        return self.ctx[None]

    def encode_classes(self, context: Tensor) -> Tensor:
        """Return text features (1 or B, C, D) of all classes after these contexts."""
        return self.clip.text.encode(self.text_plan, context)

    def text_features(self, images: ImageFeatures) -> Tensor:
        """Return text features for these images, (1 or B, C, D), of unit length.

        Outside training, features that all images share are kept until a learned value changes. The check compares
        values, not version counters, which do not notice writes to `.data`.
        """
        if self._given is not None:
            return self._given
        if self.conditional or torch.is_grad_enabled():
            return self.encode_classes(self.context(images))
        kind, current = self.clip.device.type, list(self.parameters())
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        if self._kept is not None:
            values, under_autocast, features = self._kept
            if under_autocast == autocast and all(map(torch.equal, values, current)):
                return features
        features = self.encode_classes(self.context(images))
        self._kept = ([value.detach().clone() for value in current], autocast, features)
        return features

    @contextmanager
    def given(self, features: Tensor) -> Iterator[None]:
        """Use these text features inside the block; lockstep training encodes those of several seeds together."""
        self._given = features
        try:
            yield
        finally:
            self._given = None

    def forward(self, images: ImageFeatures) -> Tensor:
        """Return logits (B, C)."""
        return cosine_logits(self.clip, images.pooled, self.text_features(images))


def check_context_keys(n_ctx: int, ctx_init: str | None) -> None:
    """Check the length of a context and the words that it starts from.

    Raises:
        ConfigError: n_ctx is out of range, ctx_init has no words, or the two disagree.
    """
    count = None if ctx_init is None else len(ctx_init.replace("_", " ").split())
    check_words(ctx_init)
    if count == 0:
        raise ConfigError("ctx_init is empty. Give words to start from, or null for a random start.")
    if not 1 <= n_ctx <= MOST_VECTORS:
        raise ConfigError(f"n_ctx is {n_ctx}; give at least 1, and fewer than a prompt has tokens (77 in most CLIPs).")
    if count not in (None, n_ctx):
        raise ConfigError(
            f"ctx_init '{ctx_init}' has {count} words, but n_ctx is {n_ctx}. Give one of the two, or make them agree."
        )


def check_words(ctx_init: str | None) -> None:
    """Raise ConfigError for a template where words are needed: its {} would become context vectors."""
    if ctx_init is not None and "{}" in ctx_init:
        raise ConfigError(f"ctx_init '{ctx_init}' has {{}}; give the words before the class name alone, without it.")


@dataclass(frozen=True, kw_only=True)
class TemplateOptions:
    """Options of every method with hand-written prompts.

    Attributes:
        templates: templates to average over; None uses the template of the dataset.
    """

    templates: tuple[str, ...] | None

    def __post_init__(self) -> None:
        wrong = [template for template in self.templates or () if template.count("{}") != 1]
        if wrong or self.templates == ():
            raise ConfigError(f"templates must be a list of strings with {{}} exactly once; got {wrong or 'none'}.")


class TemplateMethod(Method):
    """Base class of methods with frozen hand-written prompts; `text` (C, D) is the mean feature over the templates.

    The options of a subclass extend TemplateOptions. It creates its learnable parameters after `super().__init__`.

    Attributes:
        unit_length: whether the features and their mean are normalized; False keeps the length that the tower gives.
    """

    unit_length = True

    def __init__(self, clip: Clip, options: TemplateOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        self.set_classes(class_names, template)

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """As Method.set_classes; encodes the prompts, which never change."""
        templates = self.options.templates or (template,)
        prompts = [fill_template(class_names, one) for one in templates]
        features = [self.clip.encode_texts(texts, unit_length=self.unit_length) for texts in prompts]
        super().set_classes(class_names, template)
        mean = torch.stack(features).mean(dim=0)
        self.text = features[0] if len(features) == 1 else unit(mean) if self.unit_length else mean  # (C, D)
