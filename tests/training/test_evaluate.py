"""Scoring: counts, confidences and log-likelihood are those of the softmax of the logits."""

import dataclasses

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from benchmark.errors import DataError
from benchmark.features.store import FeatureStore
from benchmark.training import evaluate as module
from benchmark.training.evaluate import evaluate


@pytest.fixture
def score(clip, dataset, make_copies):
    """score(kind): the logits (N, C) of zero-shot rounded to a type, true labels, and the evaluation."""

    def run(kind=torch.float32):
        [copy] = make_copies("zero_shot")
        plain, seen = copy.method.forward, []

        def forward(images):
            seen.append(plain(images).to(kind))
            return seen[-1]

        copy.method.forward = forward
        evaluation = evaluate(copy.method, dataset, store=FeatureStore(clip), accelerator=Accelerator(cpu=True))
        return torch.cat(seen), torch.tensor([item.label for item in dataset.test]), evaluation

    return run


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_confidences_and_likelihood_are_of_the_softmax_in_float32_at_least(score, kind):
    logits, labels, evaluation = score(kind)
    logits = logits.double()  # exact
    probabilities = logits.softmax(dim=1)
    assert evaluation.predictions.tolist() == logits.argmax(dim=1).tolist()
    assert evaluation.confidences.dtype == np.float16
    # half a unit in the last place of float16 below 1, and the rounding of float32
    np.testing.assert_allclose(evaluation.confidences, probabilities.amax(dim=1), atol=2**-12 + 1e-5)
    parts, wanted = evaluation.score.breakdown, torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    assert parts.nll == pytest.approx(wanted.item(), rel=1e-12 if kind == torch.float64 else 1e-5)
    assert evaluation.score.correct == int((logits.argmax(dim=1) == labels).sum()) == sum(parts.class_correct)
    assert list(parts.class_totals) == labels.bincount(minlength=logits.shape[1]).tolist()


def test_sums_do_not_depend_on_the_batch(score, monkeypatch):
    _, _, whole = score()
    monkeypatch.setattr(module, "SCORE_BATCH", 7)
    _, _, parts = score()
    assert parts.score.breakdown.class_correct == whole.score.breakdown.class_correct
    assert parts.score.breakdown.nll == pytest.approx(whole.score.breakdown.nll, rel=1e-5)


@pytest.mark.parametrize("more", [-1, 1])
def test_another_number_of_images_than_the_split_lists_is_refused(clip, dataset, make_copies, more, monkeypatch):
    items = dataclasses.replace(dataset, test=dataset.test[:20])
    [copy] = make_copies("zero_shot", items=items)
    store = FeatureStore(clip)
    plain = store.test
    monkeypatch.setattr(
        store, "test", lambda of, test, *rest, **more_: plain(of, dataset.test[: 20 + more], *rest, **more_)
    )
    with pytest.raises(DataError, match=f"{20 + more} images were scored, but the split lists 20"):
        evaluate(copy.method, items, store=store, accelerator=Accelerator(cpu=True))
