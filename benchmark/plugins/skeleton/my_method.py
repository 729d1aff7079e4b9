"""My Method: learn one context for all classes, and keep it close to the words that initialize it.

This file can be run as it is. Replace the idea with yours and keep the form; docs/adding-a-method.md explains each
part. The interface is Method in benchmark/method.py; PromptMethod in benchmark/prompts.py has what prompt learning
methods share: prompts of [context, class name, "."], their text features, and cosine logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.method import Losses
from benchmark.prompts import PromptMethod, check_context_keys


# The fields are the keys of the recipe next to this file and of `--set my_method.KEY=VALUE`.
# They have no defaults here: the recipe has them, so that a value and its source are in one place.
# Types are checked when the recipe is read.
@dataclass(frozen=True, kw_only=True)
class MyMethodOptions:
    """Options of My Method.

    Attributes:
        n_ctx: number of learned context vectors.
        ctx_init: words that initialize them; None initializes them at random.
        anchor_weight: weight of the squared distance from the initial context.
    """

    n_ctx: int
    ctx_init: str | None
    anchor_weight: float

    def __post_init__(self) -> None:
        check_context_keys(self.n_ctx, self.ctx_init)  # raises ConfigError if the two disagree


# A file defines one subclass of Method. The method's name is the file's; the class may have any name.
class MyMethod(PromptMethod):
    """Cross-entropy plus the squared distance of the context from its start; the learned tensor is `ctx`."""

    Options = MyMethodOptions

    def __init__(self, clip: Clip, options: MyMethodOptions, class_names: Sequence[str], template: str):
        super().__init__(clip, options)  # CLIP is frozen: only parameters made here are learned
        self.start_context(options.n_ctx, options.ctx_init)  # makes the nn.Parameter `ctx`, (n_ctx, token width)
        # Tensors that are not learned are buffers: they are stored with the learned values and move between devices.
        self.register_buffer("start", self.ctx.detach().clone())
        self.set_classes(class_names, template)  # always last: it needs everything above

    # PromptMethod defines forward(images), which returns logits (images, classes). Override context(images) for
    # another context before the class names, one for all images or one for each (CoCoOp does so in 1 line).

    def loss(self, images: ImageFeatures, labels: Tensor) -> Losses:
        """Terms `cross_entropy` and `anchor`; their sum is minimized, and the record has its mean for each epoch."""
        distance = (self.ctx - self.start).square().sum(dim=-1).mean()
        return Losses(
            {
                "cross_entropy": F.cross_entropy(self(images), labels),
                "anchor": self.options.anchor_weight * distance,
            }
        )
