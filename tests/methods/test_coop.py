"""CoOp's layouts, and ProGrad's start and projection: the parts that the goldens beside the project do not reach."""

import pytest
import torch

from benchmark.errors import ConfigError
from benchmark.plugins.factory import create_method

NAMES = ["red circle", "square", "large green star"]
TEMPLATE = "a photo of a {}."


def make(clip, name="coop", template=TEMPLATE, **config):
    return create_method(name, clip=clip, class_names=NAMES, template=template, config=config)


def by_hand(clip, sequences):
    """Text features of prompts given as lists of token ids and context vectors, one after another."""
    features = []
    for sequence in sequences:
        rows = [clip.text.embed(torch.tensor(x)) if isinstance(x, int) else x for x in sequence]
        features.append(clip.text.encode_dense(torch.stack(rows)[None], torch.tensor([len(rows) - 1]))[0])
    return torch.stack(features)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [False, True])
def test_class_name_stands_where_the_authors_put_it(clip, pictures, position, class_specific):
    method = make(clip, n_ctx=5, class_position=position, class_specific=class_specific)
    stop = clip.tokenize(["."])[0][1]
    sequences = []
    for c, name in enumerate(NAMES):
        start, *tokens, end = clip.tokenize([name])[0]
        ctx = list(method.ctx[c] if class_specific else method.ctx)
        before, after = {"end": (ctx, []), "middle": (ctx[:2], ctx[2:]), "front": ([], ctx)}[position]
        sequences.append([start, *before, *tokens, *after, stop, end])
    images = pictures(clip, 2)
    wanted = clip.logit_scale * images.pooled @ by_hand(clip, sequences).T
    assert (method(images) - wanted).abs().max() < 2e-5


def test_class_specific_context_is_refused_for_other_classes(clip):
    method = make(clip, class_specific=True)
    assert method.ctx.shape == (3, 4, clip.token_width)
    assert not method.transfers
    with pytest.raises(ConfigError, match="to 3 classes, one by one, and cannot score others: 'dots' and 1 more"):
        method.set_classes([NAMES[0], "dots", "stripes"], TEMPLATE)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_class_specific_contexts_follow_their_classes(clip, pictures, position):
    method = make(clip, class_specific=True, class_position=position)
    images = pictures(clip, 3)
    with torch.no_grad():
        before = method(images)
        method.set_classes([NAMES[2], NAMES[0]], TEMPLATE)
        assert torch.allclose(method(images), before[:, [2, 0]], atol=1e-5)


def test_class_specific_context_with_given_words_is_refused(clip):
    with pytest.raises(ConfigError, match="start at random"):
        make(clip, class_specific=True, ctx_init="a photo of a")


def test_random_context_has_the_authors_spread(clip):
    context = make(clip, n_ctx=16, ctx_init=None).ctx
    assert context.std().item() == pytest.approx(0.02, rel=0.1)
    assert abs(context.mean().item()) < 0.002


def test_prograd_starts_from_template_words_right_aligned_after_zeros(clip):
    context = make(clip, "prograd", n_ctx=16).ctx
    words = clip.text.embed(torch.tensor(clip.tokenize(["a photo of a"])[0][1:5]))
    assert torch.equal(context[:12], torch.zeros(12, clip.token_width))
    assert torch.equal(context[12:], words)


def test_prograd_leaves_the_last_token_of_a_template_with_a_comma_in_the_suffix(clip, pictures):
    """ "a type of flower, a photo of a" is 8 words but 9 tokens: 8 of them are learned, the last "a" stays."""
    method = make(clip, "prograd", n_ctx=8, template="a type of flower, a photo of a {}.")
    start, *words, end = clip.tokenize(["a type of flower, a photo of a"])[0]
    assert len(words) == 9
    assert torch.equal(method.ctx, clip.text.embed(torch.tensor(words[:8])))
    stop = clip.tokenize(["."])[0][1]
    sequences = [[start, *method.ctx, words[8], *clip.tokenize([n])[0][1:-1], stop, end] for n in NAMES]
    images = pictures(clip, 2)
    wanted = clip.logit_scale * images.pooled @ by_hand(clip, sequences).T
    assert (method(images) - wanted).abs().max() < 2e-5


def test_prograd_refuses_more_template_words_than_context_vectors(clip):
    with pytest.raises(ConfigError, match="4 words, but n_ctx is 2"):
        make(clip, "prograd", n_ctx=2)


def test_prograd_takes_the_plain_gradient_where_the_knowledge_gradient_is_zero(clip, pictures):
    method = make(clip, "prograd", n_ctx=4)
    losses = method.loss(pictures(clip, 3), torch.tensor([0, 1, 2]))
    plain = torch.autograd.grad(losses.total, method.ctx, retain_graph=True)[0]
    losses.steering["knowledge"] = 0 * method.ctx.sum()
    method.backward(losses)
    assert torch.equal(method.ctx.grad, plain)


def test_prograd_leaves_no_conflict_with_the_knowledge_gradient(clip, pictures):
    """With all of the conflicting part removed, the step is orthogonal to the knowledge gradient or along it."""
    projected = 0
    for seed in range(8):
        method = make(clip, "prograd", n_ctx=4)
        with torch.no_grad():
            method.ctx += 0.1 * torch.randn(method.ctx.shape, generator=torch.Generator().manual_seed(seed))
        losses = method.loss(pictures(clip, 6, seed=seed), torch.tensor([0, 1, 2, 0, 1, 2]))
        guide = torch.autograd.grad(losses.steering["knowledge"], method.ctx, retain_graph=True)[0]
        plain = torch.autograd.grad(losses.total, method.ctx, retain_graph=True)[0]
        method.backward(losses)
        along = (method.ctx.grad * guide).sum() / guide.norm()
        projected += int((plain * guide).sum() < 0)
        assert along > -1e-4 * plain.norm()
    assert projected > 0
