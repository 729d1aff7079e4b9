"""Test CoPL: weights over the prompts follow the patches, and without its options it is CoCoOp."""

import dataclasses
import itertools

import pytest
import torch
from accelerate import Accelerator

from benchmark.data.catalog import load_dataset
from benchmark.data.splits import few_shot, half
from benchmark.features.store import FeatureStore
from benchmark.plugins.factory import create_method
from benchmark.plugins.recipes import resolve_recipe
from benchmark.training.loop import Trainer, TrainingCopy

NAMES = ["circle", "square", "star", "cross"]
TEMPLATE = "a photo of a {}."
LABELS = torch.tensor([0, 1, 2, 3, 0])
SCORES, AGGREGATES, UPDATES = ("dot", "general", "concat"), ("mean", "sum"), ("shared", "per_prompt")


def make(clip, name="copl", **config):
    return create_method(name, clip=clip, class_names=NAMES, template=TEMPLATE, config=config)


@pytest.mark.parametrize(("aggregate", "update"), list(itertools.product(AGGREGATES, UPDATES)))
def test_without_weights_and_patches_it_is_cocoop(clip, pictures, aggregate, update):
    images, results = pictures(clip, 5), []
    for method in (make(clip, weighting=False, local=False, aggregate=aggregate, update=update), make(clip, "cocoop")):
        assert method.needs_patches is None
        losses = method.loss(images, LABELS)
        method.backward(losses)
        gradients = {name: parameter.grad for name, parameter in method.named_parameters()}
        results.append({"logits": method(images), "loss": losses.total, **gradients})
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


@pytest.mark.parametrize(("score", "patches"), list(itertools.product(SCORES, ("projected", "raw"))))
def test_weights_of_a_patch_sum_to_one_and_differ_between_patches_images_and_prompts(clip, pictures, score, patches):
    method, images = make(clip, score=score, patches=patches), pictures(clip, 5, patches)
    assert method.needs_patches == patches
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = method.alignment(images)
    weights = method.alignment(images)
    for found in (weights, rounded):
        assert found.shape == (5, clip.patch_count, 4)
        assert torch.allclose(found.sum(-1), torch.ones(5, clip.patch_count), atol=1e-6)
    assert min(weights.std(dim=1).max(), weights.std(dim=2).max()) > 1e-6
    assert weights.mean(dim=1).std(dim=0).max() > 1e-7
    method.backward(method.loss(images, LABELS))
    assert all(parameter.grad.abs().max() > 0 for parameter in method.parameters())


@pytest.mark.parametrize(("score", "aggregate", "update"), list(itertools.product(SCORES, AGGREGATES, UPDATES)))
def test_one_changed_patch_changes_its_image_and_no_other(clip, pictures, score, aggregate, update):
    images, others = pictures(clip, 3), pictures(clip, 3, seed=1)
    method = make(clip, score=score, aggregate=aggregate, update=update)
    with torch.no_grad():
        before = method(images)
        images.patches[1, 7] = others.patches[1, 7]
        after = method(images)
    assert not torch.equal(before[1], after[1])
    assert torch.equal(before[[0, 2]], after[[0, 2]])


@pytest.mark.parametrize("config", [{}, {"update": "per_prompt"}, {"weighting": False}])
def test_context_is_that_of_docs_copl(clip, pictures, config):
    """Shared: v_m + mean_p (s_p + sum_m (a_pm - 1/M) v_m); per_prompt: v_m + M mean_p a_pm s_p."""
    method, images = make(clip, **config), pictures(clip, 5)
    s, a, v = method.meta_net(images.patches), method.alignment(images), method.ctx
    assert config.get("weighting", True) or torch.equal(a, torch.full_like(a, 0.25))
    shared = (s + torch.einsum("bpm,mt->bpt", a - 0.25, v)).mean(dim=1)[:, None]
    each = 4 * torch.stack([(a[..., m, None] * s).mean(dim=1) for m in range(4)], dim=1)
    wanted = v + (each if config.get("update") else shared)
    assert (method.context(images) - wanted).abs().max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("score", ["dot", "general"])  # those of concat stay nearly uniform (docs/copl.md)
def test_trained_weights_differ_over_patches_and_images(clip, embedded, score):
    """As logarithms, because most runs end with one large weight (docs/copl.md); uniform weights give 1e-6 or less."""
    whole = load_dataset("synth_actions", embedded("synth_actions"))
    train, _ = few_shot(whole, shots=16, seed=1)
    dataset = half(dataclasses.replace(whole, train=train, test=whole.test[::20]), "base")
    config, template = {"score": score}, dataset.template
    method = create_method("copl", clip=clip, class_names=dataset.class_names, template=template, config=config)
    store, training = FeatureStore(clip), resolve_recipe("copl", template=template).training
    Trainer([TrainingCopy(method, dataset, 1)], training, store=store, accelerator=Accelerator(cpu=True)).fit()
    with torch.no_grad():
        [weights] = map(method.alignment, store.test(dataset, dataset.test, "projected", batch=64))
    assert weights.log().std(dim=1).mean() > 1e-3, "over the patches of an image"
    assert weights.mean(dim=1).log().std(dim=0).mean() > 1e-3, "over images"
