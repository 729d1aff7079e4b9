"""How a training goes by: its optimiser, the rate of each epoch, the order of its images, how many steps it takes."""

import hashlib
import math
from collections.abc import Sequence

import torch

from benchmark.common.config import Training


def learning_rate(training: Training, epoch: int) -> float:
    """The rate of an epoch (from 0): a constant warm-up, then a half cosine that starts after it.

    Source: dassl/optim/lr_scheduler.py at c61a1b5; the cosine's period is the number of epochs, so it ends above 0.
    """
    if epoch < training.warmup_epochs:
        return training.warmup_learning_rate
    turned = math.pi * (epoch - training.warmup_epochs) / training.epochs
    return 0.5 * training.learning_rate * (1 + math.cos(turned))


def make_optimizer(training: Training, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of a recipe over some parameters; the rate of each epoch is set before it."""
    common = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=training.momentum, **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[training.optimizer]
    return kind(parameters, eps=training.epsilon, **common)


def batches_per_epoch(count: int, batch_size: int) -> int:
    """Steps of an epoch: the last incomplete batch is dropped, unless it would be the only one."""
    return max(1, count // batch_size)


def shuffled(count: int, seed: int, epoch: int) -> list[int]:
    """The order of an epoch, a function of (seed, epoch) alone."""
    generator = torch.Generator().manual_seed(generator_seed(f"{seed} shuffle {epoch}"))
    return torch.randperm(count, generator=generator).tolist()


def generator_seed(purpose: str) -> int:
    """A generator's seed of 63 bits for a purpose, the run's seed being part of its words."""
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big") >> 1
