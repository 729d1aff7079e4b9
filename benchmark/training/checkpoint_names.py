"""Tell the learned tensors of an authors' checkpoint from the others, and read options from their names and shapes.

The code of the authors saves the prompt learner alone, or the whole model with the frozen CLIP in it.
"""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

LEARNERS = ("prompt_learner.", "adapter_learner.", "representation_learner.")  # the part that learns
PREFIXES = ("module.", *LEARNERS)  # of names, in any order and number
FROZEN = ("image_encoder.", "text_encoder.", "ZS_image_encoder.", "logit_scale")  # parts of CLIP, and PromptSRC's copy
# Embeddings and numbers of the tokens that are not learned; TCP's code saves the middle ones too, MMA's all of them
FIXED = ("token_prefix", "token_suffix", "token_midfix", "token_embedding", "tokenized_prompts")
# Learned tensors inside the authors' towers, and their names in `learned_state`; PromptSRC and IVLP, MMRL
INSIDE = (
    (r"image_encoder\.VPT", "vision_prompts.0"),
    (r"image_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow", r"vision_prompts.\1"),
    (r"text_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow", r"text_prompts.\1"),
    (r"image_encoder\.proj_rep", "proj_rep"),
)
FIRST_POSITION = "text_encoder.positional_embedding"  # of the frozen CLIP of a whole model, (77, T)


def bare(name: str) -> str:
    """A name without the prefixes of PREFIXES."""
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name


def own_names(names: Collection[str]) -> dict[str, str]:
    """From names in a file to those in `Method.learned_state`, for tensors that are not of the frozen CLIP.

    If the file holds a learner, everything outside it is CLIP's except INSIDE; else only FROZEN is.
    """
    whole, found = any(_in_learner(name) for name in names), {}
    for name in names:
        plain = bare(name)
        inside = [re.sub(theirs, own, plain) for theirs, own in INSIDE if re.fullmatch(theirs, plain)]
        if inside:
            found[name] = inside[0]
        elif not plain.startswith(FROZEN) and (_in_learner(name) or not whole):
            found[name] = plain
    return found


def _in_learner(name: str) -> bool:
    return any(learner in name for learner in LEARNERS)


def unused_names(names: Collection[str]) -> tuple[str, ...]:
    """Names of tensors that KgCoOp's code saves with the context and never uses (trainers/kgcoop.py at 98d11b8).

    Its network has one layer. That of TCP, by the same authors, has two and is used.
    """
    if "bias_vectors" not in names:
        return ()
    network = () if "meta_net.linear2.weight" in names else ("meta_net.linear1.bias", "meta_net.linear1.weight")
    return ("bias_vectors", *(name for name in network if name in names))


def shown_options(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The options that names and shapes of learned tensors show: lengths, depths, widths and layers."""
    context = tensors.get("ctx")
    found: dict[str, int | None] = {}
    if context is not None and context.ndim in (2, 3):
        found |= {"n_ctx": context.shape[-2], "class_specific": context.ndim == 3}
    if "proj.weight" in tensors:  # MaPLe
        found |= {"depth": 1 + len(_numbers(tensors, "compound_prompts_text"))}
    if "vision_prompts.0" in tensors:  # PromptSRC
        found |= {"depth": 1 + len(_numbers(tensors, "text_prompts"))}
        found |= {"depth_vision": len(_numbers(tensors, "vision_prompts"))}
        found |= {"n_ctx_vision": _size(tensors, "vision_prompts.0", 0)}
    if layers := _numbers(tensors, "shared_adapter"):  # MMA
        found |= {"first": min(layers), "last": max(layers)}
        found |= {"dim": _size(tensors, f"shared_adapter.{min(layers)}.0.weight", 0)}
    if "compound_rep_tokens" in tensors:  # MMRL; of its layers only the number shows
        found |= {"n_tokens": _size(tensors, "compound_rep_tokens", 0), "dim": _size(tensors, "compound_rep_tokens", 1)}
    return {name: value for name, value in found.items() if value is not None}


def _numbers(names: Collection[str], start: str) -> set[int]:
    """The numbers behind `start` in names such as "start.2.weight"."""
    return {int(found[1]) for name in names if (found := re.match(rf"{start}\.(\d+)\b", name))}


def _size(tensors: Mapping[str, Tensor], name: str, axis: int) -> int | None:
    """The size of a matrix along an axis; None if it is missing, or no matrix."""
    matrix = tensors.get(name)
    return matrix.shape[axis] if matrix is not None and matrix.ndim == 2 else None
