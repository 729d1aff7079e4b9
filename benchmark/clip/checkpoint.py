"""Find the files of a checkpoint folder, refuse an incomplete one, and read the normalization of its images."""

import json
import math
from pathlib import Path

from benchmark.common.constants import CLIP_MEAN, CLIP_STD
from benchmark.errors import ConfigError, listed

EXAMPLE = "openai/clip-vit-base-patch16"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in the order in which transformers looks for them
INDEX = ".index.json"  # ends the name of the file that lists the parts of divided weights


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder has the files of a tokenizer."""
    pair = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    return pair or (folder / "tokenizer.json").is_file()


def weight_files(folder: Path, name: str) -> list[str]:
    """The weight files that transformers reads, whatever else is in the folder; empty if there is none."""
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
    """The files with the weights: the candidate itself, or those that an index lists.

    Raises:
        ConfigError: the index cannot be read, is empty or names files outside the folder.
    """
    if not candidate.endswith(INDEX):
        return [candidate]
    listed_parts = read_json(folder / candidate, name).get("weight_map")
    parts = sorted({str(part) for part in listed_parts.values()}) if isinstance(listed_parts, dict) else []
    if not parts or any(Path(part).name != part for part in parts):
        raise ConfigError(f"Backbone '{name}': {candidate} lists no weight files of this folder. Restore the file.")
    return parts


def read_normalisation(folder: Path, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that normalize RGB values in 0..1; those of CLIP if the checkpoint has none.

    The size of the images is that of the image tower, and images are resized and cropped as in docs/data.md.

    Raises:
        ConfigError: the values are not three numbers each, or a deviation is not above zero.
    """
    stated: dict = {}
    if (folder / "processor_config.json").is_file():  # transformers 5 writes here what was in the other file
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
        f"{key} is false, but images are always scaled to 0..1 and normalized here"
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
    """Read a JSON file of a checkpoint.

    Raises:
        ConfigError: it cannot be read, or is not an object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"Backbone '{name}': {path.name} cannot be read: {one_line(error)}. Restore it.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"Backbone '{name}': {path.name} holds {type(found).__name__}, not an object. Restore it.")
    return found


def check_complete(folder: Path, name: str) -> None:
    """Refuse a folder of which transformers would load only a part, or other files.

    Raises:
        ConfigError: weights or tokenizer are missing, or it is an adapter; all problems in one message.
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
        raise ConfigError(listed(f"Backbone '{name}' cannot be loaded", problems, advice()))


def one_line(error: BaseException) -> str:
    """The first informative line of an error's message, without its full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.strip().endswith(":")]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def advice() -> str:
    """The sentence that ends messages about a folder that is not a checkpoint."""
    return (
        "Give a folder in Hugging Face layout (config.json, model.safetensors, tokenizer files) or a hub id such as "
        f"{EXAMPLE}."
    )
