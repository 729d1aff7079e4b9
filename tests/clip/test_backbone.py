"""Checkpoints in, features out: whose activation, which patches, what is refused."""

from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from benchmark.clip.backbone import load_clip
from benchmark.clip.config import read_config
from benchmark.clip.tokenizer import ClipTokenizer, read_tokenizer
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import ShapeError


@pytest.mark.parametrize("section, changed", [("text_config", "text"), ("vision_config", "image")])
def test_activation_of_the_checkpoint_is_honoured(clip, copy, pictures, section, changed):
    """QuickGELU and GELU differ by little, and a swapped one still classifies: only the numbers tell."""
    assert clip.model.config.to_dict()[section]["hidden_act"] == "quick_gelu"
    other = load_clip(copy(section, hidden_act="gelu"))
    text = (clip.encode_texts(["a photo of a circle."]) - other.encode_texts(["a photo of a circle."])).abs().max()
    image = (pictures(clip, 2).pooled - pictures(other, 2).pooled).abs().max()
    assert (text > 1e-4) == (changed == "text")
    assert (image > 1e-4) == (changed == "image")


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


def test_pooled_feature_is_the_models_own(clip):
    pixels = torch.randn(2, 3, clip.image_size, clip.image_size, generator=torch.Generator().manual_seed(0))
    out = clip.model.get_image_features(pixel_values=pixels)
    pooled = out if isinstance(out, torch.Tensor) else out.pooler_output
    wanted = pooled / pooled.norm(dim=-1, keepdim=True)
    assert (clip.encode_images(pixels).pooled - wanted).abs().max() < 5e-6


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
