"""The plain computation equals the authors' numbers and the fast path."""

import pytest
import torch

from benchmark.plugins.factory import create_method
from benchmark.speed.plain.text import make_plain
from benchmark.speed.plain.towers import make_plain_towers, plain_images
from tests.methods.test_tower_goldens import CASES as TOWER_CASES
from tests.methods.test_tower_goldens import PETS, named

CASES = {"coop_ctxinit": "coop", "cocoop_b1": "cocoop"}
TEMPLATE = "a photo of a {}, a type of pet."


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_plain_computation_equals_authors(case, golden, golden_clip):
    tensors, manifest = golden(case)
    method = create_method(CASES[case], clip=golden_clip, class_names=manifest["classnames"], template=TEMPLATE)
    make_plain(method)
    named = {
        kind: {k.split("prompt_learner.")[1]: v for k, v in tensors.items() if k.startswith(f"{kind}.")}
        for kind in ("init", "grad_step0")
    }
    method.load_learned_state(named["init"])
    images = golden_clip.encode_images(tensors["pixel_values"])
    with torch.no_grad():
        assert (method(images) - tensors["logits_eval_init"]).abs().max() <= 2e-5
    first = tensors["batch_indices"][0]
    losses = method.loss(images[first], tensors["labels"][first])
    method.backward(losses)
    assert losses.total.item() == pytest.approx(manifest["losses"][0]["loss"], abs=1e-5)
    for name, wanted in named["grad_step0"].items():
        assert (method.get_parameter(name).grad - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.golden
@pytest.mark.parametrize("case", ["maple_d3", "promptsrc_t3v3", "tcp_random", "mma_s1"])
def test_plain_towers_equal_authors(case, golden, golden_clip):
    tensors, manifest = golden(case)
    name, config = TOWER_CASES[case]
    method = create_method(name, clip=golden_clip, class_names=manifest["classnames"], template=PETS, config=config)
    method.load_learned_state(named(tensors, "init"))
    make_plain_towers(method, name, PETS)
    images = plain_images(golden_clip, tensors["pixel_values"])
    with torch.no_grad():
        assert (method(images) - tensors["logits_eval_init"]).abs().max() <= 2e-5
    first = tensors["batch_indices"][0]
    losses = method.loss(images[first], tensors["labels"][first])
    method.backward(losses)
    assert losses.total.item() == pytest.approx(manifest["losses"][0]["loss"], abs=1e-5)
    for key, wanted in named(tensors, "grad_step0").items():
        assert (method.get_parameter(key).grad - wanted).abs().max() <= 1e-5 * wanted.abs().max()
