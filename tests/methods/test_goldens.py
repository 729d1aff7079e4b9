"""The methods against the authors' own code: features, logits, losses, gradients and ten steps of SGD.

Tolerances are those of goldens/README.md next to the goldens: float32 sums in another order.
"""

import pytest
import torch

from benchmark.clip.backbone import ImageFeatures
from benchmark.common.constants import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY
from benchmark.plugins.factory import create_method

pytestmark = pytest.mark.golden

CASES = {
    "coop_ctxinit": ("coop", {"ctx_init": "a photo of a"}),
    "cocoop_b1": ("cocoop", {"ctx_init": "a photo of a"}),
    "kgcoop_eurosat": ("kgcoop", {"knowledge_weight": 8.0}),
    "prograd_caltech_n4": ("prograd", {"n_ctx": 4, "projection": 1.0, "temperature": 1.0}),
}
TEMPLATES = {"coop_ctxinit": "a photo of a {}, a type of pet.", "cocoop_b1": "a photo of a {}, a type of pet."}


def start(case, golden, clip):
    tensors, manifest = golden(case)
    name, config = CASES[case]
    template = manifest.get("template_used") or TEMPLATES[case]
    method = create_method(name, clip=clip, class_names=manifest["classnames"], template=template, config=config)
    return method, tensors, manifest


def named(tensors, prefix):
    start = f"{prefix}.prompt_learner."
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}


def assert_close(got, wanted, tolerance):
    assert (got - wanted).abs().max().item() <= tolerance


@pytest.fixture(params=sorted(CASES))
def case(request, golden, golden_clip):
    method, tensors, manifest = start(request.param, golden, golden_clip)
    images = golden_clip.encode_images(tensors["pixel_values"])
    return request.param, method, images, tensors, manifest


@pytest.mark.parametrize("name", ["coop_ctxinit", "cocoop_b1", "kgcoop_eurosat"])  # ProGrad's golden start has noise
def test_context_from_words_equals_authors_start(name, golden, golden_clip):
    method, tensors, _ = start(name, golden, golden_clip)
    assert torch.equal(method.learned_state()["ctx"], tensors["init.prompt_learner.ctx"])


def test_image_features_and_initial_logits_equal_authors(case):
    _, method, images, tensors, _ = case
    assert_close(images.pooled, tensors["image_features_norm"], 1e-6)
    method.load_learned_state(named(tensors, "init"))
    with torch.no_grad():
        assert_close(method(images), tensors["logits_eval_init"], 2e-5)


def test_trajectory_equals_authors(case):
    name, method, images, tensors, manifest = case
    method.load_learned_state(named(tensors, "init"))
    optimizer = torch.optim.SGD(method.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    for step, indices in enumerate(tensors["batch_indices"]):
        optimizer.zero_grad()
        losses = method.loss(images[indices], tensors["labels"][indices])
        plain = torch.autograd.grad(losses.total, method.ctx, retain_graph=True)[0]
        method.backward(losses)
        wanted = manifest["losses"][step]
        tolerance = 1e-5 if step == 0 else 2e-4
        assert losses.total.item() == pytest.approx(wanted.get("loss", wanted.get("xe_loss")), abs=tolerance)
        if name.startswith("prograd"):
            assert losses.steering["knowledge"].item() == pytest.approx(wanted["kl_loss"], abs=tolerance)
            projected = not torch.equal(plain, method.ctx.grad)
            assert projected == manifest["gradient_conflict"][step]["projected"]
            used = tensors[f"step{step}.grad_used.prompt_learner.ctx"]
            assert_close(method.ctx.grad, used, 1e-4 * used.abs().max().item())
        if name.startswith("kgcoop"):
            parts = manifest["loss_parts"][step]
            assert losses.terms["cross_entropy"].item() == pytest.approx(parts["cross_entropy"], abs=tolerance)
            assert losses.terms["knowledge"].item() == pytest.approx(8.0 * parts["score"], abs=tolerance)
        if step == 0:
            for key, gradient in named(tensors, "grad_step0").items():
                got = method.get_parameter(key).grad
                assert_close(got, gradient, 1e-5 * gradient.abs().max().item())
        optimizer.step()
        if step == 0:
            for key, value in named(tensors, "after_step1").items():
                assert_close(method.learned_state()[key], value, 5e-7)
    for key, value in named(tensors, "final").items():
        assert_close(method.learned_state()[key], value, 2e-5)
    with torch.no_grad():
        assert_close(method(images), tensors["logits_eval_final"], 2e-3)


def test_zero_shot_equals_authors(golden, golden_clip):
    tensors, manifest = golden("zeroshot_pets")
    template = manifest["templates"][0]
    method = create_method("zero_shot", clip=golden_clip, class_names=manifest["classnames"], template=template)
    images = golden_clip.encode_images(tensors["pixel_values"])
    assert_close(method(images), tensors["logits"], 2e-5)
    assert not list(method.parameters())


def test_ensemble_is_the_normalised_mean_of_normalised_features(golden, golden_clip):
    tensors, manifest = golden("zeroshot_pets")
    names, templates = manifest["classnames"], ["itap of a {}.", "art of the {}."]
    method = create_method(
        "zero_shot", clip=golden_clip, class_names=names, template="{}.", config={"templates": templates}
    )
    parts = [golden_clip.encode_texts([t.format(n.replace("_", " ")) for n in names]) for t in templates]
    mean = torch.stack(parts).mean(0)
    text = mean / mean.norm(dim=-1, keepdim=True)
    images = ImageFeatures(tensors["image_features_norm"])
    assert_close(method(images), golden_clip.logit_scale * images.pooled @ text.T, 2e-5)
