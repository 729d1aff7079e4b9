"""Read config.json of a CLIP checkpoint and refuse what is not a CLIP.

The benchmark reads the file itself: importing the configuration class of transformers takes seconds. Keys that a file
leaves out have the defaults of transformers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from benchmark.clip.checkpoint import advice, read_json
from benchmark.common.config import build
from benchmark.errors import ConfigError, listed

ACTIVATIONS = ("quick_gelu", "gelu")  # of nearly all checkpoints; for another name transformers is asked

_SIGLIP = (
    "its text tower is not causal, has no start token and is read at the last position, so prompts cannot share what "
    "precedes the class name; and it is trained with a sigmoid and a bias, so a softmax over cosines is not its "
    "classifier"
)
_BERT = "its text tower is a BERT, which is not causal and is read at the first token instead of the end token"
REASONS = {
    "siglip": _SIGLIP,
    "siglip2": _SIGLIP,
    "blip": _BERT,
    "blip-2": _BERT,
    "chinese_clip": _BERT,
    "align": f"{_BERT}, and its image tower is convolutional, without patches",
    "altclip": "its text tower is an XLM-RoBERTa, which is not causal and is read at the first token",
    "clip_text_model": "it is a text tower alone, and the methods compare texts with images",
    "clip_vision_model": "it is an image tower alone, and the methods compare images with texts",
}
_NEEDED = "the methods need a causal text tower read at the end token, an image tower of patches, and a joint space"


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Sizes of the text tower; names and defaults are those of transformers.CLIPTextConfig."""

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    eos_token_id: int | list[int] | None = 49407


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """Sizes of the image tower; names and defaults are those of transformers.CLIPVisionConfig."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32
    hidden_act: str = "quick_gelu"


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Sizes of a CLIP; names and defaults are those of transformers.CLIPConfig."""

    text_config: TextConfig
    vision_config: VisionConfig
    projection_dim: int = 512


TOWERS = {"text_config": TextConfig, "vision_config": VisionConfig}


def read_config(folder: Path, name: str) -> ClipConfig:
    """Read the configuration of a CLIP.

    Raises:
        ConfigError: config.json is missing or unreadable, or describes something else than a CLIP of square RGB images.
    """
    if not (folder / "config.json").is_file():
        if any(folder.glob("open_clip_*")):
            raise ConfigError(
                f"Backbone '{name}' has open_clip's own layout (open_clip_config.json, no config.json), which "
                "transformers does not read. Use the same model in Hugging Face layout: repositories such as "
                "laion/CLIP-ViT-B-32-laion2B-s34B-b79K have both."
            )
        raise ConfigError(f"Backbone '{name}' has no config.json. {advice()}")
    raw = read_json(folder / "config.json", name)
    kind = raw.get("model_type")
    if kind != "clip":
        stated = f"is a '{kind}' checkpoint" if kind else "has a config.json that states no model_type"
        raise ConfigError(f"Backbone '{name}' {stated}; only 'clip' fits here: {REASONS.get(kind, _NEEDED)}.")
    where = f"Backbone '{name}', config.json"
    towers = {key: _section(raw, key, cls, where) for key, cls in TOWERS.items()}
    sizes = {key: raw[key] for key in ("projection_dim",) if key in raw}
    config = build(ClipConfig, towers | sizes, where)
    if problems := list(_problems(config)):
        raise ConfigError(listed(where, problems))
    return config


def _section(raw: Mapping, key: str, cls: type, where: str) -> dict[str, object]:
    """One tower's sizes. Old files state them twice, and `text_config_dict` wins over `text_config`."""
    section = next((raw[name] for name in (f"{key}_dict", key) if raw.get(name) is not None), {})
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where}: '{key}' is {section!r}, not the configuration of a CLIP. Restore the file.")
    return {field.name: section[field.name] for field in fields(cls) if field.name in section}


def _problems(config: ClipConfig) -> Iterator[str]:
    """Why a configuration cannot be computed here."""
    if config.vision_config.num_channels != 3:
        yield f"vision_config.num_channels is {config.vision_config.num_channels}; images have 3 channels here, RGB"
    for key in TOWERS:
        tower = getattr(config, key)
        if tower.hidden_size % tower.num_attention_heads:
            yield f"{key}.hidden_size {tower.hidden_size} is not a multiple of {tower.num_attention_heads} heads"
        if tower.hidden_act not in ACTIVATIONS and not _is_activation(tower.hidden_act):
            yield f"{key}.hidden_act is '{tower.hidden_act}', which transformers does not know"


def _is_activation(name: str) -> bool:
    from transformers.activations import ACT2FN  # here, since this import takes more than a second

    return name in ACT2FN
