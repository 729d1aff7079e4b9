"""Checkpoints in, features out: whose activation, which patches, what is refused."""

from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from benchmark.clip.config import read_config
from benchmark.clip.tokenizer import ClipTokenizer, read_tokenizer
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import ShapeError


def test_weights_stored_in_half_precision_load_as_asked(clip, clip64):
    assert clip.dtype == torch.float32
    assert clip64.dtype == torch.float64
    assert not any(p.requires_grad for p in clip.model.parameters())


def test_projected_patches_have_unit_length_and_raw_ones_vision_width(clip, pictures):
    projected, raw = pictures(clip, 3), pictures(clip, 3, "raw")
    assert projected.patches.shape == (3, clip.patch_count, clip.joint_width)
    assert raw.patches.shape == (3, clip.patch_count, clip.vision_width)
    lengths = projected.patches.norm(dim=-1)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-5)
    assert pictures(clip, 3, None).patches is None


def test_images_of_another_size_are_refused(clip):
    with pytest.raises(ShapeError, match="pixels"):
        clip.encode_images(torch.zeros(1, 3, clip.image_size + 1, clip.image_size))


def test_text_of_more_than_77_tokens_is_refused_not_cut(clip):
    with pytest.raises(ShapeError, match="at most 77"):
        clip.tokenize(["circle " * 80])


@given(text=st.text(max_size=60))
def test_token_ids_are_those_of_transformers(text):
    ours, theirs = tokenizers()
    assert isinstance(ours, ClipTokenizer)
    assert ours([text])["input_ids"] == theirs([text], verbose=False)["input_ids"]


@cache
def tokenizers():
    text = read_config(CHECKPOINT, "embedded").text_config
    return read_tokenizer(CHECKPOINT, "embedded", text), AutoTokenizer.from_pretrained(CHECKPOINT)
