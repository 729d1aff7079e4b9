"""Frozen CLIP from any Hugging Face checkpoint: images and texts in, unit-length features out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, CLIPConfig, CLIPModel

from benchmark import provenance
from benchmark.clip.text import TextEncoder, TextPlan, unit
from benchmark.constants import CLIP_MEAN, CLIP_STD
from benchmark.errors import ConfigError, ShapeError
from benchmark.memory import in_memory
from benchmark.shapes import check_shape

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
    """A frozen CLIP: both towers, the tokenizer and the sizes that the checkpoint states. Nothing in it trains."""

    def __init__(self, model: CLIPModel, tokenizer, name: str):
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.text = TextEncoder(model.text_model, model.text_projection, start_id=tokenizer.bos_token_id)
        self.logit_scale = model.logit_scale.detach().exp()
        vision = model.config.vision_config
        self.image_size, self.vision_width = vision.image_size, vision.hidden_size
        self.patch_count = (vision.image_size // vision.patch_size) ** 2
        self.joint_width, self.token_width = model.config.projection_dim, self.text.width
        self.mean, self.std = CLIP_MEAN, CLIP_STD

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
            pixels: (B, 3, image_size, image_size), CLIP's mean and deviation already taken out.
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
            ShapeError: a text is longer than the text encoder (77 tokens); it is never cut silently.
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
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of ordinary texts: (C, D), unit length."""
        plan = self.plan([row[1:] for row in self.tokenize(texts)], n_ctx=0)
        no_context = torch.empty(1, 0, self.token_width, device=self.device, dtype=self.dtype)
        return in_memory(self.text, lambda: self.text.encode(plan, no_context))[0]


def locate_checkpoint(name_or_path: str | Path, *, fetch: bool) -> Path | None:
    """The folder of a checkpoint: a local one, or the hub's in the local cache, fetched into it if wanted.

    Returns None for a hub id that is not in the cache and may not be fetched. Only weights, configuration and
    tokeniser are fetched, as safetensors where the repository has them.

    Raises:
        ConfigError: a path that is no folder, or a hub id that cannot be fetched.
    """
    name = str(name_or_path)
    local = Path(name).expanduser()
    if local.is_dir():
        return local
    if local.exists() or name.startswith((".", "/", "~")):
        raise ConfigError(f"Backbone '{name}': there is no such folder. Give a folder with config.json or a hub id.")
    wanted = ["*.json", "*.txt", "*.safetensors"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted, local_files_only=not fetch))
        if not any(folder.glob("*.safetensors")):
            snapshot_download(name, allow_patterns=[*wanted, "pytorch_model*.bin"], local_files_only=not fetch)
    except LocalEntryNotFoundError as error:
        if not fetch:
            return None
        raise ConfigError(
            f"Backbone '{name}' is not in the local cache and the hub cannot be reached. Connect, set HF_ENDPOINT to a "
            "mirror, or give the folder of a downloaded checkpoint."
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise ConfigError(f"Backbone '{name}' is neither a folder nor a hub id that can be read: {error}") from error
    return folder


def checkpoint_hash(folder: Path) -> str:
    """16 hexadecimal digits of all files of a checkpoint that decide a feature."""
    files = ["config.json", "*.safetensors", "vocab.json", "merges.txt", "tokenizer.json"]
    if not any(folder.glob("*.safetensors")):
        files.append("pytorch_model*.bin")
    return provenance.sha256_folder(folder, files)[:16]


def load_clip(name_or_path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Clip:
    """A frozen CLIP from a Hugging Face hub id or a local folder of the same layout.

    Widths, patches, image size and activation function are the checkpoint's own: OpenAI's say quick_gelu and LAION's
    gelu, and a tower run with the other one still works, several points worse.

    Raises:
        ConfigError: the checkpoint cannot be found or read, or is not a CLIP.
    """
    name, source = str(name_or_path), locate_checkpoint(name_or_path, fetch=True)
    if not any((source / file).is_file() for file in TOKENIZER_FILES):  # transformers makes one of two tokens up
        raise ConfigError(
            f"Backbone '{name}' has no tokenizer; it needs {' or '.join(TOKENIZER_FILES)} (with merges.txt)."
        )
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)  # not even after asking the user
        if config.model_type != "clip":
            raise ConfigError(
                f"Backbone '{name}' is a '{config.model_type}' checkpoint; only 'clip' fits here: the methods need "
                "a causal text tower read at the end token, with a projection to the joint space."
            )
        model, loading = CLIPModel.from_pretrained(
            source, dtype=dtype, attn_implementation="sdpa", output_loading_info=True, weights_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except ConfigError:
        raise
    except Exception as error:  # many kinds for a file that is damaged, or that holds a program where weights belong
        reason = f"its files are damaged or hold what they should not ({type(error).__name__})."
        if isinstance(error, OSError | ValueError):
            reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"Backbone '{name}' cannot be loaded: {reason} Give a folder in Hugging Face layout (config.json, "
            "model.safetensors, tokenizer files) or a hub id such as openai/clip-vit-base-patch16."
        ) from error
    if loading["missing_keys"]:
        raise ConfigError(
            f"Backbone '{name}' lacks {len(loading['missing_keys'])} of CLIP's weights, which would stay random: "
            f"{', '.join(sorted(loading['missing_keys'])[:3])} ... Take a complete checkpoint."
        )
    return Clip(model.to(device=device, dtype=dtype), tokenizer, name)


def outline(folder: str | Path) -> tuple[Clip, CLIPConfig]:
    """A checkpoint's tokenizer on a CLIP of one narrow layer with random weights, and the checkpoint's configuration.

    Methods made on it have their real prompts and cost nothing, which is what an account of costs needs.
    """
    config = CLIPConfig.from_pretrained(folder)
    width = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    text, vision = config.text_config.to_dict() | width, config.vision_config.to_dict() | width
    small = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    small._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        model = CLIPModel(small)
    return Clip(model, AutoTokenizer.from_pretrained(folder, trust_remote_code=False), str(folder)), config
