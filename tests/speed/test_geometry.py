"""The names and the shape that speed is measured on."""

import pytest
from transformers import AutoTokenizer

from benchmark.errors import ConfigError
from benchmark.speed.geometry import ListedTokenizer, class_names


def test_listed_tokens_are_clips_own(shared):
    tokenizer = AutoTokenizer.from_pretrained(shared / "tiny-clip")
    names = class_names("imagenet", 1000) + class_names("cars", 196)
    texts = [*(f"a photo of a {name}." for name in names), "X X X X tench.", "a photo of a"]
    assert ListedTokenizer()(texts)["input_ids"] == tokenizer(texts)["input_ids"]


def test_unlisted_name_is_refused():
    for text in ("a photo of a no such thing.", "a photo of a tench"):
        with pytest.raises(ConfigError, match="is not one of the class names"):
            ListedTokenizer()([text])
