"""CLIP-Adapter, Tip-Adapter, Tip-Adapter-F and TaskRes: their equations restated, and what defines each of them."""

import math

import pytest
import torch

from benchmark.clip.backbone import ImageFeatures, load_clip
from benchmark.common.constants import IMAGENET_TEMPLATES, SHOTS
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import ConfigError
from benchmark.method import filled
from benchmark.plugins.factory import create_method
from benchmark.plugins.recipes import resolve_recipe

NAMES = ["red circle", "square", "large green star"]
TEMPLATE = "a photo of a {}."
LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 0])
LEARNED = {
    "clip_adapter": {"down.weight", "up.weight"},
    "tip_adapter_f": {"keys"},
    "taskres": {"text_feature_residuals"},
}
CACHES = ("tip_adapter", "tip_adapter_f")
CLASS_SPECIFIC = (*CACHES, "taskres")


def features(clip, count, seed=0):
    """Random image features of unit length; such are far from one another."""
    drawn = torch.randn(count, clip.joint_width, generator=torch.Generator().manual_seed(seed))
    return ImageFeatures(drawn / drawn.norm(dim=-1, keepdim=True))


def make(clip, name, *, sampled=True, **config):
    method = create_method(name, clip=clip, class_names=NAMES, template=TEMPLATE, config=config)
    if sampled and method.sample_views:
        method.take_sample([features(clip, len(LABELS), seed=10 + v) for v in range(method.sample_views)], LABELS)
    return method


def moved(method, seed=0):
    """The method after its parameters were pushed somewhere, as training would."""
    with torch.no_grad():
        for parameter in method.learnable():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    return method


def test_clip_adapter_is_the_blend_of_the_feature_and_a_bottleneck_of_it(clip):
    images, method = features(clip, 5), make(clip, "clip_adapter", ratio=0.3, reduction=8)
    assert method.down.weight.shape == (clip.joint_width // 8, clip.joint_width)
    text = clip.encode_texts(filled(NAMES, TEMPLATE))
    for image, logits in zip(images.pooled, method(images), strict=True):
        hidden = (method.down.weight @ image).clamp(min=0)
        blend = 0.3 * (method.up.weight @ hidden).clamp(min=0) + 0.7 * image
        assert torch.allclose(logits, clip.logit_scale * text @ (blend / blend.norm()), atol=1e-4)


def test_clip_adapter_gives_the_same_for_features_of_any_length(clip):
    """The authors feed the feature as long as the tower makes it."""
    pooled, method = features(clip, 5).pooled, moved(make(clip, "clip_adapter"))
    for length in (0.01, 7.3):
        assert torch.allclose(method.adapted(pooled), method.adapted(length * pooled), atol=1e-6)


def test_clip_adapter_without_its_network_is_zero_shot(clip):
    images = features(clip, 5)
    wanted = make(clip, "zero_shot")(images)
    assert torch.allclose(make(clip, "clip_adapter", ratio=0.0)(images), wanted, atol=1e-5)
    assert (make(clip, "clip_adapter", ratio=0.2)(images) - wanted).abs().max() > 1e-2


@pytest.mark.parametrize("name", CACHES)
def test_cache_votes_with_the_likeness_of_every_training_image(clip, name):
    images, method = features(clip, 4), make(clip, name, alpha=0.7, beta=2.0, views=3)
    views = torch.stack([features(clip, len(LABELS), seed=10 + v).pooled for v in range(3)])
    text = clip.encode_texts(filled(NAMES, TEMPLATE))
    for image, logits in zip(images.pooled, method(images), strict=True):
        wanted = clip.logit_scale * text @ image
        for n, label in enumerate(LABELS):
            key = views[:, n].mean(dim=0)
            wanted[label] += 0.7 * math.exp(-2.0 * (1 - image @ key / key.norm()))
        assert torch.allclose(logits, wanted, atol=1e-4)


def test_tip_adapter_with_alpha_zero_is_zero_shot(clip):
    images = features(clip, 5)
    assert torch.equal(make(clip, "tip_adapter", alpha=0.0)(images), make(clip, "zero_shot")(images))
    assert not torch.equal(make(clip, "tip_adapter")(images), make(clip, "zero_shot")(images))


@pytest.mark.parametrize("name", CACHES)
def test_cache_without_a_sample_leaves_zero_shot(clip, name):
    images = features(clip, 5)
    assert torch.equal(make(clip, name, sampled=False)(images), make(clip, "zero_shot")(images))


@pytest.mark.parametrize("name", CACHES)
def test_sharp_cache_gives_an_image_it_holds_that_images_label_alone(clip, name):
    method = make(clip, name, beta=1e4, views=1)
    held = features(clip, len(LABELS), seed=10)
    assert torch.allclose(method.votes(held.pooled), torch.eye(3)[LABELS], atol=0.05)


def test_tip_adapter_f_starts_as_tip_adapter_and_leaves_it_by_training(clip):
    images, method = features(clip, 5), make(clip, "tip_adapter_f")
    wanted = make(clip, "tip_adapter")(images)
    assert torch.equal(method(images), wanted)
    method.backward(method.loss(images, LABELS[:5]))
    torch.optim.AdamW(method.learnable(), lr=0.01).step()
    assert not torch.allclose(method(images), wanted, atol=1e-3)


def test_taskres_adds_its_residuals_to_text_features_as_long_as_the_tower_makes_them(clip):
    images, method = features(clip, 4), moved(make(clip, "taskres", alpha=0.6))
    base = clip.encode_texts(filled(NAMES, TEMPLATE), unit_length=False)
    assert (base.norm(dim=-1) - 1).abs().min() > 0.01, "a base of unit length would prove nothing"
    for c, residual in enumerate(method.text_feature_residuals):
        text = base[c] + 0.6 * residual
        wanted = clip.logit_scale * images.pooled @ (text / text.norm())
        assert torch.allclose(method(images)[:, c], wanted, atol=1e-4)


def test_taskres_starts_as_zero_shot(clip):
    images = features(clip, 5)
    assert torch.equal(make(clip, "taskres")(images), make(clip, "zero_shot")(images))


def test_taskres_averages_the_templates_before_it_shortens_them(clip):
    templates = ["{}", "a blurry picture of many {} at night."]  # their features are of different lengths
    images, base = features(clip, 3), 0
    for template in templates:
        base = base + clip.encode_texts(filled(NAMES, template), unit_length=False) / 2
    wanted = clip.logit_scale * images.pooled @ (base / base.norm(dim=-1, keepdim=True)).T
    assert torch.allclose(make(clip, "taskres", templates=templates)(images), wanted, atol=1e-4)


def test_residual_of_a_class_moves_that_class_alone(clip):
    images, method = features(clip, 4), make(clip, "taskres")
    before = method(images)
    with torch.no_grad():
        method.text_feature_residuals[1] += 1
    assert torch.equal(method(images)[:, [0, 2]], before[:, [0, 2]])
    assert not torch.equal(method(images)[:, 1], before[:, 1])


@pytest.mark.parametrize("name", ["clip_adapter", "tip_adapter", "tip_adapter_f", "taskres"])
def test_gradients_reach_what_is_declared_and_nothing_else(clip, name):
    method = make(clip, name)
    learned = {key for key, _ in method.named_parameters()}
    assert learned == LEARNED.get(name, set())
    if not learned:
        return
    state = method.learned_state()
    method.backward(method.loss(features(clip, len(LABELS)), LABELS))
    assert all(p.grad.abs().max() > 0 for p in method.parameters())
    assert not any(p.grad is not None for p in clip.model.parameters())
    torch.optim.SGD(method.learnable(), lr=0.1).step()
    assert {key for key, value in method.learned_state().items() if not torch.equal(value, state[key])} == learned


@pytest.mark.parametrize("name", ["clip_adapter", "tip_adapter", "tip_adapter_f", "taskres"])
def test_learned_state_scores_the_same_in_an_instance_that_took_no_sample(clip, name):
    images, method = features(clip, 5), moved(make(clip, name))
    fresh = make(clip, name, sampled=False)
    with torch.no_grad():
        before = fresh(images)
        fresh.load_learned_state(method.learned_state())
        assert torch.equal(fresh(images), method(images))
        assert not torch.equal(fresh(images), before)


@pytest.mark.parametrize("name", CACHES)
def test_loaded_cache_is_a_copy(clip, name):
    method, fresh = make(clip, name), make(clip, name, sampled=False)
    state = method.learned_state()
    fresh.load_learned_state(state)
    state["keys"].zero_()
    assert torch.equal(fresh.learned_state()["keys"], method.learned_state()["keys"])


@pytest.mark.parametrize("name", CACHES)
@pytest.mark.parametrize("key, shape", [("keys", (7, 3)), ("keys", (7,)), ("keys", ()), ("values", (7, 4))])
def test_cache_of_another_width_is_refused_and_nothing_is_taken(clip, name, key, shape):
    fresh, state = make(clip, name, sampled=False), make(clip, name).learned_state()
    with pytest.raises(ConfigError, match=f"'{key}' has shape"):
        fresh.load_learned_state(state | {key: torch.zeros(shape)})
    assert len(fresh.keys) == 0


def test_cache_of_another_size_is_refused_by_one_that_is_filled(clip):
    other = make(clip, "tip_adapter", sampled=False)
    other.take_sample([features(clip, 3)] * 10, LABELS[:3])
    with pytest.raises(ConfigError, match="'keys' has shape"):
        make(clip, "tip_adapter").load_learned_state(other.learned_state())


@pytest.mark.parametrize("name", CLASS_SPECIFIC)
def test_what_is_learned_class_by_class_follows_its_class(clip, name):
    images, method = features(clip, 5), moved(make(clip, name))
    with torch.no_grad():
        before = method(images)
        for order in ([2, 0, 1], [2, 0], [0, 1, 2]):
            method.set_classes([NAMES[c] for c in order], TEMPLATE)
            assert torch.allclose(method(images), before[:, order], atol=1e-5)


@pytest.mark.parametrize("name", CLASS_SPECIFIC)
def test_classes_that_were_not_trained_on_are_refused(clip, name):
    images, method = features(clip, 5), moved(make(clip, name))
    assert not method.transfers
    before = method(images)
    with pytest.raises(ConfigError, match="belongs to 3 classes, one by one, and cannot score others: 'dots'"):
        method.set_classes([NAMES[0], "dots"], TEMPLATE)
    assert torch.equal(method(images), before)


@pytest.mark.parametrize("name", CACHES)
def test_labels_of_a_sample_are_those_of_the_classes_in_force(clip, name):
    images, method, order = features(clip, 5), make(clip, name, sampled=False), [2, 0, 1]
    method.set_classes([NAMES[c] for c in order], TEMPLATE)
    views = [features(clip, len(LABELS), seed=10 + v) for v in range(10)]
    method.take_sample(views, torch.tensor([order.index(label) for label in LABELS]))
    assert torch.allclose(method(images), make(clip, name)(images)[:, order], atol=1e-5)


def test_clip_adapter_scores_other_classes_with_what_it_learned(clip):
    images, method = features(clip, 5), moved(make(clip, "clip_adapter"))
    method.set_classes(["dots", "stripes"], TEMPLATE)
    text = clip.encode_texts(filled(["dots", "stripes"], TEMPLATE))
    assert torch.allclose(method(images), clip.logit_scale * method.adapted(images.pooled) @ text.T, atol=1e-4)


@pytest.mark.parametrize("name", CACHES)
def test_cache_votes_in_float32_under_autocast_and_beside_a_half_precision_tower(clip, name):
    images, method = features(clip, 5), make(clip, name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(method.votes(images.pooled), make(clip, name).votes(images.pooled))
    half = make(load_clip(CHECKPOINT, dtype=torch.bfloat16), name)
    assert half.votes(images.pooled).dtype == half.keys.dtype == torch.float32


@pytest.mark.parametrize(
    "name, config, told",
    [
        ("clip_adapter", {"ratio": 1.2}, "ratio is 1.2"),
        ("clip_adapter", {"reduction": 0}, "reduction is 0"),
        ("clip_adapter", {"templates": ["no name"]}, "templates must be"),
        ("tip_adapter", {"alpha": -1.0}, "alpha is -1.0"),
        ("tip_adapter", {"views": 0}, "views is 0"),
        ("tip_adapter_f", {"alpha": 0.0}, "keys would learn nothing"),
        ("tip_adapter_f", {"views": 0}, "views is 0"),
        ("taskres", {"alpha": 0.0}, "alpha is 0.0"),
    ],
)
def test_options_that_cannot_work_are_refused(clip, name, config, told):
    with pytest.raises(ConfigError, match=told):
        make(clip, name, **config)


def recipe(name, dataset="dtd", template=TEMPLATE, **run):
    return resolve_recipe(name, template=template, dataset=dataset, **{"protocol": "few_shot", "shots": 16} | run)


@pytest.mark.parametrize(
    "name, epochs",
    [("clip_adapter", [50, 100, 100, 200, 200]), ("taskres", [100, 100, 100, 200, 200]), ("tip_adapter_f", [20] * 5)],
)
def test_recipes_train_as_long_as_the_authors_by_number_of_shots(name, epochs):
    assert [recipe(name, shots=shots).training.epochs for shots in SHOTS] == epochs


def test_recipes_have_the_authors_optimisers():
    taskres, tip = recipe("taskres").training, recipe("tip_adapter_f").training
    assert (taskres.optimizer, taskres.learning_rate, taskres.weight_decay, taskres.warmup_epochs) == (
        "adam",
        2e-3,
        5e-4,
        1,
    )
    assert (tip.optimizer, tip.learning_rate, tip.epsilon, tip.weight_decay) == ("adamw", 1e-3, 1e-4, 0.01)
    assert tip.warmup_epochs == 0
    assert recipe("taskres", "imagenet").training.learning_rate == 2e-4
    assert recipe("clip_adapter", "imagenet").training.epochs == 50
    assert recipe("tip_adapter").training is None


def test_taskres_scales_its_residuals_more_on_flowers():
    assert recipe("taskres").options["alpha"] == 0.5
    assert recipe("taskres", "oxford_flowers").options["alpha"] == 1.0


def test_imagenet_and_its_versions_share_their_list_of_templates():
    """A run of domain generalization has one list for all of them."""
    for name, wanted in [("tip_adapter", IMAGENET_TEMPLATES), ("tip_adapter_f", IMAGENET_TEMPLATES),
                         ("taskres", (*IMAGENET_TEMPLATES, TEMPLATE))]:  # fmt: skip
        for dataset in ("imagenet", "imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"):
            assert recipe(name, dataset, protocol="domain_generalization").options["templates"] == wanted
        assert recipe(name, "dtd").options["templates"] is None
