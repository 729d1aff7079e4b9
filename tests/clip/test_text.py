"""The trie against the dense path: the same numbers, whatever the class names share."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmark.clip.layer import Edits, apart, replace_rows
from benchmark.clip.trie import GROUP_NODES
from benchmark.errors import ShapeError

suffix = st.lists(st.integers(2, 60), min_size=1, max_size=20)
class_sets = st.lists(suffix, min_size=1, max_size=12)


def dense(clip, suffixes, context):
    """Every prompt written out and encoded on its own, for one context (M, T) after another: (B, C, D)."""
    text = clip.text
    features = []
    for vectors in context:
        length = max(map(len, suffixes))
        ids = torch.zeros(len(suffixes), length, dtype=torch.long)
        for row, tokens in zip(ids, suffixes, strict=True):
            row[: len(tokens)] = torch.tensor(tokens)
        start = text.embed(torch.full((len(suffixes), 1), text.start_id))
        embedded = torch.cat([start, vectors.expand(len(suffixes), -1, -1), text.embed(ids)], dim=1)
        ends = torch.tensor([len(vectors) + len(tokens) for tokens in suffixes])
        features.append(text.encode_dense(embedded, ends))
    return torch.stack(features)


def both(clip, suffixes, *, n_ctx, batch, seed=0):
    """Features and the gradient of a random projection of them, by the trie and by the dense path."""
    generator = torch.Generator().manual_seed(seed)
    context = 0.1 * torch.randn(batch, n_ctx, clip.token_width, generator=generator, dtype=clip.dtype)
    results = []
    for encode in (lambda c: clip.text.encode(clip.plan(suffixes, n_ctx), c), lambda c: dense(clip, suffixes, c)):
        leaf = context.clone().requires_grad_()
        features = encode(leaf)
        weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1), dtype=clip.dtype)
        (gradient,) = torch.autograd.grad((features * weights).sum(), leaf)
        results.append((features.detach(), gradient))
    return results


@settings(max_examples=40, deadline=None)
@example(suffixes=[[7]], n_ctx=1, batch=1)  # one class of one token
@example(suffixes=[[7, 8, 1], [7, 9, 1], [7, 8, 1]], n_ctx=4, batch=2)  # a name twice
@example(suffixes=[list(range(2, 22)), [5], list(range(2, 21))], n_ctx=4, batch=3)  # twenty tokens beside one
@given(suffixes=class_sets, n_ctx=st.integers(1, 5), batch=st.integers(1, 3))
def test_trie_equals_dense_in_double_precision_for_any_class_set(clip64, suffixes, n_ctx, batch):
    (features, gradient), (wanted, wanted_gradient) = both(clip64, suffixes, n_ctx=n_ctx, batch=batch)
    assert (features - wanted).abs().max() < 1e-12
    assert (gradient - wanted_gradient).abs().max() < 1e-12 * max(1.0, wanted_gradient.abs().max())


def test_plan_shares_nodes_of_common_beginnings(clip):
    plan = clip.plan([[5, 6, 7, 1], [5, 6, 8, 1], [5, 6, 7, 1]], 2)
    assert plan.nodes == 6  # 5 6 (7 1 | 8 1)
    assert plan.rows == 12  # start, context, nodes, and padding to a multiple of ROW_BLOCK
    assert plan.class_rows[0] == plan.class_rows[2] != plan.class_rows[1]


def test_plan_keeps_groups_within_bound(clip):
    suffixes = [[a, b, 1] for a in range(2, 32) for b in range(2, 12)]
    plan = clip.plan(suffixes, 4)
    assert plan.token_ids.shape[1] <= GROUP_NODES
    assert len(set(plan.class_rows.tolist())) == len(suffixes)


def test_plan_refuses_prompt_longer_than_positions(clip):
    with pytest.raises(ShapeError, match="at most 77"):
        clip.plan([[3] * 80], 4)


def test_plan_refuses_no_class_and_empty_suffix(clip):
    for suffixes in ([], [[]]):
        with pytest.raises(ShapeError, match="at least one"):
            clip.plan(suffixes, 4)


@settings(max_examples=20, deadline=None)
@example(suffixes=[[7]], n_ctx=1, layer=0)
@example(suffixes=[[7, 8, 1], [7, 1], [7, 8, 1]], n_ctx=2, layer=1)  # a name twice
@example(suffixes=[[2 + i % 7] * (1 + i % 9) for i in range(60)], n_ctx=2, layer=2)  # several groups of alike lengths
@given(suffixes=class_sets, n_ctx=st.integers(1, 3), layer=st.integers(0, 2))
def test_prompts_apart_by_class_are_those_of_each_class_alone(clip64, suffixes, n_ctx, layer):
    """With rows of each class in the place of the context; features in the order of the classes, and gradients."""
    generator, width = torch.Generator().manual_seed(0), clip64.token_width
    context = torch.randn(1, n_ctx, width, generator=generator, dtype=clip64.dtype)
    rows = torch.randn(len(suffixes), n_ctx, width, generator=generator, dtype=clip64.dtype)

    def encode(classes):
        leaves = [context.clone().requires_grad_(), rows.clone().requires_grad_()]
        edits = Edits(enter={layer: lambda x: replace_rows(x, leaves[1][classes], 1)})
        plan = clip64.plan([suffixes[c] for c in classes], n_ctx)
        features = clip64.text.encode(plan, leaves[0], edits=edits, apart_from=layer)[0]
        weights = torch.arange(features[0].numel(), dtype=clip64.dtype).sin()
        used = [leaf for leaf in leaves if layer or leaf is leaves[1]]  # of layer 0, the context is replaced as a whole
        return features.detach(), torch.autograd.grad((features @ weights).sum(), used)

    features, gradients = encode(list(range(len(suffixes))))
    alone = [encode([c]) for c in range(len(suffixes))]
    assert (features - torch.cat([own for own, _ in alone])).abs().max() < 1e-12
    for i, gradient in enumerate(gradients):
        wanted = torch.stack([own[i] for _, own in alone]).sum(dim=0)
        assert (gradient - wanted).abs().max() < 1e-12 * max(1.0, wanted.abs().max())


@given(rows=st.integers(1, 60), width=st.sampled_from([16, 32, 128]), double=st.booleans())
def test_product_of_copies_is_bit_by_bit_that_of_each(rows, width, double):
    dtype = torch.float64 if double else torch.float32
    x, weight = (
        torch.randn(3 * rows, width, dtype=dtype, requires_grad=True),
        torch.randn(2 * width, width, dtype=dtype),
    )
    bias, gradient = torch.randn(2 * width, dtype=dtype), torch.randn(3 * rows, 2 * width, dtype=dtype)
    together = apart(3)(x, weight, bias)
    alone = [torch.nn.functional.linear(part, weight, bias) for part in x.chunk(3)]
    assert torch.equal(together, torch.cat(alone))
    pairs = zip(alone, gradient.chunk(3), strict=True)
    wanted = [torch.autograd.grad(one, x, own, retain_graph=True)[0] for one, own in pairs]
    assert torch.equal(torch.autograd.grad(together, x, gradient)[0], sum(wanted))
