"""Test CoOp's layouts and ProGrad's start and projection, as far as the goldens do not reach them."""

import pytest
import torch

from benchmark.errors import ConfigError
from benchmark.plugins.factory import create_method

NAMES = ["red circle", "square", "large green star"]
TEMPLATE = "a photo of a {}."


def make(clip, name="coop", template=TEMPLATE, **config):
    return create_method(name, clip=clip, class_names=NAMES, template=template, config=config)


def assert_logits_of(method, images, sequences):
    """Compare with the logits of prompts given as lists of token ids and context vectors."""
    clip, features = method.clip, []
    for sequence in sequences:
        rows = [clip.text.embed(torch.tensor(x)) if isinstance(x, int) else x for x in sequence]
        features.append(clip.text.encode_dense(torch.stack(rows)[None], torch.tensor([len(rows) - 1]))[0])
    wanted = clip.logit_scale * images.pooled @ torch.stack(features).T
    assert (method(images) - wanted).abs().max() < 2e-5


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [False, True])
def test_class_name_is_where_the_authors_put_it(clip, pictures, position, class_specific):
    method, images = make(clip, n_ctx=5, class_position=position, class_specific=class_specific), pictures(clip, 2)
    stop, sequences = clip.tokenize(["."])[0][1], []
    for c, name in enumerate(NAMES):
        start, *tokens, end = clip.tokenize([name])[0]
        ctx = list(method.ctx[c] if class_specific else method.ctx)
        before, after = {"end": (ctx, []), "middle": (ctx[:2], ctx[2:]), "front": ([], ctx)}[position]
        sequences.append([start, *before, *tokens, *after, stop, end])
    assert_logits_of(method, images, sequences)
    if class_specific:
        method.set_classes([NAMES[2], NAMES[0]], TEMPLATE)
        assert_logits_of(method, images, [sequences[2], sequences[0]])


def test_class_specific_context_cannot_score_other_classes_or_start_from_words(clip):
    with pytest.raises(ConfigError, match="each of 3 classes cannot score other classes: 'dots' and 1 more"):
        make(clip, class_specific=True).set_classes([NAMES[0], "dots", "stripes"], TEMPLATE)
    with pytest.raises(ConfigError, match="start at random"):
        make(clip, class_specific=True, ctx_init="a photo of a")


def test_prograd_starts_from_the_words_of_the_template_right_aligned_after_zeros(clip):
    context = make(clip, "prograd", n_ctx=16).ctx
    assert torch.equal(context[:12], torch.zeros(12, clip.token_width))
    assert torch.equal(context[12:], clip.text.embed(torch.tensor(clip.tokenize(["a photo of a"])[0][1:5])))
    with pytest.raises(ConfigError, match="4 words, but n_ctx is 2"):
        make(clip, "prograd", n_ctx=2)


def test_prograd_leaves_the_last_token_of_a_template_with_a_comma_in_the_suffix(clip, pictures):
    """The words are 8 but the tokens 9: 8 of them are learned, the last "a" stays."""
    method = make(clip, "prograd", n_ctx=8, template="a type of flower, a photo of a {}.")
    start, *words, end = clip.tokenize(["a type of flower, a photo of a"])[0]
    assert torch.equal(method.ctx, clip.text.embed(torch.tensor(words[:8])))
    stop = clip.tokenize(["."])[0][1]
    tokens = [clip.tokenize([name])[0][1:-1] for name in NAMES]
    assert_logits_of(method, pictures(clip, 2), [[start, *method.ctx, words[8], *t, stop, end] for t in tokens])


def test_prograd_removes_the_conflict_with_the_knowledge_gradient_and_nothing_else(clip, pictures):
    projected = 0
    for seed in range(8):
        method = make(clip, "prograd", n_ctx=4)
        with torch.no_grad():
            method.ctx += 0.1 * torch.randn(method.ctx.shape, generator=torch.Generator().manual_seed(seed))
        losses = method.loss(pictures(clip, 6, seed=seed), torch.tensor([0, 1, 2, 0, 1, 2]))
        guide = torch.autograd.grad(losses.steering["knowledge"], method.ctx, retain_graph=True)[0]
        plain = torch.autograd.grad(losses.total, method.ctx, retain_graph=True)[0]
        (used,) = method.edit_gradients([plain], [guide])
        assert (used * guide).sum() / guide.norm() > -1e-4 * plain.norm()
        assert torch.equal(used, plain) == bool((plain * guide).sum() >= 0)
        assert torch.equal(method.edit_gradients([plain], [0 * guide])[0], plain)
        projected += int((plain * guide).sum() < 0)
    assert projected > 0
