"""Folders that are no CLIP, not a whole one, or say something unusual: one message each, with a reason and a remedy."""

import json

import pytest
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from benchmark.clip.backbone import load_clip
from benchmark.clip.checkpoint import read_normalisation
from benchmark.clip.locate import locate_checkpoint
from benchmark.clip.weights import check_loads
from benchmark.common.constants import CLIP_MEAN, CLIP_STD
from benchmark.errors import ConfigError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 605157884\n"


def refused(folder) -> str:
    """The message of load_clip, which is that of the plan's check too: whoever plans learns it before anything runs."""
    with pytest.raises(ConfigError) as loading:
        load_clip(folder)
    with pytest.raises(ConfigError) as planning:
        locate_checkpoint(folder, fetch=False)
        check_loads(folder, str(folder))
    assert str(planning.value) == str(loading.value)
    assert str(folder) in str(loading.value)
    return str(loading.value)


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("siglip", "softmax"),
        ("blip", "BERT"),
        ("clip_text_model", "text tower alone"),
        ("clip_vision_model", "image tower alone"),
        ("something_new", "causal text tower"),
    ],
)
def test_model_of_another_kind_is_refused_with_its_reason(copy, kind, reason):
    message = refused(copy(model_type=kind))
    assert f"'{kind}'" in message
    assert "only 'clip' fits" in message
    assert reason in message


def test_folder_in_open_clips_layout_is_refused_and_told_where_else_to_look(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"")
    message = refused(tmp_path)
    assert "open_clip's own layout" in message
    assert "laion/CLIP-ViT-B-32-laion2B-s34B-b79K" in message


@pytest.mark.parametrize(
    "text, wanted",
    [
        (None, "no config.json"),
        ("{", "config.json cannot be read"),
        ("[]", "holds list"),
        ("{}", "states no model_type"),
        ('{"model_type": "clip", "text_config": 3}', "not the configuration of a CLIP"),
    ],
)
def test_broken_configuration_is_refused(copy, text, wanted):
    folder = copy()
    (folder / "config.json").unlink()
    if text is not None:
        (folder / "config.json").write_text(text)
    assert wanted in refused(folder)


@pytest.mark.parametrize(
    "section, key, value, wanted",
    [
        ("text_config", "num_attention_heads", 3, "not a multiple"),
        ("text_config", "hidden_size", "wide", "'text_config.hidden_size' must be"),
        ("text_config", "hidden_act", "swishy", "'swishy'"),
        ("text_config", "vocab_size", 800, "ids go up to 895"),
        ("text_config", "eos_token_id", 5, "end with token 895"),
        ("vision_config", "num_channels", 4, "RGB"),
        ("vision_config", "image_size", [48, 64], "'vision_config.image_size' must be"),
        ("vision_config", "num_hidden_layers", 3, "layers that config.json does not state"),
        ("vision_config", "num_hidden_layers", 5, "are missing and would stay random"),
        ("vision_config", "image_size", 64, "(37, 128), not (65, 128)"),
    ],
)
def test_configuration_that_contradicts_the_rest_is_refused(copy, section, key, value, wanted):
    assert wanted in refused(copy(section, **{key: value}))


def test_old_end_id_is_refused_where_the_end_token_is_not_the_highest(copy):
    """By it transformers reads a text at its highest id, and a class name may hold a higher one."""
    folder = copy("text_config", eos_token_id=2, vocab_size=897)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<|stranger|>"])
    tokenizer.save_pretrained(folder)
    assert "highest" in refused(folder)


def test_checkpoint_without_one_weight_is_refused(copy):
    folder = copy()
    weights = load_file(folder / "model.safetensors")
    weights.pop("text_projection.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "text_projection.weight" in refused(folder)


def test_weights_that_are_not_finite_are_refused_by_name(copy):
    folder = copy()
    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"1 weights are NaN or infinite .*visual_projection.weight. Fetch the files"):
        load_clip(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_pointer_in_place_of_weights_is_refused(copy, name):
    folder = copy()
    (folder / "model.safetensors").unlink()
    (folder / name).write_text(POINTER)
    message = refused(folder)
    assert f"{name} cannot be read" in message
    assert "Git LFS" in message


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": {"logit_scale": "../other.safetensors"}}])
def test_index_that_lists_nothing_here_is_refused(copy, index):
    folder = copy()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lists no weight files of this folder" in refused(folder)


def test_processor_config_goes_before_preprocessor_config_as_in_transformers(copy):
    folder = copy()
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5]}')
    assert load_clip(folder).mean == (0.5, 0.5, 0.5)
    (folder / "processor_config.json").write_text('{"image_processor": {"image_std": [1, 0.5, 0.25]}}')
    assert read_normalisation(folder, "here") == (CLIP_MEAN, (1.0, 0.5, 0.25))
    (folder / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    assert read_normalisation(folder, "here") == ((0.5, 0.5, 0.5), CLIP_STD)


@pytest.mark.parametrize(
    "stated, wanted",
    [
        ({"image_mean": [0.5, 0.5]}, "image_mean"),
        ({"image_mean": 0.5}, "image_mean"),
        ({"image_std": [0.5, 0.5, 0]}, "above zero"),
        ({"image_std": [0.5, 0.5, "x"]}, "above zero"),
        ({"do_normalize": False}, "do_normalize"),
        ({"do_rescale": False}, "do_rescale"),
    ],
)
def test_normalisation_that_is_none_is_refused(copy, stated, wanted):
    folder = copy()
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    assert wanted in refused(folder)
