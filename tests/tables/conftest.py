"""Fixtures: hand-made records, and cells read back from grids and Markdown."""

import dataclasses
import zlib

import numpy as np
import pytest

import run_all
from benchmark.common.config import RunSpec, Training
from benchmark.records.record import RunRecord, Score
from benchmark.records.scoring import score_of


@pytest.fixture
def scored():
    """scored("coop", "dtd", {"all": 63.22}, seed=1, ...): a record; other keywords set its spec."""

    def make(method, dataset, accuracies, *, overrides=None, commit="abc123", dirty=False, total=10000, seconds=None,
             classes=10, **changes):  # fmt: skip
        fields = {
            "suite": "paper", "protocol": "base2new", "method": method, "dataset": dataset, "shots": 16, "seed": 1,
            "backbone": "openai/clip-vit-base-patch16", "checkpoint": "c" * 16, "split": "s" * 16,
            "template": "a photo of a {}.", "precision": "fp32", "options": {}, "training": None, "images": "1+2",
        }  # fmt: skip
        if method != "zero_shot":
            fields |= {"options": {"n_ctx": 4}, "training": Training(epochs=10, batch_size=1)}
        scores = {
            name: Score(correct=round(value * total / 100), total=total, classes=classes)
            for name, value in accuracies.items()
        }
        return RunRecord(
            spec=RunSpec(**fields | changes), status="ok", scores=scores, overrides=overrides or {},
            evaluation_seconds=1.0, training={} if seconds is None else {"seconds": seconds},
            provenance={"git": {"commit": commit, "dirty": dirty}},
        )  # fmt: skip

    return make


@pytest.fixture
def detailed():
    """detailed(record): the same counts, with the breakdown of drawn confidences and classes."""

    def add(record):
        scores = {}
        for name, score in record.scores.items():
            draw = np.random.default_rng(zlib.crc32(f"{record.spec.label()} {name}".encode()))
            labels = draw.integers(0, score.classes, score.total)
            wrong = np.arange(score.total) >= score.correct
            confidences = draw.beta(5, 1 + draw.uniform(), score.total).clip(0.01).astype(np.float16)
            scores[name] = score_of(
                (labels + wrong) % score.classes, labels, classes=score.classes, confidences=confidences,
                nll=draw.exponential(1 + draw.uniform(), score.total),
            )  # fmt: skip
            assert (scores[name].correct, scores[name].total) == (score.correct, score.total)
        return dataclasses.replace(record, scores=scores)

    return add


@pytest.fixture
def record(scored):
    """record("coop", "dtd", 82.69, 63.22, seed=1, ...): a base-to-new record."""

    def make(method, dataset, base, new, **changes):
        return scored(method, dataset, {"base": base, "new": new}, **changes)

    return make


@pytest.fixture
def few(scored):
    """few("coop", "dtd", 63.22, shots=4, ...): a few-shot record."""

    def make(method, dataset, accuracy, **changes):
        return scored(method, dataset, {"all": accuracy}, **{"protocol": "few_shot"} | changes)

    return make


@pytest.fixture
def transfer(scored):
    """transfer("coop", {"imagenet": 71.5, "dtd": 41.9}, ...): a cross-dataset record, the source first."""

    def make(method, accuracies, **changes):
        source, *others = accuracies
        fields = {"protocol": "cross_dataset", "targets": {name: "a photo of a {}." for name in others}}
        return scored(method, source, accuracies, **fields | changes)

    return make


@pytest.fixture
def base2new_runs(record):
    """CLIP, CoOp and CoPL on two datasets, three seeds; with a tie as printed, values below CLIP and an outlier."""
    accuracies = {
        "zero_shot": {"imagenet": ((72.43, 68.14),) * 3, "dtd": ((53.24, 59.90),) * 3},
        "coop": {
            "imagenet": ((76.46, 66.31), (76.66, 67.31), (76.47, 68.31)),
            "dtd": ((79.44, 41.18), (79.44, 42.18), (79.44, 11.18)),
        },
        "copl": {"imagenet": ((76.53, 70), (76.53, 71), (76.53, 72)), "dtd": ((78, 62.1), (79, 62.3), (20, 10))},
    }
    return [
        record(method, dataset, *halves, seed=seed)
        for method, of in accuracies.items()
        for dataset, seeds in of.items()
        for seed, halves in enumerate(seeds, 1)
    ]


@pytest.fixture
def few_shot_runs(few):
    """CLIP at 16 shots, CoOp at 1, 4 and 16 shots, Tip-Adapter, which trains nothing, at 1 shot; on two datasets."""
    runs = [few("zero_shot", name, 44, shots=16) for name in ("imagenet", "dtd")]
    runs.append(few("tip_adapter", "dtd", 51, shots=1, training=None, seconds=0.5))
    return runs + [
        few("coop", name, level + gain + seed, shots=shots, seed=seed)
        for name, level in (("imagenet", 41), ("dtd", 47))
        for shots, gain in ((16, 2), (4, 1), (1, 0))
        for seed in (1, 2)
    ]


@pytest.fixture
def transfer_runs(transfer):
    """CLIP and CoOp from ImageNet to two datasets, two seeds."""
    return [
        transfer(method, {"imagenet": a + seed, "ucf101": b, "dtd": c - seed}, seed=seed)
        for method, (a, b, c) in {"zero_shot": (60, 65, 44), "coop": (70, 66, 41)}.items()
        for seed in (1, 2)
    ]


@pytest.fixture
def runs_of(base2new_runs, few_shot_runs, transfer_runs):
    """Protocol to its records."""
    return {"base2new": base2new_runs, "cross_dataset": transfer_runs, "few_shot": few_shot_runs}


@pytest.fixture
def texts():
    """Row title to the text of its cells, of a grid."""
    return lambda grid: {row[0].text: [cell.text for cell in row[1:]] for row in grid.rows}


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """trained("coop", "few_shot"): the record of a short run on the embedded actions; its tensors are next to it."""
    out = tmp_path_factory.mktemp("runs")
    small = ["--datasets", "synth_actions", "--seeds", "1", "--shots", "1", "--device", "cpu", "--out", str(out)]
    methods = ("coop", "cocoop", "kgcoop", "prograd", "copl", "maple")
    epochs = [word for name in methods for word in ("--set", f"{name}.epochs={2 if name == 'copl' else 1}")]
    assert run_all.main(["--methods", "zero_shot", *methods, *epochs, *small]) == 0
    own = ["--set", "coop.class_specific=true", "--set", "coop.n_ctx=2", *epochs[:2]]
    assert run_all.main(["--protocol", "few_shot", "--methods", "coop", *own, *small]) == 0
    return lambda method, protocol="base2new": next((out / "synthetic" / protocol / method).rglob("*.json"))
