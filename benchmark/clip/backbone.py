"""Load a frozen CLIP from a Hugging Face checkpoint and encode images and texts to unit-length features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from benchmark.clip.checkpoint import read_normalisation
from benchmark.clip.config import ClipConfig, read_config
from benchmark.clip.layer import at_least_float32
from benchmark.clip.locate import locate_checkpoint
from benchmark.clip.outline import Outline
from benchmark.clip.text import TextEncoder, TextPlan, in_memory, unit
from benchmark.clip.tokenizer import Tokenizer, read_tokenizer
from benchmark.clip.vision import CPU_ROWS, VisionEncoder
from benchmark.common.constants import CLIP_MEAN, CLIP_STD
from benchmark.common.shapes import check_shape
from benchmark.errors import ConfigError, ShapeError

Patches = Literal["projected", "raw"] | int  # an integer k: the rows that enter layer k of the image tower


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a batch of images, the input of a method.

    Attributes:
        pooled: (B, D), CLIP's image embedding, unit length.
        patches: None, or (B, P, D) unit length ("projected"), or (B, P, V) ("raw"), or the rows that enter a layer,
            class token first: (B, 1 + P, V).
    """

    pooled: Tensor
    patches: Tensor | None = None

    def __len__(self) -> int:
        return len(next(iter(self.on_device().values())))

    def __getitem__(self, index: slice | Tensor) -> "ImageFeatures":
        return self.like({name: tensor[index] for name, tensor in self.on_device().items()})

    @classmethod
    def joined(cls, parts: Sequence["ImageFeatures"]) -> "ImageFeatures":
        """Concatenate batches."""
        if len(parts) == 1:
            return parts[0]
        every = [part.on_device() for part in parts]
        return parts[0].like({name: torch.cat([own[name] for own in every]) for name in every[0]})

    def like(self, tensors: Mapping[str, Tensor]) -> "ImageFeatures":
        """Features of the same kind with these tensors, named as `on_device` names them."""
        return ImageFeatures(**tensors)

    def on_device(self) -> dict[str, Tensor]:
        """The tensors by name, on their device, without a missing one."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, on the CPU, without a missing one."""
        return {name: tensor.cpu() for name, tensor in self.on_device().items()}

    def to(self, device: torch.device | str) -> "ImageFeatures":
        """The same features on another device."""
        return self.like({name: tensor.to(device, non_blocking=True) for name, tensor in self.on_device().items()})


class LayerFeatures(ImageFeatures):
    """The rows (B, 1 + P, V) that enter a layer, as `patches`; `pooled` is computed from them when it is first read.

    Most methods that edit layers do not read it, and it costs the rest of the tower.

    Args:
        pool: from rows to pooled features (B, D), without gradients.
    """

    def __init__(self, rows: Tensor, pool: Callable[[Tensor], Tensor]):
        vars(self).update(patches=rows, pool=pool)  # not by assignment: the dataclass is frozen

    @cached_property
    def pooled(self) -> Tensor:
        """(B, D), unit length."""
        return self.pool(self.patches)

    def like(self, tensors: Mapping[str, Tensor]) -> ImageFeatures:
        """As ImageFeatures.like."""
        return LayerFeatures(tensors["patches"], self.pool)

    def on_device(self) -> dict[str, Tensor]:
        """As ImageFeatures.on_device, without what is computed."""
        return {"patches": self.patches}


class Clip:
    """A frozen CLIP: both towers, the tokenizer and the sizes of the checkpoint. Nothing in it trains.

    Args:
        model: a transformers.CLIPModel, or an Outline of one.
        normalisation: mean and standard deviation of the images, RGB in 0..1.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, name: str, normalisation=(CLIP_MEAN, CLIP_STD)):
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.text = TextEncoder(model.text_model, model.text_projection, start_id=tokenizer.bos_token_id)
        self.logit_scale = model.logit_scale.detach().exp()
        vision = model.config.vision_config
        self.image_size, self.vision_width = vision.image_size, vision.hidden_size
        self.patch_count = (vision.image_size // vision.patch_size) ** 2
        self.text_layers = model.config.text_config.num_hidden_layers
        self.vision_layers = vision.num_hidden_layers
        self.joint_width, self.token_width = model.config.projection_dim, self.text.width
        self.mean, self.std = normalisation

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.logit_scale.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights; autocast may compute in another one."""
        return self.logit_scale.dtype

    @property
    def learnable_dtype(self) -> torch.dtype:
        """Type of learned values: float32 for any precision of the towers, float64 with a float64 CLIP."""
        return torch.promote_types(self.dtype, torch.float32)

    @cached_property
    def vision(self) -> VisionEncoder:
        """The image tower; made when it is first needed, which features from a disk cache never do."""
        return VisionEncoder(self.model.vision_model, self.model.visual_projection)

    def feature_shapes(self, count: int, patches: Patches | None) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors of ImageFeatures of `count` images, by name."""
        pooled = {"pooled": (count, self.joint_width)}
        if patches is None:
            return pooled
        rows = self.patch_count + isinstance(patches, int)
        return pooled | {"patches": (count, rows, self.joint_width if patches == "projected" else self.vision_width)}

    def check_patches(self, patches: object) -> None:
        """Check that `patches` is a kind of patch features that this backbone has; see encode_images.

        Raises:
            ConfigError: it is not.
        """
        if isinstance(patches, bool) or not (patches in (None, "projected", "raw") or isinstance(patches, int)):
            raise ConfigError(
                f"patches={patches!r} is unknown. Allowed: None, 'projected', 'raw', or the number of an image layer."
            )
        if isinstance(patches, int) and patches not in range(self.vision_layers):
            raise ConfigError(
                f"patches={patches}: the image tower of {self.name} has layers 0 to {self.vision_layers - 1}."
            )

    @torch.no_grad()
    def encode_images(self, pixels: Tensor, patches: Patches | None = None) -> ImageFeatures:
        """Encode normalized images.

        Args:
            pixels: (B, 3, image_size, image_size), normalized by `mean` and `std`.
            patches: also the features of each patch. "projected": those of the last layer after the final norm and
                the visual projection, of unit length (B, P, D); "raw": those of the last layer (B, P, V). A number k:
                the rows that enter layer k, counted from 0, class token first (B, 1 + P, V); those that enter
                layer 0 are not normed yet.
        Raises:
            ShapeError: images of another size.
            ConfigError: an unknown value of `patches`, or no such layer.
        """
        self.check_patches(patches)
        check_shape("pixels", tuple(pixels.shape), "BXHW", X=3, H=self.image_size, W=self.image_size)
        if self.device.type == "cpu" and len(pixels) > (most := max(1, CPU_ROWS // (1 + self.patch_count))):
            return ImageFeatures.joined([self.encode_images(part, patches) for part in pixels.split(most)])
        if isinstance(patches, int):
            return self.layer_features(self.vision.enter(pixels.to(self.device, self.dtype), patches), patches)
        hidden = self.vision.encode(pixels.to(self.device, self.dtype), class_only=patches is None)  # (B, 1 + P, V)
        pooled = unit(self.vision.project(hidden[:, 0]))  # (B, D)
        if patches is None:
            return ImageFeatures(pooled)
        local = hidden[:, 1:]
        if patches == "raw":
            return ImageFeatures(pooled, local.to(pooled.dtype))
        return ImageFeatures(pooled, unit(self.vision.project(local)))

    def layer_features(self, rows: Tensor, layer: int) -> LayerFeatures:
        """The features of images of which the rows (B, 1 + P, V) enter a layer."""

        @torch.no_grad()
        def pool(rows: Tensor) -> Tensor:
            return unit(self.vision.project(self.vision.leave(rows.to(self.dtype), layer, read=1))[:, 0])

        return LayerFeatures(at_least_float32(rows), pool)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, start and end token included, not padded.

        Raises:
            ShapeError: a text is longer than the text encoder takes (77 tokens in most CLIPs); it is never truncated.
        """
        ids = self.tokenizer(list(texts), verbose=False)["input_ids"]
        for text, row in zip(texts, ids, strict=True):
            if len(row) > self.text.max_length:
                shown = text if len(text) <= 80 else f"{text[:20]} ... {text[-50:]}"  # n_ctx may be large
                raise ShapeError(
                    f"'{shown}' has {len(row)} tokens, but the text encoder takes at most {self.text.max_length}. "
                    "Shorten the class name, the template or the context (n_ctx)."
                )
        return ids

    def plan(self, suffixes: Sequence[Sequence[int]], n_ctx: int) -> TextPlan:
        """Plan the shared computation of prompts with these suffix tokens after M context vectors; see TextPlan."""
        return self.text.plan(suffixes, n_ctx)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str], *, unit_length: bool = True) -> Tensor:
        """Encode texts to features (C, D), of unit length by default."""
        plan = self.plan([row[1:] for row in self.tokenize(texts)], n_ctx=0)
        no_context = torch.empty(1, 0, self.token_width, device=self.device, dtype=self.dtype)
        return in_memory(self.text, lambda: self.text.encode(plan, no_context, unit_length=unit_length))[0]


def dtype_of(precision: str) -> torch.dtype:
    """Type of the weights in a precision of RunSpec; the precisions below float32 are autocast's."""
    return torch.float64 if precision == "fp64" else torch.float32


def load_clip(name_or_path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Clip:
    """Load a frozen CLIP from a Hugging Face hub id or a local folder of the same layout.

    Widths, patches, image size, activation and normalization are those of the checkpoint: OpenAI's use quick_gelu and
    LAION's gelu, and a tower with the wrong one still works, with an accuracy lower by several points.

    Raises:
        ConfigError: the checkpoint cannot be found or read, or is not a CLIP.
    """
    name, folder = str(name_or_path), locate_checkpoint(name_or_path, fetch=True)
    tokenizer = read_tokenizer(folder, name, read_config(folder, name).text_config)
    normalisation = read_normalisation(folder, name)
    from benchmark.clip.weights import load_model  # here: transformers takes seconds to import, a plan needs none of it

    model = load_model(folder, name, dtype=dtype)
    return Clip(model.to(device=device, dtype=dtype), tokenizer, name, normalisation)


def outline(folder: str | Path, *, narrow: bool = True) -> tuple[Clip, ClipConfig]:
    """A CLIP of one narrow layer with random weights and the tokenizer of a checkpoint, and its configuration.

    Methods created on it have their real prompts and cost nothing. With narrow=False their learned values also have
    their real shapes. It has no image tower: encode_images is not available.
    """
    folder, name = Path(folder), str(folder)
    config = read_config(folder, name)
    tokenizer = read_tokenizer(folder, name, config.text_config)
    return Clip(Outline(config, narrow=narrow), tokenizer, name, read_normalisation(folder, name)), config
