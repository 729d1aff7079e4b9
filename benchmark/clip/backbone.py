"""Frozen CLIP from any Hugging Face checkpoint: images and texts in, unit-length features out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPConfig, CLIPModel
from transformers.utils import logging

from benchmark.clip.checkpoint import one_line, read_config, read_normalisation, read_tokenizer, weight_files
from benchmark.clip.locate import locate_checkpoint
from benchmark.clip.memory import in_memory
from benchmark.clip.text import TextEncoder, TextPlan, unit
from benchmark.common.constants import CLIP_MEAN, CLIP_STD
from benchmark.common.shapes import check_shape
from benchmark.errors import ConfigError, ShapeError, listed

Patches = Literal["projected", "raw"]
TOKENIZER_FILES = ("tokenizer.json", "vocab.json")


@dataclass(frozen=True)
class ImageFeatures:
    """What a method sees of a batch of images.

    Attributes:
        pooled: (B, D), CLIP's image embedding, unit length.
        patches: None, or (B, P, D) unit length ("projected"), or (B, P, V) ("raw").
    """

    pooled: Tensor
    patches: Tensor | None = None

    def __len__(self) -> int:
        return self.pooled.shape[0]

    def __getitem__(self, index: slice | Tensor) -> "ImageFeatures":
        return ImageFeatures(self.pooled[index], None if self.patches is None else self.patches[index])

    @classmethod
    def joined(cls, parts: Sequence["ImageFeatures"]) -> "ImageFeatures":
        """Batches one after another as one."""
        local = None if parts[0].patches is None else torch.cat([part.patches for part in parts])
        return cls(torch.cat([part.pooled for part in parts]), local)

    def on_device(self) -> dict[str, Tensor]:
        """By name, where they are; what there is."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}

    def tensors(self) -> dict[str, Tensor]:
        """By name, on the CPU; what there is."""
        return {name: tensor.cpu() for name, tensor in self.on_device().items()}

    def to(self, device: torch.device | str) -> "ImageFeatures":
        """The same features on another device."""
        patches = None if self.patches is None else self.patches.to(device, non_blocking=True)
        return ImageFeatures(self.pooled.to(device, non_blocking=True), patches)


class Clip:
    """A frozen CLIP: both towers, the tokenizer and the sizes that the checkpoint states. Nothing in it trains.

    Args:
        normalisation: mean and deviation, RGB in 0..1, that are taken out of pictures.
    """

    def __init__(self, model: CLIPModel, tokenizer, name: str, normalisation=(CLIP_MEAN, CLIP_STD)):
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.text = TextEncoder(model.text_model, model.text_projection, start_id=tokenizer.bos_token_id)
        self.logit_scale = model.logit_scale.detach().exp()
        vision = model.config.vision_config
        self.image_size, self.vision_width = vision.image_size, vision.hidden_size
        self.patch_count = (vision.image_size // vision.patch_size) ** 2
        self.joint_width, self.token_width = model.config.projection_dim, self.text.width
        self.mean, self.std = normalisation

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.logit_scale.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' type; autocast, where it is on, computes in another one."""
        return self.logit_scale.dtype

    @property
    def learnable_dtype(self) -> torch.dtype:
        """The type of what a method learns: float32 whatever the towers compute in, float64 with a float64 CLIP."""
        return torch.promote_types(self.dtype, torch.float32)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor, patches: Patches | None = None) -> ImageFeatures:
        """Features of normalised images.

        Args:
            pixels: (B, 3, image_size, image_size), normalised by `mean` and `std`.
            patches: also the features of each patch: "projected" takes the last layer's through the final norm and
                the visual projection to unit length (B, P, D), "raw" leaves them at the vision width (B, P, V).
        Raises:
            ShapeError: images of another size.
            ConfigError: another word for `patches`.
        """
        if patches not in (None, "projected", "raw"):
            raise ConfigError(f"encode_images: patches={patches!r} is unknown. Allowed: None, 'projected', 'raw'.")
        check_shape("pixels", tuple(pixels.shape), "BXHW", X=3, H=self.image_size, W=self.image_size)
        vision = self.model.vision_model
        hidden = vision(pixel_values=pixels.to(self.device, self.dtype)).last_hidden_state  # (B, 1 + P, V)
        pooled = unit(self.model.visual_projection(vision.post_layernorm(hidden[:, 0])))  # (B, D)
        if patches is None:
            return ImageFeatures(pooled)
        local = hidden[:, 1:]
        if patches == "raw":
            return ImageFeatures(pooled, local.to(pooled.dtype))
        return ImageFeatures(pooled, unit(self.model.visual_projection(vision.post_layernorm(local))))

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, start and end token included, not padded.

        Raises:
            ShapeError: a text is longer than the text encoder takes (77 tokens in most); it is never cut silently.
        """
        ids = self.tokenizer(list(texts), verbose=False)["input_ids"]
        for text, row in zip(texts, ids, strict=True):
            if len(row) > self.text.max_length:
                raise ShapeError(
                    f"'{text}' has {len(row)} tokens, but the text encoder takes at most {self.text.max_length}. "
                    "Shorten the class name or the template."
                )
        return ids

    def plan(self, suffixes: Sequence[Sequence[int]], n_ctx: int) -> TextPlan:
        """How prompts with these suffix tokens behind M context vectors share their computation; see TextPlan."""
        return self.text.plan(suffixes, n_ctx)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str], *, unit_length: bool = True) -> Tensor:
        """Features of ordinary texts: (C, D), of unit length unless that is not wanted."""
        plan = self.plan([row[1:] for row in self.tokenize(texts)], n_ctx=0)
        no_context = torch.empty(1, 0, self.token_width, device=self.device, dtype=self.dtype)
        return in_memory(self.text, lambda: self.text.encode(plan, no_context, unit_length=unit_length))[0]


def load_clip(name_or_path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Clip:
    """A frozen CLIP from a Hugging Face hub id or a local folder of the same layout.

    Widths, patches, image size, activation and normalisation are the checkpoint's own: OpenAI's say quick_gelu and
    LAION's gelu, and a tower run with the other one still works, several points worse.

    Raises:
        ConfigError: the checkpoint cannot be found or read, or is not a CLIP.
    """
    name, folder = str(name_or_path), locate_checkpoint(name_or_path, fetch=True)
    tokenizer = read_tokenizer(folder, name, read_config(folder, name))
    normalisation = read_normalisation(folder, name)
    model = _load_model(folder, name, dtype=dtype)
    return Clip(model.to(device=device, dtype=dtype), tokenizer, name, normalisation)


def check_loads(folder: Path, name: str) -> None:
    """Refuse a checkpoint that `load_clip` would refuse, without reading the values of its weights.

    Raises:
        ConfigError: as load_clip.
    """
    read_tokenizer(folder, name, read_config(folder, name))
    read_normalisation(folder, name)
    _load_model(folder, name, device_map="meta")


def _load_model(folder: Path, name: str, **how) -> CLIPModel:
    """Both towers, refused where a weight is missing, too many, of another shape or not to be read.

    Weights in pickles are opened as tensors and nothing else.
    """
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # what transformers would warn of is refused below, or does not matter
    try:
        model, loading = CLIPModel.from_pretrained(
            folder,
            attn_implementation="sdpa",
            weights_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **how,
        )
    except (OSError, ValueError, RuntimeError, EOFError, SafetensorError, UnpicklingError) as error:
        # of a pickle, torch's message tells how to open it nevertheless, which would run what it holds
        reason = "something else than tensors" if isinstance(error, UnpicklingError) else one_line(error)
        raise ConfigError(
            f"Backbone '{name}': {', '.join(weight_files(folder, name))} cannot be read as weights: {reason}. Fetch "
            "the files again; one of a few lines is a pointer that Git LFS left."
        ) from error
    finally:
        logging.set_verbosity(level)
    stray = sorted(key for key in loading["unexpected_keys"] if ".encoder.layers." in key)
    problems = [
        _some("are missing and would stay random", sorted(loading["missing_keys"])),
        _some("belong to layers that config.json does not state", stray),
        _some(
            "have another shape than config.json states",
            [f"{key} {tuple(there)}, not {tuple(own)}" for key, there, own in sorted(loading["mismatched_keys"])],
        ),
    ]
    if problems := [problem for problem in problems if problem]:
        raise ConfigError(listed(f"Backbone '{name}'", problems, "Take a complete checkpoint of one model."))
    return model


def _some(what: str, keys: list[str]) -> str:
    """How many weights something is wrong with, and which; empty if none."""
    return f"{len(keys)} weights {what}: {', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''}" if keys else ""


def outline(folder: str | Path, *, narrow: bool = True) -> tuple[Clip, CLIPConfig]:
    """A checkpoint's tokenizer on a CLIP of one narrow layer with random weights, and the checkpoint's configuration.

    Methods made on it have their real prompts and cost nothing, which is what an account of costs needs. With
    narrow=False what they learn has its real shapes, too.
    """
    folder, name = Path(folder), str(folder)
    config = read_config(folder, name)
    width = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    text, vision = config.text_config.to_dict() | width, config.vision_config.to_dict() | width
    if not narrow:
        text["hidden_size"], vision["hidden_size"] = config.text_config.hidden_size, config.vision_config.hidden_size
    small = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16 if narrow else config.projection_dim)
    small._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        model = CLIPModel(small)
    tokenizer = read_tokenizer(folder, name, config)
    return Clip(model, tokenizer, name, read_normalisation(folder, name)), config
