"""Find the words of the vocabulary that are nearest to learned context vectors, as in Table 4 of CoOp's paper.

Words are CLIP's tokens, distances Euclidean, between a context vector and a token's embedding without position.
Source: CoOp, arXiv 2109.01134; interpret_prompt.py at ff61507.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.clip.backbone import Clip
from benchmark.errors import ConfigError, did_you_mean
from benchmark.inspection.recorded_run import backbone_of, learned_by
from benchmark.records.record import RunRecord
from benchmark.training.reuse import LEARNED_SHA256, TRAINED_CLASSES

WORD_END = "</w>"  # suffix of CLIP's tokens at the end of a word
FIRST_CLASSES = 3  # of class-specific contexts, the number that is read if no class is named


@dataclass(frozen=True)
class Nearest:
    """One learned vector and its nearest words.

    Attributes:
        class_name: the class it belongs to; empty if all classes share it.
        number: its position in the context, from 1.
        words: (word, distance), nearest first.
    """

    class_name: str
    number: int
    words: Sequence[tuple[str, float]]


def nearest_words(record: RunRecord, path: Path, *, words: int, class_name: str | None = None) -> list[Nearest]:
    """Return the nearest words of each context vector of a recorded run.

    Args:
        path: of the record; its learned tensors are next to it.
        words: number of words per vector.
        class_name: for class-specific contexts, the class to read; None: the first FIRST_CLASSES.
    Raises:
        ConfigError: a method without context vectors, or a class that has no context of its own.
        RecordError: the learned tensors or the checkpoint are missing, damaged, or not the run's.
    """
    spec = record.spec
    context = learned_by(record, path).get("ctx") if LEARNED_SHA256 in record.provenance else None
    if context is None:
        raise ConfigError(
            f"{path}: '{spec.method}' learns no context vectors ('ctx') in front of class names, so it has no words. "
            "Give a record of coop, cocoop, kgcoop, prograd, copl, maple, promptsrc or tcp."
        )
    chosen = _chosen(record, path, context, class_name)
    clip = backbone_of(spec)
    return [
        Nearest(name, number, found)
        for name, vectors in chosen
        for number, found in enumerate(words_near(clip, vectors, words), start=1)
    ]


@torch.no_grad()
def words_near(clip: Clip, vectors: torch.Tensor, count: int) -> list[list[tuple[str, float]]]:
    """Return the nearest words and their distances for each vector (M, T); ties are in the vocabulary's order."""
    apart = torch.cdist(
        vectors.float(), clip.text.tokens.float(), compute_mode="donot_use_mm_for_euclid_dist"
    )  # (M, V)
    sorted_distances, token_ids = apart.sort(dim=-1, stable=True)
    tokens = clip.tokenizer.convert_ids_to_tokens(list(range(apart.shape[-1])))
    return [
        [(word_of(tokens[i]), distance) for i, distance in zip(near.tolist(), far.tolist(), strict=True)]
        for near, far in zip(token_ids[:, :count], sorted_distances[:, :count], strict=True)
    ]


def word_of(token: str | None) -> str:
    """Return a token without the end-of-word suffix; ? for an embedding row without a token."""
    return "?" if token is None else token.removesuffix(WORD_END)


def _chosen(
    record: RunRecord, path: Path, context: torch.Tensor, class_name: str | None
) -> list[tuple[str, torch.Tensor]]:
    """Return the contexts to read, (class name, (M, T)); the name is empty for a shared context."""
    if context.ndim == 2:
        if class_name is not None:
            raise ConfigError(
                f"--class {class_name}: all classes of {path.name} share one context; it is read without --class."
            )
        return [("", context)]
    names = list(record.provenance.get(TRAINED_CLASSES, []))
    if class_name is None:
        return list(zip(names[:FIRST_CLASSES], context, strict=False))
    if class_name not in names:
        raise ConfigError(
            f"--class {class_name}: {path.name} has no context of that class. {did_you_mean(class_name, names)}"
        )
    return [(class_name, context[names.index(class_name)])]
