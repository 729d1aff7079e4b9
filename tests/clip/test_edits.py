"""Edits of layers: equal to a dense computation with transformers' layers, and refused with their place."""

import inspect
from functools import partial

import pytest
import torch

from benchmark.clip.layer import Edits, insert_rows, replace_rows, unit
from benchmark.clip.text import TextEncoder
from benchmark.errors import ConfigError, ShapeError
from benchmark.plugins.factory import create_method
from tests.conformance.subject import suite_options

NAMES = ["cat", "dog", "a very long name of a thing", "dog house", "cat"]
M = 3


@pytest.fixture
def clip(clip64):
    return clip64


@pytest.fixture
def plan(clip):
    ids = clip.tokenize([f"X X X {name}." for name in NAMES])
    return clip.plan([row[1 + M :] for row in ids], M)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dense(clip, context, edit):
    """Features of each prompt alone: every row of every layer of transformers' modules; edit(i, rows) before each."""
    model, features = clip.model.text_model, []
    for row in clip.tokenize([f"X X X {name}." for name in NAMES]):
        x = clip.text.embed(torch.tensor([row]))
        x = torch.cat([x[:, :1], context[None], x[:, 1 + M :]], dim=1) + clip.text.positions[: len(row)]
        for i, layer in enumerate(model.encoder.layers):
            x = edit(i, x, len(features))
            mask = torch.full((x.shape[1], x.shape[1]), -torch.inf, dtype=x.dtype).triu(1)[None, None]
            x = layer(x, attention_mask=mask)
            x = x[0] if isinstance(x, tuple) else x
        features.append(unit(clip.model.text_projection(model.final_layer_norm(x[0, -1]))))
    return torch.stack(features)


def test_prompts_replaced_in_deep_layers_equal_dense(clip, plan):
    context, deep = random(M, clip.token_width), random(M, clip.token_width, seed=1)
    got = clip.text.encode(plan, context[None], edits=Edits(enter={1: partial(replace_rows, rows=deep, first=1)}))[0]
    wanted = dense(clip, context, lambda i, x, c: replace_rows(x, deep, 1) if i == 1 else x)
    assert torch.allclose(got, wanted, atol=1e-12)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_rows_put_in_behind_the_start_equal_dense(clip, plan, layer):
    context, rows = random(M, clip.token_width), random(2, clip.token_width, seed=1)
    got = clip.text.encode(plan, context[None], edits=Edits(enter={layer: partial(insert_rows, rows=rows, first=1)}))[0]
    wanted = dense(clip, context, lambda i, x, c: insert_rows(x, rows, 1) if i == layer else x)
    assert torch.allclose(got, wanted, atol=1e-12)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("chunk", [None, 16])
def test_rows_of_each_class_equal_dense(clip, plan, layer, chunk):
    text = TextEncoder(clip.model.text_model, clip.model.text_projection, clip.text.start_id)
    text.chunk_rows = chunk or text.chunk_rows
    context, rows = random(M, clip.token_width), random(len(NAMES), M, clip.token_width, seed=1)
    edits = Edits(enter={layer: partial(replace_rows, rows=rows, first=1)})
    got = text.encode(plan, context[None], edits=edits, apart_from=layer)[0]
    wanted = dense(clip, context, lambda i, x, c: replace_rows(x, rows[c], 1) if i == layer else x)
    assert torch.allclose(got, wanted, atol=1e-12)


def test_additions_reach_every_row_and_the_last_layer(clip, plan):
    width, context = clip.token_width, random(M, clip.token_width)
    down, up = random(width, 3 * width, seed=1) / 30, random(width, width, seed=2) / 30
    last = clip.text_layers - 1
    for layer in (0, last):
        edits = Edits(beside={layer: lambda x, normed: normed @ up}, inputs={layer: lambda normed: normed @ down})
        whole = clip.text.encode(plan, context[None], edits=edits)
        apart = clip.text.encode(plan, context[None], edits=edits, apart_from=0)
        assert torch.allclose(whole, apart, atol=1e-12)
        assert not torch.allclose(whole, clip.text.encode(plan, context[None]), atol=1e-3)


def test_image_rows_carried_on_equal_the_whole_tower(clip):
    pixels = random(2, 3, clip.image_size, clip.image_size)
    whole = clip.encode_images(pixels)
    for layer in range(clip.vision_layers):
        images = clip.encode_images(pixels, layer)
        assert images.patches.shape == (2, 1 + clip.patch_count, clip.vision_width)
        assert torch.allclose(images.pooled, whole.pooled, atol=1e-12)
        pooled = unit(clip.vision.project(clip.vision.leave(images.patches, layer)[:, 0]))
        assert torch.allclose(pooled, whole.pooled, atol=1e-12)


def test_gradient_of_recomputed_chunks_is_that_of_one_pass(clip, plan):
    gradients = []
    for kept in (1 << 20, 0):
        text = TextEncoder(clip.model.text_model, clip.model.text_projection, clip.text.start_id)
        text.kept_rows, text.chunk_rows = kept, 1 << 20 if kept else 16
        deep = random(M, clip.token_width, seed=1).requires_grad_()
        context = random(1, M, clip.token_width)
        for apart in (None, 1):
            edits = Edits(enter={1: partial(replace_rows, rows=deep, first=1)})
            text.encode(plan, context, edits=edits, apart_from=apart).square().sum(-1).sub(
                random(1, 5)
            ).prod().backward()
        text.encode(plan, context, edits=edits)[0, :, 0].sum().backward()
        gradients.append(deep.grad)
    assert torch.allclose(*gradients, atol=1e-12) and gradients[0].abs().max() > 1e-6


WRONG = {"width": lambda x: x[..., :-1], "rows": lambda x: x[:, :-1], "nothing": lambda x: None}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_rows_are_refused_with_place_layer_and_shapes(clip, plan, kind):
    context, rows = random(1, M, clip.token_width), random(2, 5, clip.vision_width)
    edits = Edits(enter={1: WRONG[kind]})
    line = inspect.currentframe().f_lineno - 1
    place = rf"test_edits.py:{line}: `enter` of layer 1 returned .*, not \(\d+, \d+ or more, \d+\)"
    with pytest.raises(ShapeError, match=place):
        clip.text.encode(plan, context, edits=edits)
    with pytest.raises(ShapeError, match=place):
        clip.vision.leave(rows, 1, edits=edits)


@pytest.mark.parametrize("kind", ["beside", "inputs"])
def test_wrong_additions_are_refused(clip, kind):
    edits = Edits(**{kind: {1: lambda *rows: rows[0][:, :2]}})
    with pytest.raises(ShapeError, match=rf"test_edits.py:\d+: `{kind}` of layer 1 returned \(2, 2, 128\), not \(2, 5"):
        clip.vision.leave(random(2, 5, clip.vision_width), 0, edits=edits)


def test_layers_that_are_not_there_are_refused(clip, plan):
    edits = Edits(enter={7: partial(insert_rows, first=1)})
    with pytest.raises(ConfigError, match=r"test_edits.py:\d+: `enter` edits layer 7, but only layers 0 to 2"):
        clip.text.encode(plan, random(1, M, clip.token_width), edits=edits)
    with pytest.raises(ConfigError, match="only layers 2 to 3 can be edited"):
        clip.vision.leave(random(2, 5, clip.vision_width), 2, edits=Edits(enter={1: partial(insert_rows, first=1)}))


def test_rows_put_in_before_classes_part_are_refused(clip, plan):
    edits = Edits(enter={0: partial(insert_rows, rows=random(2, clip.token_width), first=1)})
    with pytest.raises(ShapeError, match=r"test_edits.py:\d+: rows are put in before layer 1"):
        clip.text.encode(plan, random(1, M, clip.token_width), edits=edits, apart_from=1)


@pytest.mark.parametrize("patches", [-1, 4, 99, True, "all", 1.0])
def test_unknown_kinds_of_patches_are_refused(clip, patches):
    with pytest.raises(ConfigError, match="patches="):
        clip.encode_images(torch.zeros(1, 3, clip.image_size, clip.image_size), patches)


LAST_LAYERS = {"maple": ("depth", 3), "promptsrc": ("depth_vision", 4), "tcp": ("layer", 2), "mma": ("last", 3),
               "mmrl": ("last", 3)}  # fmt: skip


@pytest.mark.parametrize("name", LAST_LAYERS)
def test_layer_beyond_the_tower_is_refused(clip, name):
    option, last = LAST_LAYERS[name]
    config = {**suite_options(name), option: 9}
    with pytest.raises(ConfigError, match=rf"{option} is 9, but the layers of the .* tower .* end at {last}\."):
        create_method(name, clip=clip, class_names=NAMES, template="a photo of a {}.", config=config)
