"""What the goldens of the tower methods do not show: averages, scoring of other classes, gradient factors."""

import math

import pytest
import torch
from scipy.stats import norm

from benchmark.plugins.factory import create_method
from tests.conformance.subject import LABELS, NAMES, OTHERS, TEMPLATE, images_for, suite_options


@pytest.fixture
def made(clip64):
    """made("mmrl", alpha=1.0): the method with the embedded suite's options and these."""
    return lambda name, **options: create_method(
        name, clip=clip64, class_names=NAMES, template=TEMPLATE, config=suite_options(name) | options
    )


def test_promptsrc_scores_the_gaussian_average_of_its_epochs(made):
    method, epochs = made("promptsrc", gpa_mean=2.0, gpa_std=0.8), 4
    states = []
    for done in range(1, epochs + 1):
        with torch.no_grad():
            for parameter in method.learnable():
                parameter.add_(done)
        states.append(method.learned_state())
        method.after_epoch(done, epochs)
    weights = norm.pdf(range(1, epochs + 1), 2.0, 0.8)
    for name, value in method.learned_state().items():
        wanted = sum(w * state[name] for w, state in zip(weights / weights.sum(), states, strict=True))
        assert torch.allclose(value, wanted, atol=1e-12)


def test_promptsrc_without_weights_and_average_is_ivlp(made):
    method = made("promptsrc", gpa_mean=None, text_weight=0, image_weight=0, logits_weight=0)
    losses = method.loss(images_for(method), LABELS)
    assert losses.total == losses.terms["cross_entropy"]
    before = method.learned_state()
    method.after_epoch(1, 1)
    assert all(torch.equal(value, before[name]) for name, value in method.learned_state().items())


def test_mmrl_scores_other_classes_and_other_datasets_by_the_class_token_alone(made):
    fused, alone = made("mmrl", alpha=0.7), made("mmrl", alpha=1.0)
    alone.load_learned_state(fused.learned_state())
    images = images_for(fused)

    def equal():
        with torch.no_grad():
            return torch.allclose(fused(images), alone(images), atol=1e-12)

    assert not equal()
    fused.at_home = False
    assert equal(), "another dataset with the same classes"
    fused.at_home = True
    for method in (fused, alone):
        method.set_classes(OTHERS, TEMPLATE)
    assert equal(), "other classes"
    for method in (fused, alone):
        method.set_classes(NAMES[::-1], TEMPLATE)
    assert not equal(), "the classes trained on, in another order"


def test_mma_adapters_get_gradients_as_if_the_scale_were_one_behind_them(made):
    """Gradients of the adapters are 1 / scale times the true ones: to first order they do not depend on it."""
    gradients = []
    for scale in (1e-6, 1e-7):
        method = made("mma", scale=scale)
        method.backward(method.loss(images_for(method), LABELS))
        gradients.append(torch.cat([p.grad.flatten() for p in method.learnable()]))
    assert gradients[0].norm() > 1e-3
    assert (gradients[0] - gradients[1]).norm() < 1e-3 * gradients[0].norm()


def test_tcp_keeps_the_words_behind_the_context(made):
    method = made("tcp", prompt_template="{}, a type of pet.")
    assert method.prompts("X X X X", ["cat"], TEMPLATE) == ["X X X X cat, a type of pet."]
    assert made("tcp", prompt_template=None).prompts("X X X X", ["cat"], "{} texture.") == ["X X X X cat texture."]
    assert math.isfinite(method.loss(images_for(method), LABELS).total.item())
