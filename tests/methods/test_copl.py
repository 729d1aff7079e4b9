"""What makes CoPL CoPL: weights over the prompts that follow the patches, and CoCoOp when they are switched off."""

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
from benchmark.training.loop import fit

NAMES = ["circle", "square", "star", "cross"]
TEMPLATE = "a photo of a {}."
SCORES, AGGREGATES, UPDATES = ("dot", "general", "concat"), ("mean", "sum"), ("shared", "per_prompt")


def make(clip, name="copl", seed=0, **config):
    return create_method(name, clip=clip, class_names=NAMES, template=TEMPLATE, config=config, seed=seed)


@pytest.fixture
def images(clip, pictures):
    return pictures(clip, 5)


@pytest.mark.parametrize("aggregate, update", list(itertools.product(AGGREGATES, UPDATES)))
def test_without_weights_and_patches_it_is_cocoop(clip, images, aggregate, update):
    copl = make(clip, weighting=False, local=False, aggregate=aggregate, update=update)
    cocoop = make(clip, "cocoop")
    assert copl.learned_state().keys() == cocoop.learned_state().keys()
    assert copl.needs_patches is None
    labels = torch.tensor([0, 1, 2, 3, 0])
    results = []
    for method in (copl, cocoop):
        losses = method.loss(images, labels)
        method.backward(losses)
        gradients = torch.cat([p.grad.flatten() for p in method.parameters()])
        results.append((method(images), losses.total, gradients))
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("score, patches", list(itertools.product(SCORES, ("projected", "raw"))))
def test_alignment_weights_sum_to_one_over_prompts_for_every_patch(clip, pictures, score, patches):
    method = make(clip, score=score, patches=patches)
    weights = method.alignment(pictures(clip, 5, patches))
    assert method.needs_patches == patches
    assert weights.shape == (5, clip.patch_count, 4)
    assert torch.allclose(weights.sum(-1), torch.ones(5, clip.patch_count), atol=1e-6)
    assert (weights > 0).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = method.alignment(pictures(clip, 5, patches))
    assert torch.allclose(weights.sum(-1), torch.ones(5, clip.patch_count), atol=1e-6), "not rounded to bfloat16"


@pytest.mark.parametrize("score", SCORES)
def test_alignment_differs_between_patches_images_and_prompts(clip, images, score):
    weights = make(clip, score=score).alignment(images)
    assert weights.std(dim=1).max() > 1e-6
    assert weights.mean(dim=1).std(dim=0).max() > 1e-7
    assert weights.std(dim=2).max() > 1e-6


@pytest.mark.parametrize("score, aggregate, update", list(itertools.product(SCORES, AGGREGATES, UPDATES)))
def test_one_changed_patch_changes_its_image_and_no_other(clip, pictures, score, aggregate, update):
    images, others = pictures(clip, 3), pictures(clip, 3, seed=1)
    method = make(clip, score=score, aggregate=aggregate, update=update)
    with torch.no_grad():
        before = method(images)
        images.patches[1, 7] = others.patches[1, 7]
        after = method(images)
    assert not torch.equal(before[1], after[1])
    assert torch.equal(before[[0, 2]], after[[0, 2]])


def test_shared_update_is_the_aggregate_of_the_papers_context_vectors(clip, images):
    """c_p = s_p + sum_m a_pm v_m, less the constant that equal weights would add; written out patch by patch."""
    method = make(clip)
    conditional, weights = method.meta_net(images.patches), method.alignment(images)
    shift = torch.zeros(len(images), clip.token_width)
    for b, p in itertools.product(range(len(images)), range(clip.patch_count)):
        weighted = sum(weights[b, p, m] * method.ctx[m] for m in range(4)) - method.ctx.mean(dim=0)
        shift[b] += (conditional[b, p] + weighted) / clip.patch_count
    wanted = method.ctx + shift[:, None]
    assert (method.context(images) - wanted).abs().max() < 1e-6


def test_per_prompt_update_gives_each_prompt_the_patches_aligned_with_it(clip, images):
    method = make(clip, update="per_prompt")
    conditional, weights = method.meta_net(images.patches), method.alignment(images)
    wanted = torch.stack(
        [4 * (weights[..., m, None] * conditional).mean(dim=1) + method.ctx[m] for m in range(4)], dim=1
    )
    assert (method.context(images) - wanted).abs().max() < 1e-6


def test_without_weights_alone_all_prompts_count_the_same(clip, images):
    method = make(clip, weighting=False)
    assert torch.equal(method.alignment(images), torch.full((5, clip.patch_count, 4), 0.25))
    wanted = method.ctx + method.meta_net(images.patches).mean(dim=1)[:, None]
    assert torch.allclose(method.context(images), wanted, atol=1e-7)


def test_every_learned_tensor_gets_a_gradient(clip, images):
    for score in SCORES:
        method = make(clip, score=score)
        method.backward(method.loss(images, torch.tensor([0, 1, 2, 3, 0])))
        for name, parameter in method.named_parameters():
            assert parameter.grad.abs().max() > 0, f"{score}: {name} gets no gradient"


@pytest.mark.slow
@pytest.mark.parametrize("score", ["dot", "general"])  # concat's stay near uniform: docs/copl.md has the figures
def test_trained_weights_differ_over_patches_and_images(clip, embedded, score):
    """After the recipe's training the weights follow patches and images: no CoCoOp in disguise.

    Compared as logarithms, because training drives most runs towards one prompt (docs/copl.md): with weights of 0.99
    and 0.003 the plain spread tells how far that went, the spread of the logarithms how much the patches still move
    them. Weights that are uniform, or the same for every patch, give 1e-6 or less.
    """
    whole = load_dataset("synth_actions", embedded("synth_actions"))
    train, _ = few_shot(whole, shots=16, seed=1)
    dataset = half(dataclasses.replace(whole, train=train, test=whole.test[::20]), "base")
    method = create_method(
        "copl", clip=clip, class_names=dataset.class_names, template=dataset.template, config={"score": score}
    )
    training = resolve_recipe("copl", template=dataset.template).training
    store, accelerator = FeatureStore(clip), Accelerator(cpu=True)
    fit(method, training, dataset, store=store, seed=1, accelerator=accelerator)
    with torch.no_grad():
        batches = store.test(dataset, dataset.test, "projected", batch=64)
        weights = torch.cat([method.alignment(images) for images in batches])
    assert weights.log().std(dim=1).mean() > 1e-3, "over the patches of an image"
    assert weights.mean(dim=1).log().std(dim=0).mean() > 1e-3, "over images"
