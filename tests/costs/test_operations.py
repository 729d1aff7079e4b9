"""The formulas for operations equal what torch counts."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmark.costs.operations import (
    Tower,
    image_layers,
    image_operations,
    rows_operations,
    text_layers,
    text_operations,
)
from benchmark.costs.passes import Pass, image_passes, text_pass
from benchmark.plugins.factory import create_method

NAMES = ("red circle", "red square", "blue square", "star")


@pytest.fixture(autouse=True)
def no_padding(monkeypatch):
    """Operations are those without padding."""
    monkeypatch.setattr("benchmark.clip.trie.ROW_BLOCK", 1)


def counted(work):
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return {str(op).split(".")[1]: n for op, n in counter.get_flop_counts().get("Global", {}).items()}


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


# of the image tower in a step: from the first edited layer on, rows put in, the first layer with a gradient, rows read
TOWER_METHODS = {
    "maple": ({"depth": 2}, [Pass(0, (2, 2, 2, 2), 0)], Pass(0, (0, 0, 0), 0)),
    "promptsrc": ({"depth": 2, "depth_vision": 1}, [Pass(0, (4, 4, 4, 4), 0)], Pass(0, (0, 0, 0), 0)),
    "tcp": ({"layer": 1}, [], Pass(0, (0, 0, 0), 0)),
    "mma": ({"first": 2, "last": 3}, [Pass(1, (0, 0, 0), 2)], Pass(0, (0, 0, 0), 2)),
    "mmrl": ({"first": 2, "last": 3, "n_tokens": 5}, [Pass(1, (5, 5, 5), 1, read=6)], Pass(0, (0, 5, 5), 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", TOWER_METHODS)
def test_operations_of_edited_layers_are_those_of_the_products(name, clip):
    config, image, text = TOWER_METHODS[name]
    method = create_method(name, clip=clip, class_names=NAMES, template="a photo of a {}.", config=config)
    assert (image_passes(method, training=True), text_pass(method, clip.text_layers)) == (image, text)
    assert [shape(one) for one in image_passes(method, training=False)] == [shape(one) for one in image[:1]]
    if not image:
        return
    method.needs_pooled = False  # then it is computed in the step that reads it
    teacher = [Pass(image[0].first, (0,) * len(image[0].added), clip.vision_layers)]
    assert image_passes(method, training=True) == image + (teacher if name in ("promptsrc", "mmrl") else [])
    tower, pixels = Tower.vision(clip.model.config), torch.randn(3, 3, clip.image_size, clip.image_size)
    found = counted(lambda: clip.encode_images(pixels, method.needs_patches))
    assert sum(found.values()) == 3 * rows_operations(tower, method.needs_patches)
    images = clip.encode_images(pixels, method.needs_patches)
    with torch.no_grad():
        whole = counted(lambda: clip.vision.project(method.image_rows(images, read=image[0].read)[:, 0]))
        rows = torch.zeros(3, 1 + clip.patch_count, clip.vision_width)
        own = counted(lambda: [add(rows, rows) for add in method.image_edits().beside.values()])
    assert sum(whole.values()) - sum(own.values()) == 3 * sum(image_layers(tower, *shape(image[0])))


def shape(found):
    return found.first, found.added, found.read


@pytest.mark.parametrize("name", ["tcp", "mmrl"])
def test_operations_of_prompts_with_rows_of_their_own_or_put_in_are_those_of_the_products(name, clip):
    """All names have one length, so that the prompts of each class have no padding; attention is causal, not dense."""
    names = ("red circle", "red square", "blue square", "blue circle")
    config = TOWER_METHODS[name][0]
    method = create_method(name, clip=clip, class_names=names, template="a photo of a {}.", config=config)
    plan, tower, apart = method.text_plan, Tower.text(clip.model.config), method.apart_from
    with torch.no_grad():
        found = counted(lambda: method.encode_classes(method.context(None)))
        own = counted(method.text_edits)
    found, own = ({k: v for k, v in one.items() if k != "bmm"} for one in (found, own))
    counts, rows = text_layers(tower, plan, TOWER_METHODS[name][2].added, apart)
    no_attention = sum(counts) - attention(tower, plan, TOWER_METHODS[name][2].added, apart)
    assert sum(found.values()) - sum(own.values()) == no_attention
    assert rows == (sum(1 + plan.n_ctx + n for n in plan.suffix_lengths) if apart else 1 + plan.nodes + 5)


def attention(tower, plan, added, apart):
    """Pairs written out, row by row."""
    pairs = 0
    for i, more in enumerate(added):
        lengths = [1 + plan.n_ctx + more + n for n in plan.suffix_lengths]
        if i + 1 == len(added):
            pairs += sum(lengths) if apart is not None else plan.end_pairs + more * plan.ends
        elif apart is not None and i >= apart:
            pairs += sum(row for length in lengths for row in range(1, length + 1))
        else:  # the start, what is put in behind it, and rows that see as much more
            front = plan.pairs - 1
            pairs += 1 + sum(range(2, 2 + more)) + front + more * (plan.nodes + plan.n_ctx)
    return 4 * tower.width * pairs
