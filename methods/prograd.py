"""Implement ProGrad: CoOp without the part of its gradient that conflicts with zero-shot CLIP.

Zhu et al., "Prompt-aligned Gradient for Prompt Tuning", ICCV 2023, arXiv 2205.14865; trainers/prograd.py and
dassl/engine/trainer.py (prograd_backward_and_update) of Prompt-align at 1b76203. The paper calls the second loss a KL
divergence; the cross-entropy of the code differs from it by a constant, so the gradient is the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.errors import ConfigError
from benchmark.method import Losses, fill_template
from benchmark.prompts import PromptMethod, check_words, cosine_logits, initial_context


@dataclass(frozen=True, kw_only=True)
class ProGradOptions:
    """Options of ProGrad.

    Attributes:
        n_ctx: M, the number of learned context vectors.
        ctx_init: words to start from, right-aligned in the M vectors with zeros before them; "template" takes the
            words before the class name in the template; None starts from N(0, 0.02).
        temperature: T of the softened distributions of student and teacher.
        projection: lambda, the fraction of the conflicting part of the gradient that is removed.
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
        check_words(self.ctx_init)
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}; it divides the logits, so it must be above 0.")
        if self.projection < 0:
            raise ConfigError(f"projection is {self.projection}; it must be 0 (none removed) or more.")


class ProGrad(PromptMethod):
    """Cross-entropy with its gradient projected if it conflicts with the knowledge loss; learns `ctx`."""

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
        """Set the last context vectors to the embeddings of the words and those before to zero."""
        self.prefix, count = self._padded(words), len(words.split())
        shape = (self.options.n_ctx, self.clip.token_width)
        vectors = torch.zeros(shape, dtype=self.clip.learnable_dtype, device=self.clip.device)
        if count:
            vectors[-count:] = initial_context(self.clip, words)[0]
        self.ctx = nn.Parameter(vectors)

    def _padded(self, words: str) -> str:
        """Return the words for the tokenizer, padded on the left to M with placeholders."""
        missing = self.options.n_ctx - len(words.split())
        if missing < 0:
            raise ConfigError(
                f"ProGrad: '{words}' has {len(words.split())} words, but n_ctx is {self.options.n_ctx}. "
                "Raise n_ctx or name fewer words in ctx_init."
            )
        return " ".join(["X"] * missing + words.split())

    @classmethod
    def settle(cls, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """As Method.settle: n_ctx and ctx_init do not conflict, since words may fill a part of the context."""
        return {**defaults, **given}

    def prefix_for(self, template: str) -> str:
        """As PromptMethod.prefix_for; a context that started from the template uses the words of the current template.

        A comma in these words adds a token, so the last token of the words stays in the suffix.
        """
        return self._padded(_words_before_name(template)) if self.options.ctx_init == "template" else self.prefix

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """As PromptMethod.set_classes; also encodes the prompts of the teacher, the template with each name."""
        teacher = self.clip.encode_texts(fill_template(class_names, template))[None]  # (1, C, D)
        super().set_classes(class_names, template)
        self._teacher = teacher

    def loss(self, images: ImageFeatures, labels: Tensor) -> Losses:
        """Return the term `cross_entropy` and the steering `knowledge`: cross-entropy to softened zero-shot CLIP."""
        logits, temperature = self(images), self.options.temperature
        with torch.no_grad():
            teacher = cosine_logits(self.clip, images.pooled, self._teacher)
        softened = F.cross_entropy(logits / temperature, (teacher / temperature).softmax(dim=-1))
        return Losses({"cross_entropy": F.cross_entropy(logits, labels)}, {"knowledge": temperature**2 * softened})

    def edit_gradients(self, gradients: Sequence[Tensor], steering: Sequence[Tensor]) -> list[Tensor]:
        """Subtract `projection` times the part of the gradient that conflicts with the knowledge loss.

        Each parameter tensor is decided separately. A knowledge gradient of zero changes nothing.
        """
        used = []
        for gradient, guide in zip(gradients, steering, strict=True):
            # `direction` is used only if the product is negative, and then the norm of `guide` is not zero.
            direction = guide / guide.norm()
            along = (gradient * direction).sum()
            used.append(torch.where(along < 0, gradient - self.options.projection * along * direction, gradient))
        return used


def _words_before_name(template: str) -> str:
    """Return the words before the class name; "{} texture." has none, and the context is then all zeros."""
    return " ".join(template.split("{}")[0].replace("_", " ").split())
