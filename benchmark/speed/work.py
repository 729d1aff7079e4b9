"""Prepare a computation for both sides, the authors' and ours, with the same images, labels and initial values."""

from typing import Literal

import torch

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.common.constants import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY
from benchmark.costs.operations import Tower, text_operations
from benchmark.method import Method
from benchmark.plugins.factory import create_method
from benchmark.speed.plain.text import make_plain

TEMPLATE = "a photo of a {}."


class Work:
    """A training step, or scoring, of one method.

    Args:
        what: "gradients" (loss and backward), "step" (and the optimizer), or "scoring" (logits only).
        encode: the plain side encodes the images each time, as the authors do; ours always uses stored features.
        plain_images: the plain side computes only the first so many of the images; default: all.
    """

    def __init__(
        self,
        clip: Clip,
        name: str,
        class_names: tuple[str, ...],
        batch: int,
        *,
        what: Literal["gradients", "step", "scoring"],
        encode: bool,
        plain_images: int | None = None,
    ):
        self.clip, self.batch, self.what, self.encode = clip, batch, what, encode
        self.plain_images = plain_images or batch
        generator = torch.Generator().manual_seed(0)
        size = (batch, 3, clip.image_size, clip.image_size)
        self.pixels = torch.randn(size, generator=generator).to(clip.device)
        self.labels = torch.randint(len(class_names), (batch,), generator=generator).to(clip.device)
        self.method, self.plain_method = (
            create_method(name, clip=clip, class_names=class_names, template=TEMPLATE, seed=1) for _ in range(2)
        )
        make_plain(self.plain_method)
        self.images = clip.encode_images(self.pixels, self.method.needs_patches)
        self._optimizers = {
            method: torch.optim.SGD(method.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
            for method in (self.method, self.plain_method)
        }

    def ours(self) -> torch.Tensor:
        """Compute as the harness does; return logits or the total loss."""
        return self._compute(self.method, self.images)

    def plain(self) -> torch.Tensor:
        """Compute as the authors do."""
        images = self.images[: self.plain_images]
        if self.encode:
            images = self.clip.encode_images(self.pixels[: self.plain_images], self.method.needs_patches)
        return self._compute(self.plain_method, images)

    def _compute(self, method: Method, images: ImageFeatures) -> torch.Tensor:
        if self.what == "scoring":
            with torch.no_grad():
                return method(images)
        optimizer = self._optimizers[method]
        optimizer.zero_grad()
        losses = method.loss(images, self.labels[: len(images)])
        method.backward(losses)
        if self.what == "step":
            optimizer.step()
        return losses.total.detach()

    def operations(self) -> int:
        """Return the operations of the text tower, forward and backward."""
        contexts = self.batch if self.method.conditional else 1
        passes = 1 if self.what == "scoring" else 3 if self.method.edits_gradients else 2
        return passes * contexts * text_operations(Tower.text(self.clip.model.config), self.method.text_plan)
