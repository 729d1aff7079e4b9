"""The formulas for operations equal what torch counts."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmark.costs.operations import Tower, image_operations, text_operations
from benchmark.plugins.factory import create_method

NAMES = ("red circle", "red square", "blue square", "star")


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


def test_image_operations_are_those_of_the_tower(clip):
    size = clip.image_size
    found = counted(lambda: clip.encode_images(torch.randn(3, 3, size, size)))
    assert sum(found.values()) == 3 * image_operations(Tower.vision(clip.model.config), class_only=True)
