"""Compute methods that learn inside the towers as their authors do, as the reference for the harness's speed.

Every prompt is a sequence of 77 tokens, every image passes through the whole tower in each step, and the row of the end
token is taken after the last layer. Checkpoints' layers are called one by one; what a method learns enters between
them. It follows, without their code, trainers/ and clip/model.py of the authors' repositories, which the methods name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures, LayerFeatures
from benchmark.clip.layer import unit
from benchmark.speed.plain.text import LENGTH, attend
from benchmark.towers import TowerMethod

Adapter = Callable[[Tensor], Tensor]


@dataclass
class Learned:
    """What enters one tower, by layer: rows (M, W), or (M, S, W) of each sequence, and adapters beside the layer."""

    rows: Mapping[int, Tensor] = field(default_factory=dict)
    adapters: Mapping[int, Adapter] = field(default_factory=dict)


class PlainTower:
    """A tower of transformers' layers, with sequences as (R, S, W)."""

    def __init__(self, layers: nn.ModuleList, mask: Tensor | None):
        self.layers, self.mask = layers, mask

    def __call__(self, x: Tensor, learned: Learned, *, last: bool) -> Tensor:
        """Compute all layers.

        Args:
            last: whether a layer's rows take the place of the last rows of a sequence (images), or of those behind the
                first (texts). Rows of layer 0 are in x already.
        """
        for i, layer in enumerate(self.layers):
            if i > 0 and i in learned.rows:
                rows = learned.rows[i]
                rows = rows if rows.dim() == 3 else rows[:, None].expand(-1, x.shape[1], -1)
                count = len(rows)
                x = torch.cat([x[:-count], rows] if last else [x[:1], rows, x[1 + count :]])
            y = x + attend(layer.self_attn, layer.layer_norm1(x), self.mask)
            y = y + layer.mlp(layer.layer_norm2(y))
            x = y + learned.adapters[i](layer.layer_norm1(x)) if i in learned.adapters else y
        return x


class PlainPrompts:
    """The prompts of the current classes of a method, (C, 77, T), through the whole text tower."""

    def __init__(self, method: TowerMethod, template: str):
        clip, text = method.clip, method.clip.model.text_model
        rows = clip.tokenize(method.prompts(method.prefix, method.class_names, template))
        token_ids = torch.tensor([row + [0] * (LENGTH - len(row)) for row in rows], device=clip.device)  # (C, 77)
        self.ends = torch.tensor([len(row) - 1 for row in rows], device=clip.device)
        self.embedded = clip.text.embed(token_ids)
        self.positions, self.final_norm = text.embeddings.position_embedding.weight, text.final_layer_norm
        mask = torch.full((LENGTH, LENGTH), float("-inf"), device=clip.device, dtype=clip.dtype).triu(1)
        self.tower, self.projection = PlainTower(text.encoder.layers, mask), clip.model.text_projection

    def __call__(self, context: Tensor, learned: Learned) -> Tensor:
        """Encode all classes behind a context (M, T) to (C, D), unit length."""
        count = len(context)
        shared = context.expand(len(self.embedded), -1, -1)
        x = torch.cat([self.embedded[:, :1], shared, self.embedded[:, 1 + count :]], dim=1) + self.positions
        x = self.final_norm(self.tower(x.permute(1, 0, 2), learned, last=False).permute(1, 0, 2))
        return unit(self.projection(x[torch.arange(len(x), device=x.device), self.ends]))


def encode_images(clip: Clip, pixels: Tensor, learned: Learned) -> Tensor:
    """Encode images (B, 3, H, W) to (B, D), unit length; rows of layer 0 are appended before the first norm."""
    vision = clip.model.vision_model
    x = vision.embeddings(pixels)
    if 0 in learned.rows:
        x = torch.cat([x, learned.rows[0].expand(len(x), -1, -1)], dim=1)
    x = PlainTower(vision.encoder.layers, None)(vision.pre_layrnorm(x).permute(1, 0, 2), learned, last=True)
    return unit(clip.model.visual_projection(vision.post_layernorm(x.permute(1, 0, 2)[:, 0])))


def _maple(method: TowerMethod) -> tuple[Learned, Learned]:
    deep = dict(enumerate(method.compound_prompts_text, start=1))
    maps = {i: project(deep[i]) for i, project in enumerate(method.compound_prompt_projections, start=1)}
    return Learned(deep), Learned({0: method.proj(method.ctx), **maps})


def _promptsrc(method: TowerMethod) -> tuple[Learned, Learned]:
    text, image = method.text_prompts.items(), method.vision_prompts.items()
    return Learned({int(i): rows for i, rows in text}), Learned({int(i): rows for i, rows in image})


def _tcp(method: TowerMethod) -> tuple[Learned, Learned]:
    rows = method.meta_net(method._frozen).permute(1, 0, 2)  # (M, C, T)
    return Learned({method.options.layer: rows}), Learned()


class _Scaled(torch.autograd.Function):
    """Multiply by a factor, and the gradient by another."""

    @staticmethod
    def forward(ctx, x: Tensor, factor: float, backward: float) -> Tensor:
        ctx.backward_factor = backward
        return x * factor

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient * ctx.backward_factor, None, None


def _mma(method: TowerMethod) -> tuple[Learned, Learned]:
    def adapter(own: nn.ModuleDict, shared: nn.Module) -> Adapter:
        scale = method.options.scale
        return lambda x: _Scaled.apply(own["up"](shared(own["down"](_Scaled.apply(x, 1.0, scale)))), scale, 1.0)

    def beside(adapters: nn.ModuleDict) -> Learned:
        return Learned(adapters={int(n) - 1: adapter(adapters[n], method.shared_adapter[n]) for n in adapters})

    return beside(method.text_adapter), beside(method.visual_adapter)


LEARNED = {"maple": _maple, "promptsrc": _promptsrc, "tcp": _tcp, "mma": _mma}


def make_plain_towers(method: TowerMethod, name: str, template: str) -> None:
    """Make a method encode its current classes and its images the plain way; its images are those of `plain_images`."""
    prompts, learned = PlainPrompts(method, template), LEARNED[name]
    method.encode_classes = lambda context: prompts(context[0], learned(method)[0])[None]
    if method.needs_patches is not None:
        method.image_features = lambda images: encode_images(method.clip, images.patches, learned(method)[1])


def plain_images(clip: Clip, pixels: Tensor) -> ImageFeatures:
    """The pixels as `patches`; `pooled`, which PromptSRC compares with, is encoded when it is read."""
    return LayerFeatures(pixels, torch.no_grad()(lambda pixels: encode_images(clip, pixels, Learned())))
