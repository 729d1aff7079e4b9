"""Build a CLIP of ViT-B/16's shape with random weights, and provide real class names, for speed benchmarks.

Speed depends on shapes and on the lengths of names, not on the values of weights, so nothing is downloaded.
"""

import re
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel

from benchmark.clip.backbone import Clip
from benchmark.clip.config import ClipConfig, TextConfig, VisionConfig
from benchmark.clip.outline import Outline
from benchmark.errors import ConfigError

NAMES = Path(__file__).with_name("class_names.tsv")
START, END = 49406, 49407  # CLIP's start and end token
WORDS = {"a": 320, "photo": 1125, "of": 539, "X": 343}  # token ids of the words before a name


@cache
def _listed() -> tuple[dict[str, list[str]], dict[str, list[int]]]:
    """Return list ("imagenet", "cars") to its names in label order, and name to the token ids of "name."."""
    lists: dict[str, list[str]] = {}
    ids: dict[str, list[int]] = {}
    for line in NAMES.read_text(encoding="utf-8").splitlines()[1:]:
        which, name, numbers = line.split("\t")
        lists.setdefault(which, []).append(name)
        ids[name] = [int(number) for number in numbers.split()]
    return lists, ids


def class_names(which: str, count: int) -> tuple[str, ...]:
    """Return the first `count` names of a list, "imagenet" (1000, two of them twice) or "cars" (196).

    Raises:
        ConfigError: the list has fewer.
    """
    names = _listed()[0][which]
    if count > len(names):
        raise ConfigError(f"{count} class names of {which} were requested; there are {len(names)}.")
    return tuple(names[:count])


class ListedTokenizer:
    """CLIP's tokens of "<words> <class name>." for the listed names, computed with CLIP's own tokenizer."""

    bos_token_id = START

    def __call__(self, texts: Sequence[str], verbose: bool = True) -> dict[str, list[list[int]]]:
        """Return the token ids of each text, with start and end."""
        return {"input_ids": [[START, *self._ids(text), END] for text in texts]}

    def _ids(self, text: str) -> list[int]:
        words = text.split()
        before = 0
        while before < len(words) and words[before] in WORDS:
            before += 1
        ids, rest = [WORDS[word] for word in words[:before]], " ".join(words[before:])
        if not rest:
            return ids
        found = _listed()[1].get(rest.removesuffix("."))
        if found is None or not rest.endswith("."):
            raise ConfigError(f"'{rest}' is not one of the class names in {NAMES.name} with a full stop after it.")
        return ids + found


class WordTokenizer(ListedTokenizer):
    """CLIP's tokens of a listed class name; each other word or mark counts as one token, whose number is a hash."""

    def __init__(self):
        self._known: dict[str, list[int]] = {}

    def _ids(self, text: str) -> list[int]:
        if text not in self._known:
            words = text.split()
            spans = [(j - i, i, j) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
            names = (" ".join(words[i:j]).rstrip(".,") for _, i, j in sorted(spans, reverse=True))
            name = next((name for name in names if name in _listed()[1]), None)  # the longest
            if name is None:
                self._known[text] = _hashed(text)
            else:
                before, _, after = text.partition(name)
                self._known[text] = [*_hashed(before), *_listed()[1][name][:-1], *_hashed(after)]
        return self._known[text]


def _hashed(text: str) -> list[int]:
    return [zlib.crc32(word.encode()) % START for word in re.findall(r"\w+|[^\w\s]", text)]


def outline_clip() -> tuple[Clip, ClipConfig]:
    """Return a CLIP of ViT-B/16's sizes on which methods cost nothing, and its configuration; see clip.outline."""
    config = ClipConfig(text_config=TextConfig(), vision_config=VisionConfig(patch_size=16))
    return Clip(Outline(config, narrow=True), WordTokenizer(), "an outline of ViT-B/16"), config


def random_clip(device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0) -> Clip:
    """Return a CLIP of ViT-B/16's shape (vision 768 wide, text 512 wide, 12 layers each) with random weights."""
    config = CLIPConfig(vision_config={"patch_size": 16})  # the other sizes of ViT-B/16 are the defaults
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIPModel(config)
    return Clip(model.to(device=device, dtype=dtype), ListedTokenizer(), "random weights, ViT-B/16's shape")
