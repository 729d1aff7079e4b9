"""Define the course of a training: optimizer, learning rate of each epoch, order of images, number of steps."""

import hashlib
import math
from collections.abc import Sequence

import torch

from benchmark.common.config import Training


def learning_rate(training: Training, epoch: int) -> float:
    """The learning rate of an epoch (from 0): a constant warm-up, then half a cosine.

    Source: dassl/optim/lr_scheduler.py at c61a1b5; the cosine's period is the number of epochs, so it ends above 0.
    """
    if epoch < training.warmup_epochs:
        return training.warmup_learning_rate
    angle = math.pi * (epoch - training.warmup_epochs) / training.epochs
    return 0.5 * training.learning_rate * (1 + math.cos(angle))


def make_optimizer(training: Training, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of a recipe for some parameters; the loop sets the rate before each epoch."""
    common = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=training.momentum, **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[training.optimizer]
    return kind(parameters, eps=training.epsilon, **common)


def batches_per_epoch(count: int, batch_size: int) -> int:
    """Steps of an epoch: the last incomplete batch is dropped, unless it is the only one."""
    return max(1, count // batch_size)


def shuffled(count: int, seed: int, epoch: int) -> list[int]:
    """The order of the images in an epoch, a function of (seed, epoch) alone."""
    generator = torch.Generator().manual_seed(generator_seed(f"{seed} shuffle {epoch}"))
    return torch.randperm(count, generator=generator).tolist()


def generator_seed(purpose: str) -> int:
    """A seed of 63 bits for a random generator; the text `purpose` contains the seed of the run."""
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big") >> 1
