"""Blocks that methods share: logits, learned context vectors, the image-conditional network, hand-written prompts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.clip.text import unit
from benchmark.common.constants import CONTEXT_STD
from benchmark.errors import ConfigError
from benchmark.method import Method, cleaned, filled


def cosine_logits(clip: Clip, pooled: Tensor, text: Tensor) -> Tensor:
    """Logits of images against text features, both of unit length.

    Args:
        pooled: (B, D).
        text: (1, C, D), shared by all images, or (B, C, D), each image's own.
    Returns:
        (B, C), in at least float32 whatever autocast says: bfloat16 would round a logit of 30 to steps of 0.125.
    """
    with torch.autocast(pooled.device.type, enabled=False):
        scaled = clip.logit_scale.to(text.dtype) * pooled.to(text.dtype)
        if text.shape[0] == 1:
            return scaled @ text[0].T
        # not einsum: the gradient of `text` would come with its axes in another order in memory, and would be summed
        # in another order than where several seeds share a pass
        return torch.bmm(text, scaled[..., None])[..., 0]


def initial_context(clip: Clip, words: str) -> tuple[Tensor, str]:
    """Context vectors that start as words: (M, T) with M the number of blank-separated words, and the cleaned words.

    Words are counted, not tokens, as the authors do: where punctuation makes a token of its own, the last tokens of
    the text stay in the suffix. Source: CoOp trainers/coop.py at ff61507.
    """
    words = " ".join(words.replace("_", " ").split())
    count = len(words.split())
    ids = torch.tensor(clip.tokenize([words])[0][1 : 1 + count], device=clip.device)
    return clip.text.embed(ids).to(clip.learnable_dtype, copy=True), words


def random_context(clip: Clip, *shape: int) -> Tensor:
    """Context vectors (*shape, T) drawn from N(0, 0.02), from the generator that the harness seeded."""
    vectors = torch.randn(*shape, clip.token_width, dtype=clip.learnable_dtype) * CONTEXT_STD
    return vectors.to(clip.device)


class MetaNet(nn.Module):
    """CoCoOp's bottleneck from an image (or patch) embedding to a shift of the context.

    Linear(in_width, D // 16), ReLU, Linear(D // 16, T), with torch's default start.
    Source: CoCoOp, arXiv 2203.05557; trainers/cocoop.py at ff61507.
    """

    def __init__(self, clip: Clip, in_width: int):
        super().__init__()
        hidden, dtype = max(1, clip.joint_width // 16), clip.learnable_dtype
        self.linear1 = nn.Linear(in_width, hidden, dtype=dtype)
        self.linear2 = nn.Linear(hidden, clip.token_width, dtype=dtype)
        self.to(clip.device)

    def forward(self, features: Tensor) -> Tensor:
        """(..., in_width) to (..., T)."""
        return self.linear2(torch.relu(self.linear1(features.to(self.linear1.weight.dtype))))


class PromptMethod(Method):
    """A method whose class prompts are [start, M context vectors, class name, ".", end].

    A subclass sets `self.ctx` and `self.prefix` (the M words that stand before a name when it is tokenised) and ends
    its `__init__` with `set_classes`. `context(images)` says what stands in front of the names: the learned vectors
    themselves, unless the method overrides it to condition them on the images.
    """

    ctx: nn.Parameter  # (M, T)
    prefix: str
    conditional = False  # the context depends on the images
    stands_in_front = True  # all classes share their context, so `text_plan` says how the prompts are encoded

    @classmethod
    def settle(cls, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """As Method.settle; a default ctx_init gives way to a given n_ctx that contradicts it, and the reverse."""
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
        """Make the learnable context from words, or from random numbers where `ctx_init` is None."""
        if ctx_init is None:
            vectors, self.prefix = random_context(self.clip, *copies, n_ctx), " ".join(["X"] * n_ctx)
        else:
            vectors, self.prefix = initial_context(self.clip, ctx_init)
        self.ctx = nn.Parameter(vectors)

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """As Method.set_classes; the prompt of class c is tokenised as "<prefix> <name>." as the authors do."""
        prefix, n_ctx = self.prefix_for(template), self.ctx.shape[-2]
        ids = self.clip.tokenize([f"{prefix} {name}." for name in cleaned(class_names, template)])
        plan = self.clip.plan([row[1 + n_ctx :] for row in ids], n_ctx)
        super().set_classes(class_names, template)  # from here on nothing can be refused
        self.prefix, self.text_plan = prefix, plan
        self._remembered: tuple[Tensor, torch.dtype | None, Tensor] | None = None
        self._given: Tensor | None = None

    def prefix_for(self, template: str) -> str:
        """The words that stand before a name under a template; ordinarily those of the start."""
        return self.prefix

    def context(self, images: ImageFeatures) -> Tensor:
        """Context vectors of these images: (1, M, T) where they share it, else (B, M, T)."""
        return self.ctx[None]

    def encode_classes(self, context: Tensor) -> Tensor:
        """Text features (1 or B, C, D) of all classes behind these contexts."""
        return self.clip.text.encode(self.text_plan, context)

    def text_features(self, images: ImageFeatures) -> Tensor:
        """Text features for these images, (1 or B, C, D), unit length.

        Outside training, a context that all images share is encoded once and remembered until its values change.
        The values are compared, not a counter: `.data` can be written without any counter moving.
        """
        if self._given is not None:
            return self._given
        if self.conditional or torch.is_grad_enabled():
            return self.encode_classes(self.context(images))
        kind = self.ctx.device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        if self._remembered is not None:
            values, under_autocast, features = self._remembered
            if under_autocast == autocast and torch.equal(values, self.ctx):
                return features
        features = self.encode_classes(self.context(images))
        self._remembered = (self.ctx.detach().clone(), autocast, features)
        return features

    @contextmanager
    def given(self, features: Tensor) -> Iterator[None]:
        """Take these text features for those of the images at hand, encoded elsewhere together with others."""
        self._given = features
        try:
            yield
        finally:
            self._given = None

    def forward(self, images: ImageFeatures) -> Tensor:
        """Logits (B, C)."""
        return cosine_logits(self.clip, images.pooled, self.text_features(images))


def check_context_keys(n_ctx: int, ctx_init: str | None) -> None:
    """Refuse a context length that is no length, or that the given words contradict.

    Raises:
        ConfigError: n_ctx below 1, no words in ctx_init, or two keys that disagree.
    """
    count = None if ctx_init is None else len(ctx_init.replace("_", " ").split())
    if count == 0:
        raise ConfigError("ctx_init is empty. Give words to start from, or null for a random start.")
    if n_ctx < 1:
        raise ConfigError(f"n_ctx is {n_ctx}; at least 1 context vector is needed.")
    if count not in (None, n_ctx):
        raise ConfigError(
            f"ctx_init '{ctx_init}' has {count} words, but n_ctx is {n_ctx}. Give one of the two, or make them agree."
        )


@dataclass(frozen=True, kw_only=True)
class TemplateOptions:
    """What every method on hand-written prompts may be told.

    Attributes:
        templates: ensemble these templates instead of using the dataset's one; None uses that.
    """

    templates: tuple[str, ...] | None

    def __post_init__(self) -> None:
        wrong = [template for template in self.templates or () if template.count("{}") != 1]
        if wrong or self.templates == ():
            raise ConfigError(f"templates must be a list of texts with {{}} exactly once; got {wrong or 'none'}.")


class TemplateMethod(Method):
    """A method on frozen hand-written prompts: `text` (C, D) is each class's feature, the mean over the templates.

    A subclass has TemplateOptions among its own, and makes its learnable parameters after `super().__init__`.

    Attributes:
        unit_length: the features and their mean are brought to unit length; False leaves them as the tower makes them.
    """

    unit_length = True

    def __init__(self, clip: Clip, options: TemplateOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        self.set_classes(class_names, template)

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """As Method.set_classes; encodes the classes at once, since nothing in their prompts ever changes."""
        templates = self.options.templates or (template,)
        filled_in = [filled(class_names, one) for one in templates]
        features = [self.clip.encode_texts(texts, unit_length=self.unit_length) for texts in filled_in]
        super().set_classes(class_names, template)
        mean = torch.stack(features).mean(dim=0)
        self.text = features[0] if len(features) == 1 else unit(mean) if self.unit_length else mean  # (C, D)
