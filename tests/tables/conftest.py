"""Records made by hand, as the tables read them."""

import pytest

from benchmark.config import RunSpec, Training
from benchmark.records import RunRecord, Score

TOTAL = 10000


@pytest.fixture
def record():
    """record("coop", "dtd", 82.69, 63.22, seed=1, ...): a record with these accuracies; keywords change its spec."""

    def make(method, dataset, base, new, *, overrides=None, commit="abc123", dirty=False, **changes):
        fields = {
            "suite": "paper", "protocol": "base2new", "method": method, "dataset": dataset, "shots": 16, "seed": 1,
            "backbone": "openai/clip-vit-base-patch16", "checkpoint": "c" * 16, "split": "s" * 16,
            "template": "a photo of a {}.", "precision": "fp32", "options": {}, "training": None,
        }  # fmt: skip
        if method != "zero_shot":
            fields |= {"options": {"n_ctx": 4}, "training": Training(epochs=10, batch_size=1)}
        spec = RunSpec(**fields | changes)
        scores = {
            name: Score(correct=round(value * TOTAL / 100), total=TOTAL, classes=10)
            for name, value in (("base", base), ("new", new))
        }
        return RunRecord(
            spec=spec, status="ok", scores=scores, overrides=overrides or {}, evaluation_seconds=1.0,
            provenance={"git": {"commit": commit, "dirty": dirty}},
        )  # fmt: skip

    return make
