"""What to do when a computation does not fit: take it in smaller chunks and go on."""

from collections.abc import Callable
from typing import TypeVar

import torch

from benchmark.clip.text import TextEncoder

Result = TypeVar("Result")


def ran_out_of_memory(error: RuntimeError) -> bool:
    """Whether this is a GPU's or a CPU's allocator that gave up."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def in_memory(encoder: TextEncoder, work: Callable[[], Result]) -> Result:
    """What `work` returns, called again with halved chunks of prompts for as long as it runs out of memory.

    `work` must be repeatable: whatever it left behind halfway, it clears at its start.
    """
    while True:
        try:
            return work()
        except RuntimeError as error:
            if not ran_out_of_memory(error) or not encoder.halve_chunks():
                raise
        free_memory()


def free_memory() -> None:
    """Give back what a failed attempt held; to be called outside its handler, for the error's frames hold tensors."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
