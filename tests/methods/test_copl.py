"""Test CoPL: weights over the prompts follow the patches, and without its options it is CoCoOp."""

import dataclasses
import itertools

import pytest
import torch
from accelerate import Accelerator

from benchmark.data.catalog import load_dataset
from benchmark.data.splits import few_shot, half
from benchmark.errors import ConfigError
from benchmark.features.store import FeatureStore
from benchmark.plugins.factory import create_method
from benchmark.plugins.recipes import resolve_recipe
from benchmark.training.loop import Trainer, TrainingCopy

NAMES = ["circle", "square", "star", "cross"]
TEMPLATE = "a photo of a {}."
LABELS = torch.tensor([0, 1, 2, 3, 0])
SCORES, CONTEXTS = ("dot", "general", "concat"), ("prompts", "dynamic")
AGGREGATES, UPDATES = ("mean", "sum"), ("shared", "per_prompt")
CHANGES = [*[{"score": score} for score in SCORES], *[{"context": context} for context in CONTEXTS],
           *[{"aggregate": aggregate} for aggregate in AGGREGATES], *[{"update": update} for update in UPDATES],
           {"patches": "raw"}, {"center": True}, {"weighting": False}, {"local": False}]  # fmt: skip
LITERAL = {"score": "concat", "aggregate": "sum", "context": "prompts"}


def make(clip, name="copl", **config):
    return create_method(name, clip=clip, class_names=NAMES, template=TEMPLATE, config=config)


@pytest.mark.parametrize("values", list(itertools.product(CONTEXTS, AGGREGATES, UPDATES)))
def test_without_weights_and_patches_it_is_cocoop(clip, pictures, values):
    images, results, config = pictures(clip, 5), [], dict(zip(("context", "aggregate", "update"), values, strict=True))
    for method in (make(clip, weighting=False, local=False, **config), make(clip, "cocoop")):
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


@pytest.mark.parametrize("weighting", [True, False])
@pytest.mark.parametrize("values", list(itertools.product(CONTEXTS, AGGREGATES, UPDATES)))
def test_context_is_that_of_docs_copl(clip, pictures, values, weighting):
    """The formulas of docs/copl.md, in which z is 1/P for the mean and 1 for the sum."""
    config = dict(zip(("context", "aggregate", "update"), values, strict=True), weighting=weighting)
    method, images = make(clip, **config), pictures(clip, 5)
    s, a, v = method.meta_net(images.patches), method.alignment(images), method.ctx
    assert weighting or torch.equal(a, torch.full_like(a, 0.25))
    dynamic = config["context"] == "dynamic" or not weighting
    z = 1 / s.shape[1] if config["aggregate"] == "mean" else 1
    if weighting and config["update"] == "per_prompt":
        each = [(a[..., m, None] * s if dynamic else (a[..., m, None] - 0.25) * v[m]).sum(dim=1) for m in range(4)]
        shift = 4 * z * torch.stack(each, dim=1)
    else:
        of_patches = torch.einsum("bpm,mt->bpt", a - 0.25, v) + (s if dynamic else 0)
        shift = z * of_patches.sum(dim=1)[:, None]
    assert (method.context(images) - (v + shift)).abs().max() < 1e-5 * max(1, shift.abs().max())


@pytest.mark.parametrize("start", [{}, LITERAL], ids=["defaults", "literal"])
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_option_trains(clip, pictures, start, change):
    """A short step against the gradient lowers the loss, and every learned tensor has a gradient."""
    method, images = make(clip, **start | change), pictures(clip, 5, change.get("patches", "projected"))
    before = method.loss(images, LABELS)
    method.backward(before)
    length = sum(parameter.grad.square().sum() for parameter in method.parameters()).sqrt()
    assert all(parameter.grad.abs().max() > 0 for parameter in method.parameters())
    with torch.no_grad():
        for parameter in method.parameters():
            parameter -= 0.01 / length * parameter.grad
    assert method.loss(images, LABELS).total < before.total


@pytest.mark.parametrize("score", SCORES)
def test_centered_weights_do_not_depend_on_what_all_patches_share(clip, pictures, score):
    method, images = make(clip, score=score, center=True), pictures(clip, 5)
    before = method.alignment(images)
    with torch.no_grad():
        method.meta_net.linear2.bias += 1
    assert torch.allclose(method.alignment(images), before, atol=1e-4)
    assert before.std(dim=1).mean() > 10 * make(clip, score=score).alignment(images).std(dim=1).mean()


def test_centering_a_single_patch_is_refused(clip):
    with pytest.raises(ConfigError, match="center: true compares patches, and local: false leaves one"):
        make(clip, center=True, local=False)


def test_weights_of_the_concat_score_are_bounded(clip, pictures):
    """As docs/copl.md says: tanh is at most 1, so two weights differ at most by the factor e^(2 |u|_1 / sqrt(e))."""
    method, images = make(clip, score="concat"), pictures(clip, 5)
    with torch.no_grad():
        method.score.hidden.weight *= 1e3
        weights = method.alignment(images)
        most = 2 * method.score.reduce.weight.abs().sum() / clip.token_width**0.5
    apart = (weights.amax(dim=-1) / weights.amin(dim=-1)).log()
    assert 0.1 * most < apart.max() <= most + 1e-6


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
