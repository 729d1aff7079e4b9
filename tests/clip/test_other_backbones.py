"""CLIPs of other shapes than OpenAI's: transformers' numbers, every method, a plan and a run from end to end."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPConfig, CLIPModel

import benchmark.planning.inputs
import run_all
from benchmark.clip.backbone import Clip, load_clip, outline
from benchmark.clip.config import read_config
from benchmark.clip.locate import checkpoint_hash
from benchmark.costs.operations import Tower, image_operations
from benchmark.data.catalog import load_dataset
from benchmark.data.images import normalise, test_view
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.plugins.discovery import method_names
from benchmark.plugins.factory import create_method
from benchmark.plugins.recipes import resolve_recipe
from benchmark.prompts import PromptMethod
from benchmark.records.store import collect
from benchmark.towers import TowerMethod

TEXTS = ["a photo of a red circle.", "star", "a drawing of striped squares, in fog!", "circle"]
NAMES = ["circle", "red star", "striped square", "star"]
LABELS = torch.tensor([0, 3, 1])
SHALLOW = {  # options for towers of two layers
    "maple": {"depth": 2},
    "promptsrc": {"depth": 2, "depth_vision": 2},
    "tcp": {"layer": 1},
    "mma": {"first": 2, "last": 2},
    "mmrl": {"first": 1, "last": 2},
}


@pytest.fixture(scope="session")
def reference(random_checkpoint) -> CLIPModel:
    """The same checkpoint as transformers alone runs it (its eager attention has a softmax in single precision)."""
    return CLIPModel.from_pretrained(random_checkpoint[1], dtype=torch.float64, attn_implementation="sdpa").eval()


@pytest.fixture
def views():
    """views(clip, 3): pictures as uint8, (B, S, S, 3)."""

    def draw(clip: Clip, count: int) -> np.ndarray:
        images = np.random.default_rng(0).integers(0, 256, (count, 70, 90, 3), dtype=np.uint8)
        return np.stack([test_view(Image.fromarray(image), clip.image_size) for image in images])

    return draw


def unit(features: torch.Tensor) -> torch.Tensor:
    return features / features.norm(dim=-1, keepdim=True)


def padded(folder, texts: list[str]) -> dict[str, torch.Tensor]:
    """Texts as transformers would feed them: filled up with the checkpoint's own pad token, masked."""
    return dict(AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt"))


def test_text_features_are_those_of_transformers(random_checkpoint, random_clip, reference):
    inputs = padded(random_checkpoint[1], TEXTS)
    assert len(set(inputs["attention_mask"].sum(dim=1).tolist())) > 1, "texts of several lengths"
    with torch.no_grad():
        wanted = unit(reference.get_text_features(**inputs).pooler_output)
    assert (random_clip.encode_texts(TEXTS) - wanted).abs().max() < 1e-12
    ids, ends = inputs["input_ids"], inputs["attention_mask"].sum(dim=1) - 1
    dense = random_clip.text.encode_dense(random_clip.text.embed(ids), ends)
    assert (dense - wanted).abs().max() < 1e-12


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("backbone", ["embedded", "legacy", "gelu", "mixed"])
def test_image_features_are_those_of_transformers(backbone, dtype, tolerance, random_checkpoints, views):
    """Raw features differ by at most the tolerance times the largest, which is 1 for the others."""
    clip = load_clip(random_checkpoints.get(backbone, CHECKPOINT), dtype=dtype)
    pixels = normalise(torch.from_numpy(views(clip, 3)), clip.mean, clip.std).to(dtype)
    with torch.no_grad():
        out = clip.model.get_image_features(pixel_values=pixels)
        normed = clip.model.vision_model.post_layernorm(out.last_hidden_state)
        projected = unit(clip.model.visual_projection(normed))[:, 1:]
    for patches, wanted in {None: None, "raw": out.last_hidden_state[:, 1:], "projected": projected}.items():
        features = clip.encode_images(pixels, patches)
        assert (features.pooled - unit(out.pooler_output)).abs().max() < tolerance
        if patches is not None:
            assert (features.patches - wanted).abs().max() < tolerance * wanted.abs().max().clamp(min=1)
    for layer in range(clip.vision_layers):
        assert (clip.encode_images(pixels, layer).pooled - unit(out.pooler_output)).abs().max() < tolerance


@pytest.mark.parametrize("name", method_names())
def test_every_method_runs_and_its_fast_path_is_the_dense_one(name, random_clip, pictures):
    method = create_method(
        name, clip=random_clip, class_names=NAMES, template="a photo of a {}.", config=SHALLOW.get(name, {})
    )
    images = pictures(random_clip, len(LABELS), method.needs_patches)
    assert method(images).shape == (len(LABELS), len(NAMES))
    losses = method.loss(images, LABELS)
    assert torch.isfinite(losses.total)
    if not isinstance(method, PromptMethod):
        return
    method.backward(losses)
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in method.learnable())
    if isinstance(method, TowerMethod):
        return  # tests/clip/test_edits.py
    features = [encode(method, method.context(images)) for encode in (lambda m, c: m.encode_classes(c), dense_classes)]
    weights = torch.randn(features[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = [torch.autograd.grad((f * weights).sum(), method.ctx)[0] for f in features]
    assert (features[0] - features[1]).abs().max() < 1e-12
    assert (gradients[0] - gradients[1]).abs().max() < 1e-11 * gradients[1].abs().max().clamp(min=1)


def dense_classes(method, context: torch.Tensor) -> torch.Tensor:
    """Every prompt of every image written out and encoded in full: (B, C, D)."""
    text, n_ctx = method.clip.text, context.shape[1]
    features = []
    for vectors in context:
        of_image = []
        for row in method.clip.tokenize([f"{method.prefix} {name}." for name in NAMES]):
            own = text.embed(torch.tensor(row)).to(vectors.dtype)
            prompt = torch.cat([own[:1], vectors, own[1 + n_ctx :]])
            of_image.append(text.encode_dense(prompt[None], torch.tensor([len(row) - 1]))[0])
        features.append(torch.stack(of_image))
    return torch.stack(features)


# Configurations as published, by what they state; what they leave out is transformers' default. Then what must be read:
# vision width, patches, image size, joint width, text width, and 10^9 operations of the image and the whole text tower
# as open_clip's docs/model_profile.csv counts them.
LARGE = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
LARGE_VISION = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14
}  # fmt: skip
OLD, GELU = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}, {"hidden_act": "gelu"}
PUBLISHED = {
    "openai/clip-vit-base-patch16": (
        {"projection_dim": 512, "text_config": OLD, "vision_config": {"patch_size": 16}, "text_config_dict": None},
        (768, 196, 224, 512, 512, 35.13, 5.96),
    ),
    "openai/clip-vit-large-patch14": (  # old files say it twice, and the one with _dict counts
        {"projection_dim": 768, "text_config": OLD, "text_config_dict": LARGE, "vision_config_dict": LARGE_VISION},
        (1024, 256, 224, 768, 768, 162.03, 13.3),
    ),
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": (
        {"projection_dim": 512, "text_config": GELU, "vision_config": {**GELU, "patch_size": 32}},
        (768, 49, 224, 512, 512, 8.82, 5.96),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_are_read_as_they_are(name, tmp_path):
    """The sizes are those that transformers reads, defaults included."""
    stated, (vision, patches, image, joint, text, image_gflop, text_gflop) = PUBLISHED[name]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip", **stated}))
    config = read_config(tmp_path, name)
    assert image_operations(Tower.vision(config)) == pytest.approx(1e9 * image_gflop, rel=0.02)
    tower = Tower.text(config)
    text_operations = tower.layers * tower.layer(77, 77**2) + 2 * tower.width * tower.joint  # of a prompt in full
    assert text_operations == pytest.approx(1e9 * text_gflop, rel=0.02)
    theirs = CLIPConfig.from_pretrained(tmp_path)
    assert config.projection_dim == theirs.projection_dim == joint
    for tower in ("text_config", "vision_config"):
        read, wanted = vars(getattr(config, tower)), getattr(theirs, tower)
        assert read == {key: getattr(wanted, key) for key in read}
    found = config.vision_config
    assert (found.hidden_size, found.image_size) == (vision, image)
    assert (found.image_size // found.patch_size) ** 2 == patches
    assert config.text_config.hidden_size == text
    assert config.text_config.hidden_act == ("gelu" if name.startswith("laion") else "quick_gelu")


def test_outline_has_the_tokens_and_positions_of_the_checkpoint(random_checkpoint, random_clip):
    small, config = outline(random_checkpoint[1])
    assert small.tokenize(TEXTS) == random_clip.tokenize(TEXTS)
    assert (small.text.max_length, small.mean, small.std) == (
        random_clip.text.max_length, random_clip.mean, random_clip.std
    )  # fmt: skip
    assert (small.patch_count, small.image_size) == (random_clip.patch_count, random_clip.image_size)
    assert config.vision_config.hidden_size == random_clip.vision_width


ONE_DATASET = ["--datasets", "synth_actions", "--seeds", "1", "--shots", "1"]


def test_plan_refuses_class_names_that_the_text_tower_cannot_hold(copy, tmp_path, monkeypatch, capsys):
    """Known before anything runs; every run of the dataset would fail of it. All names but the last would fit."""
    folder = copy("text_config", max_position_embeddings=8)
    weights = load_file(folder / "model.safetensors")
    positions = "text_model.embeddings.position_embedding.weight"
    weights[positions] = weights[positions][:8].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    def with_a_long_name(*arguments, **options):
        dataset = load_dataset(*arguments, **options)
        return dataclasses.replace(dataset, class_names=(*dataset.class_names[:-1], "striped red square"))

    arguments = [*ONE_DATASET, "--backbone", str(folder), "--out", str(tmp_path / "out"), "--plan"]
    arguments += ["--methods", "zero_shot", "coop", "--set", "coop.n_ctx=4"]
    assert run_all.main(arguments) == 0
    monkeypatch.setattr(benchmark.planning.inputs, "load_dataset", with_a_long_name)
    assert run_all.main(arguments) == 2
    message = capsys.readouterr().err
    assert "at most 8" in message
    assert "zero_shot on synth_actions:" in message
    assert "coop on synth_actions:" in message


@pytest.mark.slow
@pytest.mark.usefixtures("sketched")
def test_all_methods_run_end_to_end_on_another_backbone(random_checkpoints, tmp_path):
    folder, arguments = random_checkpoints["gelu"], [*ONE_DATASET, "--out", str(tmp_path), "--processes", "1"]
    arguments += ["--methods", *method_names()]
    for name in method_names():
        arguments += [
            word for key, value in SHALLOW.get(name, {}).items() for word in ("--set", f"{name}.{key}={value}")
        ]
        if resolve_recipe(name, template="{}.").training:
            arguments += ["--set", f"{name}.epochs=1"]
    assert run_all.main([*arguments, "--protocol", "few_shot", "--backbone", str(folder)]) == 0
    found, problems = collect(tmp_path)
    assert ({record.spec.method for record in found}, problems) == (set(method_names()), [])
    assert {record.spec.checkpoint for record in found} == {checkpoint_hash(folder)}
