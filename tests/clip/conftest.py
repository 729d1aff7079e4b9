"""Checkpoints made on the spot: the embedded one with something changed, and random ones of other shapes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from benchmark.clip.backbone import Clip, load_clip
from benchmark.data.synthetic.suite import CHECKPOINT

# Three CLIPs in which no two sizes are equal, or a fixed multiple of one another, that are so in OpenAI's. The ids of
# start and end are the embedded tokenizer's, 894 and 895, or what old configurations say instead.
SHAPES = {
    "legacy": {
        "projection_dim": 24,
        "text_config": {
            "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2, "num_attention_heads": 3,
            "vocab_size": 896, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
        },
        "vision_config": {
            "hidden_size": 40, "intermediate_size": 72, "num_hidden_layers": 3, "num_attention_heads": 5,
            "image_size": 28, "patch_size": 7,
        },
    },
    "gelu": {
        "projection_dim": 32,
        "text_config": {
            "hidden_size": 64, "intermediate_size": 90, "num_hidden_layers": 4, "num_attention_heads": 2,
            "vocab_size": 896, "bos_token_id": 894, "eos_token_id": 895, "pad_token_id": 0,
            "max_position_embeddings": 40, "hidden_act": "gelu", "layer_norm_eps": 1e-2,
        },
        "vision_config": {
            "hidden_size": 96, "intermediate_size": 500, "num_hidden_layers": 2, "num_attention_heads": 4,
            "image_size": 60, "patch_size": 12, "hidden_act": "gelu", "layer_norm_eps": 1e-3,
        },
    },
    "mixed": {
        "projection_dim": 80,
        "text_config": {
            "hidden_size": 32, "intermediate_size": 200, "num_hidden_layers": 2, "num_attention_heads": 4,
            "vocab_size": 905, "bos_token_id": 894, "eos_token_id": 895, "pad_token_id": 896,
            "max_position_embeddings": 24, "layer_norm_eps": 1e-6,
        },
        "vision_config": {
            "hidden_size": 56, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 7,
            "image_size": 50, "patch_size": 16, "hidden_act": "gelu_new",
        },
    },
}  # fmt: skip


@pytest.fixture
def copy(tmp_path):
    """copy(section="text_config", hidden_act="gelu"): the embedded checkpoint with one setting changed, or as it is."""

    def make(section=None, **changes):
        folder = tmp_path / "checkpoint"
        shutil.copytree(CHECKPOINT, folder, dirs_exist_ok=True)
        if changes:
            config = json.loads((folder / "config.json").read_text())
            (config if section is None else config[section]).update(changes)
            (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


def random_model(shape: str) -> CLIPModel:
    """Weights in which every bias and norm matters, which transformers' own start leaves at zero and one."""
    generator = torch.Generator().manual_seed(len(shape))
    model = CLIPModel(CLIPConfig(**SHAPES[shape]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.3 if parameter.dim() < 2 else 0.7 / parameter[0].numel() ** 0.5
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(centre + spread * torch.randn(parameter.shape, generator=generator))
        model.logit_scale.fill_(2.5)
    return model


def write_checkpoint(folder: Path, shape: str) -> Path:
    """One of the three, each in files of its own kind: whole, in half precision and parts, as a pickle of tensors."""
    model = random_model(shape)
    tokenizer = CLIPTokenizer.from_pretrained(CHECKPOINT)
    if shape == "legacy":
        model.save_pretrained(folder)
        tokenizer.backend_tokenizer.model.save(str(folder))  # vocab.json and merges.txt alone, no word on lengths
    elif shape == "gelu":
        model.half().save_pretrained(folder, max_shard_size="100KB")
        CLIPTokenizer.from_pretrained(CHECKPOINT, pad_token="!").save_pretrained(folder)  # as some of LAION's
        CLIPImageProcessorPil(size=60, crop_size=60, image_mean=[0.5] * 3, image_std=[0.5, 0.4, 0.3]).save_pretrained(
            folder
        )
    else:
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        tokenizer.add_tokens(["<|stranger|>"])  # the end token's id is no longer the highest
        tokenizer.save_pretrained(folder)
        (folder / "open_clip_pytorch_model.bin").write_bytes(b"what another library reads")
    return folder


@pytest.fixture(scope="session")
def random_checkpoints(tmp_path_factory) -> dict[str, Path]:
    """Shape to folder."""
    root = tmp_path_factory.mktemp("random")
    folders = {shape: root / shape for shape in SHAPES}
    for shape, folder in folders.items():
        folder.mkdir()
        write_checkpoint(folder, shape)
    return folders


@pytest.fixture(scope="session", params=SHAPES)
def random_checkpoint(request, random_checkpoints) -> tuple[str, Path]:
    """Each of the three: its shape's name and its folder."""
    return request.param, random_checkpoints[request.param]


@pytest.fixture(scope="session")
def random_clip(random_checkpoint) -> Clip:
    """Each of the three in double precision."""
    return load_clip(random_checkpoint[1], dtype=torch.float64)
