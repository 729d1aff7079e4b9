"""Repeat a computation in smaller chunks when it runs out of memory."""

from collections.abc import Callable
from typing import TypeVar

import torch

from benchmark.clip.text import TextEncoder

Result = TypeVar("Result")


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
