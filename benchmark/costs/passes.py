"""Find what a method sends through the towers, by calling it once on towers that compute nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.clip.layer import NO_EDITS, Edits
from benchmark.method import Method
from benchmark.prompts import PromptMethod
from benchmark.towers import TowerMethod


@dataclass(frozen=True)
class Pass:
    """One pass through the layers of a tower from `first` on.

    Attributes:
        added: of each layer, how many rows edits put into a sequence before it.
        learned: the first layer with a gradient; the number of layers if there is none.
        read: the number of rows of a sequence that are read in the end.
    """

    first: int
    added: tuple[int, ...]
    learned: int
    read: int = 1


def traced(x: Tensor, edits: Edits, layers: range, apart: tuple[int, Tensor] | None = None) -> tuple[Pass, Tensor]:
    """The pass of rows (S, R, W) through edited layers, and the rows in the end; the layers themselves are left out.

    Args:
        apart: a layer, and the sequences that there take the place of x.
    """
    added, learned, rows = [], layers.stop, x.shape[1]
    for i in layers:
        if apart is not None and i == apart[0]:
            x, rows = apart[1].requires_grad_(x.requires_grad), apart[1].shape[1]
        x = edits.entering(i, x)
        added.append(x.shape[1] - rows)
        inside = None
        if (of_layer := edits.of(i)) is not None:
            beside, inside = of_layer.additions(x, x)
        if x.requires_grad or (inside is not None and inside.requires_grad):
            learned = min(learned, i)
        if of_layer is not None:
            x = x + sum(part.sum() for part in (beside, inside) if part is not None)
    return Pass(layers.start, tuple(added), learned), x


def text_pass(method: PromptMethod, layers: int) -> Pass:
    """The pass of the class prompts of a method."""
    plan, width = method.text_plan, method.clip.token_width
    x = torch.zeros(1, 1 + plan.n_ctx + plan.nodes, width).requires_grad_(method.ctx.requires_grad)
    if not isinstance(method, TowerMethod):
        return traced(x, NO_EDITS, range(layers))[0]
    apart = None
    if method.apart_from is not None:
        length = 1 + plan.n_ctx + max(plan.suffix_lengths)
        apart = (method.apart_from, torch.zeros(plan.classes, length, width))
    return traced(x, method.text_edits(), range(layers), apart)[0]


def image_passes(method: Method, *, training: bool) -> list[Pass]:
    """The passes of an image's rows in a training step, or in scoring; none for a method that reads finished features.

    A method that fails on towers without values counts as one pass without edits.
    """
    clip, first = method.clip, method.needs_patches
    if not isinstance(first, int):
        return []
    with _noted_tower(clip) as tower, torch.set_grad_enabled(training):
        images: ImageFeatures = clip.layer_features(torch.zeros(1, 1 + clip.patch_count, clip.vision_width), first)
        if method.needs_pooled:
            images = ImageFeatures(torch.full((1, clip.joint_width), clip.joint_width**-0.5), images.patches)
        try:
            if isinstance(method, PromptMethod):
                with method.given(torch.full((1, len(method.class_names), clip.joint_width), clip.joint_width**-0.5)):
                    _call(method, images, training)
            else:
                _call(method, images, training)
        except Exception:  # whatever the code of a method raises; the run itself may not meet it
            tower.passes.append(Pass(first, (0,) * (clip.vision_layers - first), first))
    return tower.passes


def _call(method: Method, images: ImageFeatures, training: bool) -> None:
    if training:
        method.loss(images, torch.zeros(1, dtype=torch.long))
    else:
        method(images)


class _NotedTower:
    """In the place of a VisionEncoder: notes the passes, and returns rows without values."""

    def __init__(self, clip: Clip):
        self._layers, self._joint = clip.vision_layers, clip.joint_width
        self.passes: list[Pass] = []

    def leave(self, x: Tensor, first: int = 0, *, edits: Edits = NO_EDITS, read: int | None = None) -> Tensor:
        found, x = traced(x, edits, range(first, self._layers))
        read = x.shape[1] if read is None else read
        self.passes.append(Pass(found.first, found.added, found.learned, read))
        return x[:, :read]

    def project(self, rows: Tensor) -> Tensor:
        return self.projection(rows)

    def projection(self, rows: Tensor) -> Tensor:
        return torch.ones(*rows.shape[:-1], self._joint) + rows.sum(dim=-1, keepdim=True)

    def final_norm(self, rows: Tensor) -> Tensor:
        return rows


@contextmanager
def _noted_tower(clip: Clip) -> Iterator[_NotedTower]:
    """Give a CLIP a tower that notes its passes."""
    tower, kept = _NotedTower(clip), vars(clip).copy()
    vars(clip)["vision"] = tower  # where cached_property keeps it
    try:
        yield tower
    finally:
        del vars(clip)["vision"]
        vars(clip).update(kept)
