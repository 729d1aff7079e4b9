"""Do one optimizer step for copies of a method, in Accelerate's precision and as a CUDA graph where possible."""

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs, get_mixed_precision_context_manager
from torch import Tensor

from benchmark.clip.backbone import ImageFeatures
from benchmark.clip.text import in_memory
from benchmark.method import Method
from benchmark.training.cuda_graphs import Compute, recorded
from benchmark.training.lockstep import backward, losses_of


class Stepper:
    """Does the optimizer steps of copies of a method; on a CUDA GPU it replays a recorded step where possible."""

    def __init__(self, methods: Sequence[Method], optimizer, accelerator: Accelerator, *, graphs: bool):
        self.methods, self.optimizer, self.accelerator = methods, optimizer, accelerator
        self._parameters = [p for method in methods for p in method.learnable()]
        # loss scaling decides on the CPU whether to step, and the weight cache of autocast does not survive a replay
        self._record = graphs and accelerator.device.type == "cuda" and accelerator.scaler is None
        settings = AutocastKwargs(cache_enabled=not self._record)
        # not accelerator.autocast(), which copies the environment in every step
        self._autocast = get_mixed_precision_context_manager(accelerator.native_amp, settings)
        self._replay: Compute | None = None

    def step(self, images: Sequence[ImageFeatures], labels: Sequence[Tensor]) -> Tensor:
        """Do one step of all copies, each on its own batch; return their total losses, detached."""
        if self._record:
            self._replay, self._record = recorded(self._gradients, images, labels, self._parameters), False
        if self._replay is not None:
            totals = self._replay(images, labels)
        else:
            totals = in_memory(self.methods[0].clip.text, lambda: self._fresh_gradients(images, labels))
        self.optimizer.step()
        return totals

    def _fresh_gradients(self, images: Sequence[ImageFeatures], labels: Sequence[Tensor]) -> Tensor:
        self.optimizer.zero_grad()
        return self._gradients(images, labels)

    def _gradients(self, images: Sequence[ImageFeatures], labels: Sequence[Tensor]) -> Tensor:
        with self._autocast:
            losses = losses_of(self.methods, images, labels)
        scaler = self.accelerator.scaler
        factor = None if scaler is None else scaler.scale(torch.ones((), device=labels[0].device))
        backward(self.methods, losses if factor is None else [own.scaled(factor) for own in losses])
        return torch.stack([own.total.detach() for own in losses])
