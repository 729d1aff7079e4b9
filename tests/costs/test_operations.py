"""The formulas of cost against what torch counts while it computes."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmark.costs.operations import Tower, image_operations, plain_text_operations, text_operations
from benchmark.plugins.factory import create_method
from benchmark.speed.plain import make_plain

NAMES = ("red circle", "red square", "blue square", "star")
PRODUCTS = ("mm", "addmm", "bmm", "convolution")


def counted(work):
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return {str(op).split(".")[1]: n for op, n in counter.get_flop_counts()["Global"].items()}


def test_text_operations_are_those_of_the_products(clip):
    """The trie of these names is one group, so nothing is padded; attention is computed for every pair of rows."""
    method = create_method("coop", clip=clip, class_names=NAMES, template="a photo of a {}.")
    plan, tower = method.text_plan, Tower.text(clip.model.config)
    rows = 1 + plan.n_ctx + plan.nodes
    assert plan.rows == rows
    with torch.no_grad():
        found = counted(lambda: clip.text.encode(plan, method.ctx[None]))
    everything = 4 * tower.width * ((tower.layers - 1) * rows**2 + plan.ends * rows)
    seen = 4 * tower.width * ((tower.layers - 1) * plan.pairs + plan.end_pairs)
    assert sum(found.values()) == text_operations(tower, plan) - seen + everything


def test_plain_operations_are_those_of_the_plain_tower(clip):
    method = make_plain(create_method("coop", clip=clip, class_names=NAMES, template="a photo of a {}."))
    with torch.no_grad():
        found = counted(lambda: method.encode_classes(method.ctx[None]))
    assert sum(found.values()) == plain_text_operations(Tower.text(clip.model.config), len(NAMES))


def test_backward_costs_as_much_as_forward(clip):
    """No gradient of a frozen weight is ever computed; the first layer's input alone saves nothing."""
    method = create_method("coop", clip=clip, class_names=NAMES, template="a photo of a {}.")
    forward = sum(counted(lambda: clip.text.encode(method.text_plan, method.ctx.detach()[None])).values())
    both = sum(counted(lambda: clip.text.encode(method.text_plan, method.ctx[None]).sum().backward()).values())
    attention = both - 2 * forward  # its backward has two products for each of the forward's
    assert 0 < attention < 0.2 * forward


def test_image_operations_are_those_of_the_tower(clip):
    size = clip.image_size
    found = counted(lambda: clip.encode_images(torch.randn(3, 3, size, size)))
    assert sum(found.values()) == 3 * image_operations(Tower.vision(clip.model.config))


def test_counts_of_a_plan_by_hand(clip):
    plan = clip.plan([(5, 6, 9), (5, 7, 9), (5, 6, 9)], n_ctx=2)  # 5 is shared; then 6 9 and 7 9
    assert (plan.nodes, plan.ends) == (5, 2)
    assert plan.pairs == (1 + 2 + 3) + (4 + 5 + 5 + 6 + 6)
    assert plan.end_pairs == 6 + 6
