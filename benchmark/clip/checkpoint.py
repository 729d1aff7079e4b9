"""What a checkpoint's folder states: configuration, tokenizer, weight files, normalisation; and why others are refused.

Nothing is assumed of a checkpoint: what its files leave out is what transformers takes for it.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoTokenizer, CLIPConfig, PreTrainedTokenizerBase
from transformers.activations import ACT2FN

from benchmark.common.constants import CLIP_MEAN, CLIP_STD
from benchmark.errors import ConfigError, listed

EXAMPLE = "openai/clip-vit-base-patch16"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in the order in which transformers looks for them
INDEX = ".index.json"  # ends the name of the file that lists the parts of divided weights
LEGACY_END = 2  # eos_token_id of old configurations; transformers then reads the text at the highest id

_SIGLIP = (
    "its text tower sees every token from every other, has no start token and is read at the last place, so prompts "
    "cannot share what stands before the class name; and it is trained with a sigmoid and a bias, so a softmax over "
    "cosines is not its classifier"
)
_BERT = "its text tower is a BERT, whose tokens see all others, read at the first token and not at the end"
REASONS = {
    "siglip": _SIGLIP,
    "siglip2": _SIGLIP,
    "blip": _BERT,
    "blip-2": _BERT,
    "chinese_clip": _BERT,
    "align": f"{_BERT}, and its image tower is convolutional, without patches",
    "altclip": "its text tower is an XLM-RoBERTa, whose tokens see all others, read at the first token",
    "clip_text_model": "it is a text tower alone, and the methods compare texts with images",
    "clip_vision_model": "it is an image tower alone, and the methods compare images with texts",
}
_NEEDED = "the methods need a causal text tower read at the end token, an image tower of patches, and a joint space"


def read_config(folder: Path, name: str) -> CLIPConfig:
    """The configuration of a CLIP.

    Raises:
        ConfigError: there is none, it cannot be read, or it is of something else than a CLIP of square RGB images.
    """
    if not (folder / "config.json").is_file():
        if any(folder.glob("open_clip_*")):
            raise ConfigError(
                f"Backbone '{name}' is in open_clip's own layout (open_clip_config.json, no config.json), which "
                "transformers does not read. Take the same model in Hugging Face layout: repositories such as "
                "laion/CLIP-ViT-B-32-laion2B-s34B-b79K hold both."
            )
        raise ConfigError(f"Backbone '{name}' has no config.json. {_advice()}")
    kind = read_json(folder / "config.json", name).get("model_type")
    if kind != "clip":
        stated = f"is a '{kind}' checkpoint" if kind else "has a config.json that states no model_type"
        raise ConfigError(f"Backbone '{name}' {stated}; only 'clip' fits here: {REASONS.get(kind, _NEEDED)}.")
    try:
        config = CLIPConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, TypeError, AttributeError, StrictDataclassError) as error:
        raise ConfigError(
            f"Backbone '{name}': config.json is not the configuration of a CLIP: {one_line(error)}. Restore the file."
        ) from error
    if problems := list(_unfit(config)):
        raise ConfigError(listed(f"Backbone '{name}', config.json", problems))
    return config


def _unfit(config: CLIPConfig) -> Iterator[str]:
    """What of a CLIP's configuration cannot be computed here."""
    vision = config.vision_config
    for key in ("image_size", "patch_size"):
        if not isinstance(getattr(vision, key), int):
            yield f"vision_config.{key} is {getattr(vision, key)!r}; a whole number is needed, of square images"
    if vision.num_channels != 3:
        yield f"vision_config.num_channels is {vision.num_channels}; pictures here have 3, RGB"
    for part in ("text_config", "vision_config"):
        if (activation := getattr(config, part).hidden_act) not in ACT2FN:
            yield f"{part}.hidden_act is '{activation}', which transformers does not know"


def read_tokenizer(folder: Path, name: str, config: CLIPConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint, held against its text tower.

    Raises:
        ConfigError: its files are missing (transformers would make an empty one) or damaged, or its texts do not start
            and end as the text tower reads them.
    """
    if not has_tokenizer(folder):
        raise ConfigError(f"Backbone '{name}' lacks tokenizer.json, or vocab.json with merges.txt. {_advice()}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare ones for a damaged file
        raise ConfigError(
            f"Backbone '{name}': the tokenizer cannot be loaded: {one_line(error)}. Restore its files."
        ) from error
    if problems := list(_misread(tokenizer, config.text_config)):
        raise ConfigError(listed(f"Backbone '{name}', tokenizer and config.json", problems))
    return tokenizer


def _misread(tokenizer: PreTrainedTokenizerBase, text) -> Iterator[str]:
    """How the tokens of texts and a text tower's configuration disagree."""
    start, end, stated = tokenizer.bos_token_id, tokenizer.eos_token_id, text.eos_token_id
    ids = tokenizer(["a"], verbose=False)["input_ids"][0]
    if start is None or end is None or (ids[0], ids[-1]) != (start, end):
        yield f"the text 'a' becomes the tokens {ids}, which do not begin with a start and finish with an end token"
        return
    highest = max(tokenizer.get_vocab().values())
    if highest >= text.vocab_size:
        yield f"the tokenizer's ids go up to {highest}, but text_config.vocab_size is {text.vocab_size}"
    if stated == LEGACY_END and end not in (highest, LEGACY_END):
        yield (
            f"text_config.eos_token_id is {LEGACY_END}, by which a text is read at its highest id, but the end token "
            f"{end} is not the tokenizer's highest, {highest}; state the end token's id"
        )
    # An id beyond the vocabulary is a default left behind by a smaller tokenizer; no text holds it.
    if isinstance(stated, int) and stated not in (LEGACY_END, end) and stated < text.vocab_size:
        yield f"text_config.eos_token_id is {stated}, where texts are read, but they end with token {end}"


def has_tokenizer(folder: Path) -> bool:
    """Whether the files of a tokenizer are there."""
    pair = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    return pair or (folder / "tokenizer.json").is_file()


def weight_files(folder: Path, name: str) -> list[str]:
    """The files that transformers reads weights from, whatever lies beside them; empty if there is none."""
    for candidate in weight_candidates(folder, name):
        if (folder / candidate).is_file():
            return parts_of(folder, candidate, name)
    return []


def weight_candidates(folder: Path, name: str) -> list[str]:
    """Names of weight files and indices in the order in which transformers looks for them."""
    if named := read_json(folder / "config.json", name).get("transformers_weights"):
        return [named]
    return [candidate for weights in WEIGHTS for candidate in (weights, f"{weights}{INDEX}")]


def parts_of(folder: Path, candidate: str, name: str) -> list[str]:
    """The files that hold the weights: the candidate itself, or those that an index lists.

    Raises:
        ConfigError: an index that is none, or that leads out of the folder.
    """
    if not candidate.endswith(INDEX):
        return [candidate]
    listed_parts = read_json(folder / candidate, name).get("weight_map")
    parts = sorted({str(part) for part in listed_parts.values()}) if isinstance(listed_parts, dict) else []
    if not parts or any(Path(part).name != part for part in parts):
        raise ConfigError(f"Backbone '{name}': {candidate} lists no weight files of this folder. Restore the file.")
    return parts


def read_normalisation(folder: Path, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that are taken out of RGB in 0..1; CLIP's where the checkpoint states none.

    The size of the pictures is the image tower's own, the way to it the field's; see docs/data.md.

    Raises:
        ConfigError: three numbers each are needed, the deviations above zero.
    """
    stated: dict = {}
    if (folder / "processor_config.json").is_file():  # where transformers 5 writes what stood in the other one before
        stated = read_json(folder / "processor_config.json", name).get("image_processor") or {}
    if not stated and (folder / "preprocessor_config.json").is_file():
        stated = read_json(folder / "preprocessor_config.json", name)
    mean, std = stated.get("image_mean") or CLIP_MEAN, stated.get("image_std") or CLIP_STD
    problems = [
        f"{key} is {value!r}; three numbers are needed{', above zero' if key == 'image_std' else ''}"
        for key, value in (("image_mean", mean), ("image_std", std))
        if not _three_numbers(value, above_zero=key == "image_std")
    ]
    problems += [
        f"{key} is false, but pictures here are always scaled to 0..1 and normalised"
        for key in ("do_rescale", "do_normalize")
        if stated.get(key) is False
    ]
    if problems:
        raise ConfigError(listed(f"Backbone '{name}', preprocessor_config.json", problems))
    return tuple(map(float, mean)), tuple(map(float, std))


def _three_numbers(value: object, *, above_zero: bool) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(isinstance(v, int | float) and math.isfinite(v) and (v > 0 or not above_zero) for v in value)
    )


def read_json(path: Path, name: str) -> dict:
    """A JSON file of a checkpoint.

    Raises:
        ConfigError: it cannot be read, or is no object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"Backbone '{name}': {path.name} cannot be read: {one_line(error)}. Restore it.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"Backbone '{name}': {path.name} holds {type(found).__name__}, not an object. Restore it.")
    return found


def check_complete(folder: Path, name: str) -> None:
    """Refuse a folder that transformers would load a part of, or something beside it.

    Raises:
        ConfigError: no weights that are read, no tokenizer, or an adapter; all in one message.
    """
    problems = []
    if not (weights := weight_files(folder, name)):
        others = [p.name for p in folder.iterdir() if p.suffix in (".safetensors", ".bin", ".h5", ".msgpack", ".pt")]
        beside = f" ({', '.join(sorted(others))} is not read)" if others else ""
        problems.append(f"no {' or '.join(weight_candidates(folder, name))}{beside}")
    problems += [f"{part} is missing, which the index lists" for part in weights if not (folder / part).is_file()]
    if not has_tokenizer(folder):
        problems.append("no tokenizer.json, nor vocab.json with merges.txt")
    if (folder / "adapter_config.json").is_file():
        problems.append("adapter_config.json makes it an adapter of another checkpoint; merge the two first")
    if problems:
        raise ConfigError(listed(f"Backbone '{name}' cannot be loaded", problems, _advice()))


def one_line(error: BaseException) -> str:
    """The first line of an error that says something, without its full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.strip().endswith(":")]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _advice() -> str:
    return (
        "Give a folder in Hugging Face layout (config.json, model.safetensors, tokenizer files) or a hub id such as "
        f"{EXAMPLE}."
    )
