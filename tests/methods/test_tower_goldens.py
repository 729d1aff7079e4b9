"""The methods that learn inside the towers against the authors' own code: logits, losses, gradients and ten steps."""

import pytest
import torch

from benchmark.common.config import Training
from benchmark.plugins.factory import create_method
from benchmark.training.schedule import make_optimizer

pytestmark = pytest.mark.golden

PETS = "a photo of a {}, a type of pet."
CASES = {
    "maple_d3": ("maple", {"n_ctx": 2, "ctx_init": "a photo of a", "depth": 3}),
    "promptsrc_t3v3": ("promptsrc", {"depth": 3, "depth_vision": 3}),
    "tcp_random": ("tcp", {"n_ctx": 4, "ctx_init": None, "layer": 1}),
    "mma_s1": ("mma", {"first": 2, "last": 3, "dim": 16, "scale": 0.1}),
    "mmrl": ("mmrl", {"first": 2, "last": 3, "dim": 32, "regularisation": 0.2}),
}
LEARNERS = ("prompt_learner.", "adapter_learner.", "representation_learner.")
PROMPTSRC = {
    "image_encoder.VPT": "vision_prompts.0",
    "image_encoder.transformer.resblocks.": "vision_prompts.",
    "text_encoder.transformer.resblocks.": "text_prompts.",
    "image_encoder.proj_rep": "proj_rep",
}


def own_name(name):
    """The name in learned_state of a tensor of the authors' model."""
    for start in LEARNERS:
        name = name.removeprefix(start)
    for theirs, ours in PROMPTSRC.items():
        name = name.replace(theirs, ours)
    return name.removesuffix(".VPT_shallow")


def named(tensors, prefix):
    return {own_name(k.removeprefix(f"{prefix}.")): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def assert_close(got, wanted, tolerance, what=""):
    difference = (got - wanted).abs().max().item()
    assert difference <= tolerance, f"{what}: {difference} above {tolerance}"


@pytest.mark.parametrize("case", CASES)
def test_trajectory_equals_authors(case, golden, golden_clip):
    tensors, manifest = golden(case)
    name, config = CASES[case]
    method = create_method(name, clip=golden_clip, class_names=manifest["classnames"], template=PETS, config=config)
    images = golden_clip.encode_images(tensors["pixel_values"], method.needs_patches)
    start, labels = named(tensors, "init"), tensors["labels"]
    assert start.keys() == method.learned_state().keys()
    method.load_learned_state(start)
    # the tolerance of logits is for cosines times tiny-clip's factor; MMRL's is another
    factor = max(1.0, getattr(method.options, "logit_factor", 0) / golden_clip.logit_scale.item())
    with torch.no_grad():
        assert_close(method(images), tensors["logits_eval_init"], 2e-5 * factor, "logits")
    about = manifest["optimizer"]
    training = Training(
        epochs=1,
        batch_size=4,
        warmup_epochs=0,
        optimizer=about["name"],
        learning_rate=about["lr"],
        weight_decay=about["weight_decay"],
        epsilon=about.get("eps", 1e-8),
    )
    optimizer = make_optimizer(training, method.learnable())
    for step, indices in enumerate(tensors["batch_indices"]):
        optimizer.zero_grad()
        losses = method.loss(images[indices], labels[indices])
        method.backward(losses)
        assert losses.total.item() == pytest.approx(manifest["losses"][step]["loss"], abs=1e-5 if step == 0 else 2e-4)
        if step == 0:
            for key, gradient in named(tensors, "grad_step0").items():
                assert_close(method.get_parameter(key).grad, gradient, 1e-5 * gradient.abs().max().item(), key)
        optimizer.step()
        if step == 0 and about["name"] == "sgd":  # Adam divides by gradients, and shows the last digits of small ones
            for key, value in named(tensors, "after_step1").items():
                assert_close(method.learned_state()[key], value, 5e-7, key)
    for key, value in named(tensors, "final").items():
        assert_close(method.learned_state()[key], value, 2e-5, key)
    with torch.no_grad():
        assert_close(method(images), tensors["logits_eval_final"], 2e-3, "final logits")


@pytest.mark.parametrize("case", ["maple_d3", "mma_s1"])
def test_the_frozen_feature_is_not_computed_unless_it_is_read(case, golden, golden_clip):
    tensors, manifest = golden(case)
    name, config = CASES[case]
    method = create_method(name, clip=golden_clip, class_names=manifest["classnames"], template=PETS, config=config)
    images = golden_clip.encode_images(tensors["pixel_values"], method.needs_patches)
    method.backward(method.loss(images, tensors["labels"]))
    assert "pooled" not in vars(images)
    assert images.pooled.shape == (8, golden_clip.joint_width)
    assert not images.pooled.requires_grad
