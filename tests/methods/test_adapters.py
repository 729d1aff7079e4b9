"""Test CLIP-Adapter, Tip-Adapter, Tip-Adapter-F and TaskRes against their equations and the authors' recipes."""

import math

import pytest
import torch
from safetensors.torch import load_file

from benchmark.clip.backbone import ImageFeatures
from benchmark.common.constants import IMAGENET_TEMPLATES
from benchmark.errors import ConfigError
from benchmark.method import fill_template
from benchmark.plugins.factory import create_method, resolve_recipe
from benchmark.records import store
from run_all import main

NAMES = ["red circle", "square", "large green star"]
TEMPLATE = "a photo of a {}."
LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 0])
CACHES = ("tip_adapter", "tip_adapter_f")


def features(clip, count, seed=0):
    """Return random image features of unit length."""
    pooled = torch.randn(count, clip.joint_width, generator=torch.Generator().manual_seed(seed))
    return ImageFeatures(pooled / pooled.norm(dim=-1, keepdim=True))


def make(clip, name, *, sampled=True, **config):
    method = create_method(name, clip=clip, class_names=NAMES, template=TEMPLATE, config=config)
    if sampled and method.sample_views:
        method.take_sample([features(clip, len(LABELS), seed=10 + v) for v in range(method.sample_views)], LABELS)
    return method


def test_clip_adapter_mixes_the_feature_with_a_bottleneck_of_it(clip):
    images, method = features(clip, 5), make(clip, "clip_adapter", ratio=0.3, reduction=8)
    assert method.down.weight.shape == (clip.joint_width // 8, clip.joint_width)
    text = clip.encode_texts(fill_template(NAMES, TEMPLATE))
    for image, logits in zip(images.pooled, method(images), strict=True):
        hidden = (method.down.weight @ image).clamp(min=0)
        mixed = 0.3 * (method.up.weight @ hidden).clamp(min=0) + 0.7 * image
        assert torch.allclose(logits, clip.logit_scale * text @ (mixed / mixed.norm()), atol=1e-4)
        assert torch.allclose(method.adapt(7.3 * image), method.adapt(image), atol=1e-6), "any length, as the authors'"


@pytest.mark.parametrize("name", CACHES)
def test_cache_votes_by_similarity_with_every_training_image(clip, name):
    images, method = features(clip, 4), make(clip, name, alpha=0.7, beta=2.0, views=3)
    views = torch.stack([features(clip, len(LABELS), seed=10 + v).pooled for v in range(3)])
    text = clip.encode_texts(fill_template(NAMES, TEMPLATE))
    for image, logits in zip(images.pooled, method(images), strict=True):
        wanted = clip.logit_scale * text @ image
        for n, label in enumerate(LABELS):
            key = views[:, n].mean(dim=0)
            wanted[label] += 0.7 * math.exp(-2.0 * (1 - image @ key / key.norm()))
        assert torch.allclose(logits, wanted, atol=1e-4)
    assert torch.equal(make(clip, name, sampled=False)(images), make(clip, "zero_shot")(images))


def test_taskres_adds_residuals_to_the_mean_of_text_features_that_are_not_normalized(clip):
    templates = ["{}", "a blurry picture of many {} at night."]  # their features have different lengths
    images, method = features(clip, 4), make(clip, "taskres", alpha=0.6, templates=templates)
    with torch.no_grad():
        method.text_feature_residuals[1] += 1
    parts = [clip.encode_texts(fill_template(NAMES, one), unit_length=False) for one in templates]
    text = sum(parts) / 2 + 0.6 * method.text_feature_residuals
    wanted = clip.logit_scale * images.pooled @ (text / text.norm(dim=-1, keepdim=True)).T
    assert torch.allclose(method(images), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("clip_adapter", {"ratio": 1.2}, "ratio is 1.2"),
        ("clip_adapter", {"templates": ["no name"]}, "templates must be"),
        ("tip_adapter", {"alpha": -1.0}, "alpha is -1.0"),
        ("tip_adapter_f", {"alpha": 0.0}, "keys would learn nothing"),
        ("taskres", {"alpha": 0.0}, "alpha is 0.0"),
    ],
)
def test_invalid_option_is_refused(clip, name, config, message):
    with pytest.raises(ConfigError, match=message):
        make(clip, name, **config)


def test_recipes_are_the_authors():
    def recipe(name, dataset="dtd", shots=16, protocol="few_shot"):
        return resolve_recipe(name, template=TEMPLATE, dataset=dataset, protocol=protocol, shots=shots)

    for name, epochs in (("clip_adapter", (50, 100, 200)), ("taskres", (100, 100, 200)), ("tip_adapter_f", (20,) * 3)):
        assert tuple(recipe(name, shots=shots).training.epochs for shots in (1, 4, 8)) == epochs
    keys = ("optimizer", "learning_rate", "weight_decay", "warmup_epochs")
    for name, values in (("taskres", ("adam", 2e-3, 5e-4, 1)), ("tip_adapter_f", ("adamw", 1e-3, 0.01, 0))):
        assert tuple(getattr(recipe(name).training, key) for key in keys) == values
    assert recipe("tip_adapter").training is None
    assert recipe("taskres", "imagenet").training.learning_rate == 2e-4
    assert recipe("taskres", "oxford_flowers").options["alpha"] == 1.0
    for name, own in (("tip_adapter", ()), ("tip_adapter_f", ()), ("taskres", (TEMPLATE,))):
        for dataset in ("imagenet", "imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"):
            options = recipe(name, dataset, protocol="domain_generalization").options
            assert options["templates"] == (*IMAGENET_TEMPLATES, *own), "one list for ImageNet and its versions"


@pytest.mark.slow
def test_coop_and_adapters_improve_on_zero_shot_and_caches_are_recorded(tmp_path):
    methods = ["zero_shot", "coop", "clip_adapter", "tip_adapter", "tip_adapter_f", "taskres"]
    words = ["--protocol", "few_shot", "--datasets", "synth_overhead", "--seeds", "1", "--shots", "8"]
    for setting in ("taskres.epochs=10", "clip_adapter.epochs=10", "coop.epochs=20", "coop.ctx_init=a photo of a"):
        words += ["--set", setting]
    assert main([*words, "--processes", "1", "--methods", *methods, "--out", str(tmp_path)]) == 0
    records = {record.spec.method: record for record in store.collect(tmp_path)[0]}
    correct = {name: records[name].scores["all"].correct for name in methods}
    assert min(correct[name] for name in methods[1:]) > correct["zero_shot"], correct
    assert [record.spec.method for record in records.values() if record.learns_nothing] == ["zero_shot"]
    for name in CACHES:
        learned = load_file(records[name].spec.record_path(tmp_path).with_suffix(".safetensors"))
        assert learned["values"].sum(dim=0).tolist() == [8] * 10, "one row for each training image"
