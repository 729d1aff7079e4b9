"""My Method: one context that all classes share, learned, and held near the words that it starts from.

It works as it stands. Replace the idea by yours and keep the form; docs/adding-a-method.md explains each part. The
interface is Method in benchmark/method.py; PromptMethod in benchmark/prompts.py does what prompt learning has in
common: prompts of [context, class name, "."], their text features, and logits by the cosine with the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.method import Losses
from benchmark.prompts import PromptMethod, check_context_keys


# The fields are the keys of the recipe beside this file and of `--set my_method.KEY=VALUE`.
# They have no defaults here: the recipe has them, so that a value and where it is from stand in one place.
# Their types are checked when they are read.
@dataclass(frozen=True, kw_only=True)
class MyMethodOptions:
    """Options of My Method.

    Attributes:
        n_ctx: how many context vectors are learned.
        ctx_init: words that they start from; None starts from random numbers.
        anchor_weight: how strongly the context is held at its start.
    """

    n_ctx: int
    ctx_init: str | None
    anchor_weight: float

    def __post_init__(self) -> None:
        check_context_keys(self.n_ctx, self.ctx_init)  # ConfigError, with what to do, where the two disagree


# A file holds one class that derives from Method; its name is free, the file's name is the method's.
class MyMethod(PromptMethod):
    """Cross-entropy, and a pull of the context towards its start; the learned tensor is `ctx`."""

    Options = MyMethodOptions

    def __init__(self, clip: Clip, options: MyMethodOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)  # CLIP is frozen: only what is made here is learned
        self.start_context(options.n_ctx, options.ctx_init)  # makes the nn.Parameter `ctx`, (n_ctx, token width)
        # What is kept and not learned is a buffer: it is stored with the learned values and moves between devices.
        self.register_buffer("start", self.ctx.detach().clone())
        self.set_classes(class_names, template)  # always last: it needs all that is above

    # forward(images), the logits (images, classes), is PromptMethod's. Another place for an idea is
    # context(images): what stands before the names, one for all images or one for each (CoCoOp's is 1 line).

    def loss(self, images: ImageFeatures, labels: Tensor) -> Losses:
        """Terms `cross_entropy` and `anchor`; their sum is minimised, and the record has its mean of each epoch."""
        pull = (self.ctx - self.start).square().sum(dim=-1).mean()
        return Losses(
            {
                "cross_entropy": F.cross_entropy(self(images), labels),
                "anchor": self.options.anchor_weight * pull,
            }
        )
