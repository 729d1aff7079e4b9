"""ProGrad: CoOp that only takes steps which zero-shot CLIP does not object to.

Zhu et al., "Prompt-aligned Gradient for Prompt Tuning", ICCV 2023, arXiv 2205.14865; trainers/prograd.py and
dassl/engine/trainer.py (prograd_backward_and_update) of Prompt-align at 1b76203. The paper calls the second loss a KL
divergence; the code's cross-entropy to the teacher differs from it by a constant, so its gradient is the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.errors import ConfigError
from benchmark.method import Losses, filled
from benchmark.prompts import PromptMethod, cosine_logits, initial_context


@dataclass(frozen=True, kw_only=True)
class ProGradOptions:
    """Options of ProGrad.

    Attributes:
        n_ctx: M, learned context vectors.
        ctx_init: words to start from, right-aligned in the M vectors with zeros before them; "template" takes the
            words that stand before the class name in the template; None starts from N(0, 0.02).
        temperature: T of the softened distributions of student and teacher.
        projection: lambda, the share of the conflicting part of the gradient that is removed.
    """

    n_ctx: int
    ctx_init: str | None
    temperature: float
    projection: float

    def __post_init__(self) -> None:
        if self.n_ctx < 1:
            raise ConfigError(f"n_ctx is {self.n_ctx}; at least 1 context vector is needed.")
        if self.ctx_init is not None and not self.ctx_init.split():
            raise ConfigError("ctx_init is empty. Give words to start from, template, or null for a random start.")
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}; it divides the logits, so it must be above 0.")
        if self.projection < 0:
            raise ConfigError(f"projection is {self.projection}; it must be 0 (none removed) or more.")


class ProGrad(PromptMethod):
    """Cross-entropy, its gradient projected where it opposes the knowledge loss; the learned tensor is `ctx`."""

    Options = ProGradOptions
    edits_gradients = True

    def __init__(self, clip: Clip, options: ProGradOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)
        if options.ctx_init is None:
            self.start_context(options.n_ctx, None)
        else:
            words = _words_before_name(template if options.ctx_init == "template" else options.ctx_init)
            self._start_right_aligned(words)
        self.set_classes(class_names, template)

    def _start_right_aligned(self, words: str) -> None:
        """Put the words' embeddings into the last context vectors, zeros into those before."""
        self.prefix, count = self._padded(words), len(words.split())
        shape = (self.options.n_ctx, self.clip.token_width)
        vectors = torch.zeros(shape, dtype=self.clip.learnable_dtype, device=self.clip.device)
        if count:
            vectors[-count:] = initial_context(self.clip, words)[0]
        self.ctx = nn.Parameter(vectors)

    def _padded(self, words: str) -> str:
        """The words behind as many placeholders as are missing to M, for the tokeniser."""
        missing = self.options.n_ctx - len(words.split())
        if missing < 0:
            raise ConfigError(
                f"ProGrad: '{words}' has {len(words.split())} words, but n_ctx is {self.options.n_ctx}. "
                "Raise n_ctx or name fewer words in ctx_init."
            )
        return " ".join(["X"] * missing + words.split())

    @classmethod
    def settle(cls, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """As Method.settle: n_ctx and ctx_init never contradict here, since words may fill a part of the context."""
        return {**defaults, **given}

    def prefix_for(self, template: str) -> str:
        """As PromptMethod.prefix_for.

        Where the context started from the template, the words that the tokeniser sees before a name are those of the
        template in force: with a comma in them the last token of the words is left over and stays in the suffix.
        """
        return self._padded(_words_before_name(template)) if self.options.ctx_init == "template" else self.prefix

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """As PromptMethod.set_classes; also encodes the teacher's prompts, the template with each name."""
        teacher = self.clip.encode_texts(filled(class_names, template))[None]  # (1, C, D)
        super().set_classes(class_names, template)
        self._teacher = teacher

    def loss(self, images: ImageFeatures, labels: Tensor) -> Losses:
        """Term `cross_entropy`; steering `knowledge`, the cross-entropy of the student to softened zero-shot CLIP."""
        logits, temperature = self(images), self.options.temperature
        with torch.no_grad():
            teacher = cosine_logits(self.clip, images.pooled, self._teacher)
        softened = F.cross_entropy(logits / temperature, (teacher / temperature).softmax(dim=-1))
        return Losses({"cross_entropy": F.cross_entropy(logits, labels)}, {"knowledge": temperature**2 * softened})

    def edit_gradients(self, gradients: Sequence[Tensor], steering: Sequence[Tensor]) -> list[Tensor]:
        """The gradient of the total, less `projection` times its part against the knowledge loss where they conflict.

        Decided for each parameter tensor. A knowledge gradient of zero conflicts with nothing and leaves the other.
        """
        used = []
        for gradient, guide in zip(gradients, steering, strict=True):
            # `direction` is used only under a negative product, where the norm of the guide cannot be zero.
            direction = guide / guide.norm()
            along = (gradient * direction).sum()
            used.append(torch.where(along < 0, gradient - self.options.projection * along * direction, gradient))
        return used


def _words_before_name(template: str) -> str:
    """What stands before the class name in a template; for "{} texture." nothing, and all of the context is zeros."""
    return " ".join(template.split("{}")[0].replace("_", " ").split())
