"""Metrics other than accuracy: their definitions by hand and by other libraries, and their tables."""

import dataclasses

import numpy as np
import pytest

from benchmark.records.scoring import score_of
from benchmark.records.store import save
from tables.__main__ import main
from tables.metrics import METRICS, split_by
from tables.protocols.writers import GRIDS
from tables.rendering.options import TableOptions

CLASSES = 7


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def drawn():
    """Probabilities (2000, 7), whose highest are float16 numbers below 1, true labels without class 6, their score."""
    draw = np.random.default_rng(3)
    labels = draw.integers(0, CLASSES - 1, 2000)
    probabilities = softmax(draw.normal(0, 1.5, (2000, CLASSES)) + 1.5 * np.eye(CLASSES)[labels])
    predictions, rows = probabilities.argmax(axis=1), np.arange(2000)
    confidences = probabilities[rows, predictions].astype(np.float16)
    probabilities[rows, predictions] = confidences
    nll = -np.log(probabilities[rows, labels])
    score = score_of(predictions, labels, classes=CLASSES, confidences=confidences, nll=nll)
    assert confidences.max() < 1
    return probabilities, labels, score


def values_of(score):
    return {name: metric.of(score) for name, metric in METRICS.items()}


def test_metrics_of_four_images_are_those_computed_by_hand():
    score = score_of(
        np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), classes=3,
        confidences=np.array([0.5, 1.0, 0.9375, 0.53125], np.float16), nll=np.array([0.5, 0.0, 2.25, 0.25]),
    )  # fmt: skip
    # two bins of two images: |1 - 0.515625| / 2 + |0.5 - 0.96875| / 2; classes: 2 of 3, 1 of 1, none
    assert values_of(score) == pytest.approx(
        {"accuracy": 75.0, "ece": 47.65625, "nll": 0.75, "class_mean": 100 * (2 / 3 + 1) / 2, "worst_class": 200 / 3}
    )


def test_calibration_error_is_zero_if_every_bin_is_as_accurate_as_confident():
    confidences = np.repeat([0.25, 0.5, 0.75], 4).astype(np.float16)
    right = np.array([1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0])
    score = score_of(right, np.ones(12, int), classes=2, confidences=confidences, nll=np.ones(12))
    assert METRICS["ece"].of(score) == 0


def test_definitions_are_those_of_scikit_learn(drawn):
    calibration, metrics = pytest.importorskip("sklearn.calibration"), pytest.importorskip("sklearn.metrics")
    probabilities, labels, score = drawn
    predictions, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
    whole = probabilities / probabilities.sum(axis=1, keepdims=True)  # rounding of the highest left it at 1.0002
    recalls = metrics.recall_score(labels, predictions, labels=range(CLASSES - 1), average=None)
    accuracy, confidence = calibration.calibration_curve(predictions == labels, confidences, n_bins=15)
    counts, _ = np.histogram(confidences, bins=15, range=(0, 1))
    ece = (np.abs(accuracy - confidence) * counts[counts > 0]).sum() / 2000
    found = values_of(score)
    assert found["nll"] == pytest.approx(metrics.log_loss(labels, whole, labels=range(CLASSES)), rel=1e-4)
    assert found["class_mean"] == pytest.approx(100 * metrics.balanced_accuracy_score(labels, predictions))
    assert (found["class_mean"], found["worst_class"]) == pytest.approx((100 * recalls.mean(), 100 * recalls.min()))
    assert (found["accuracy"], found["ece"]) == pytest.approx(
        (100 * metrics.accuracy_score(labels, predictions), 100 * ece)
    )


def test_calibration_error_is_that_of_torchmetrics(drawn):
    functional = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    probabilities, labels, score = drawn
    ece = functional.multiclass_calibration_error(
        torch.tensor(probabilities), torch.tensor(labels), num_classes=CLASSES, n_bins=15, norm="l1"
    )
    assert METRICS["ece"].of(score) == pytest.approx(100 * ece.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("metric", "coop", "copl"),
    [("nll", ("0.700↑", False), ("0.300", True)), ("worst_class", ("78.00", True), ("62.00↓", False))],
)
def test_best_and_worse_than_clip_follow_the_direction_of_the_metric(few, detailed, metric, coop, copl):
    runs = []
    for method, part in (("zero_shot", 0.5), ("coop", 0.7), ("copl", 0.3)):
        run = detailed(few(method, "dtd", 80, total=1000, classes=2))
        [score] = run.scores.values()
        right = (250 + round(200 * part), 550 - round(200 * part))
        breakdown = dataclasses.replace(
            score.breakdown, nll=1000 * part, class_totals=(500, 500), class_correct=right
        )  # fmt: skip
        runs.append(dataclasses.replace(run, scores={"all": dataclasses.replace(score, breakdown=breakdown)}))
    average, _ = GRIDS["few_shot"](runs, TableOptions(metric=METRICS[metric]))
    assert [(row[1].text, row[1].best) for row in average.rows[1:]] == [coop, copl]
    assert ("↑: above" if metric == "nll" else "↓: below") in average.explained


@pytest.mark.parametrize("metric", [metric for metric in METRICS.values() if metric.title], ids=lambda each: each.name)
@pytest.mark.parametrize("protocol", ["base2new", "few_shot", "cross_dataset"])
def test_tables_name_the_metric_and_hold_no_published_accuracies(runs_of, detailed, protocol, metric):
    runs = [detailed(run) for run in runs_of[protocol]]
    grids = GRIDS[protocol](runs, TableOptions(metric=metric, published=True, baseline="coop", per_seed=True))
    assert all(grid.name.startswith(f"{protocol}-{metric.name}") for grid in grids)
    assert all(metric.title in grid.caption and "ublished" not in grid.caption for grid in grids)
    assert metric.what in grids[0].explained and metric.what in grids[-1].explained


def test_base_to_new_shows_h_only_of_accuracies(base2new_runs, detailed):
    runs = [detailed(run) for run in base2new_runs]
    columns = {name: GRIDS["base2new"](runs, TableOptions(metric=METRICS[name]))[0].columns for name in METRICS}
    assert {name for name, shown in columns.items() if "H" in shown} == {"accuracy", "class_mean"}
    assert columns["ece"] == ["dataset", *["base", "new"] * 3]


def test_tables_of_a_metric_have_their_own_files_and_leave_accuracy_as_it_was(
    tmp_path, base2new_runs, detailed, capsys
):
    for run in base2new_runs:
        save(detailed(run), tmp_path, predictions={}, learned=None)
    folder = tmp_path / "paper"
    assert main(["--from", str(folder)]) == 0
    before = (folder / "base2new.md").read_bytes()
    assert main(["--from", str(folder), "--metric", "nll", "--per-seed", "--interval", "--baseline", "zero_shot"]) == 0
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        "base2new.md", "base2new.tex", "base2new-nll.md", "base2new-nll.tex"
    }  # fmt: skip
    assert (folder / "base2new.md").read_bytes() == before
    text = (folder / "base2new-nll.md").read_text()
    assert "at the same seed, in nats" in text and "Base-to-new, negative log-likelihood, against CLIP" in text
    assert "standard deviations of the other seeds" not in text, "outliers are of accuracies"
    capsys.readouterr()
    assert main(["--from", str(folder), "--metric", "ece", "--published"]) == 2
    assert capsys.readouterr().err.startswith("error: --published: published values are accuracies.")


def test_records_without_confidences_are_named_and_the_others_are_shown(tmp_path, base2new_runs, detailed, capsys):
    old, *others = base2new_runs
    for run in (old, *map(detailed, others)):
        save(run, tmp_path, predictions={}, learned=None)
    assert main(["--from", str(tmp_path / "paper"), "--metric", "ece"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"left out: {old.spec.record_path('').as_posix()}: holds no confidences")
    assert len(err.splitlines()) == 1
    assert "(2/3)" in out.split("| ImageNet")[1].splitlines()[0], "the seed without them is missing, as planned"
    assert main(["--from", str(tmp_path / "paper")]) == 0 and capsys.readouterr().err == ""
    shown, problems = split_by([old], METRICS["worst_class"])
    assert (shown, len(problems)) == ([], 1)


def test_folder_without_any_confidences_is_one_message(tmp_path, record, capsys):
    save(record("coop", "dtd", 60, 50), tmp_path, predictions={}, learned=None)
    assert main(["--from", str(tmp_path), "--metric", "nll"]) == 2
    assert "no record holds what nll needs; all are of earlier versions." in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.md"))


def test_detailed_records_of_the_tests_vary(detailed, few):
    """Guards the tests above: two runs differ in every metric."""
    scores = [next(iter(detailed(few("coop", "dtd", 60, seed=seed)).scores.values())) for seed in (1, 2)]
    one, other = map(values_of, scores)
    assert all(one[name] != other[name] for name in METRICS if name != "accuracy")
    assert dataclasses.replace(scores[0], breakdown=None) == dataclasses.replace(scores[1], breakdown=None)
