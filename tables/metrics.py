"""Define the metrics that tables show: accuracy, calibration error, log-likelihood, and accuracy by class."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmark.records.metrics import accuracy_percent, mean
from benchmark.records.record import RunRecord, Score


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number of a class set.

    Attributes:
        name: the value of --metric.
        title: in headings; "" for accuracy, which is what a table shows if its heading names nothing else.
        what: the first words of a table's explanation, with the unit.
        of: computes it from the counts of a class set; all but accuracy need the breakdown.
        unit: of a difference.
        harmonic: whether the harmonic mean H of base and new means something: it is one of accuracies of a half.
        digits: after the point.
    """

    name: str
    title: str
    what: str
    of: Callable[[Score], float]
    unit: str = "points"
    lower_is_better: bool = False
    harmonic: bool = False
    digits: int = 2

    @property
    def suffix(self) -> str:
        """What the names of files and tables end in."""
        return f"-{self.name}" if self.title else ""

    def text(self, value: float, sign: str = "") -> str:
        """The value with this metric's digits."""
        return f"{value:{sign}.{self.digits}f}"


def calibration_error(score: Score) -> float:
    """The expected calibration error in percent: sum over bins of n_b / n |accuracy_b - confidence_b|.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3, with 15 equal-width bins.
    """
    parts = score.breakdown
    gaps = (abs(right - summed) for right, summed in zip(parts.bin_correct, parts.bin_confidence, strict=True))
    return 100.0 * math.fsum(gaps) / score.total


def negative_log_likelihood(score: Score) -> float:
    """Minus the log-probability of the true class, the mean over images, in nats."""
    return score.breakdown.nll / score.total


def class_accuracies(score: Score) -> list[float]:
    """The accuracy of each class in percent; classes without test images are left out."""
    counts = zip(score.breakdown.class_correct, score.breakdown.class_totals, strict=True)
    return [accuracy_percent(right, total) for right, total in counts if total]


ACCURACY = Metric(
    name="accuracy",
    title="",
    what="Accuracy in percent",
    of=lambda score: accuracy_percent(score.correct, score.total),
    harmonic=True,
)
OTHERS = (
    Metric(
        name="ece",
        title="expected calibration error",
        what="Expected calibration error in percent (15 equal-width bins of confidence; lower is better)",
        of=calibration_error,
        lower_is_better=True,
    ),
    Metric(
        name="nll",
        title="negative log-likelihood",
        what="Negative log-likelihood of the true class in nats per image (lower is better)",
        of=negative_log_likelihood,
        unit="nats",
        lower_is_better=True,
        digits=3,
    ),
    Metric(
        name="class_mean",
        title="mean accuracy of classes",
        what="Mean over classes of the accuracy in percent",
        of=lambda score: mean(class_accuracies(score)),
        harmonic=True,
    ),
    Metric(
        name="worst_class",
        title="accuracy of the worst class",
        what="Lowest accuracy of a class, in percent",
        of=lambda score: min(class_accuracies(score)),
    ),
)
METRICS = {metric.name: metric for metric in (ACCURACY, *OTHERS)}


def has(record: RunRecord, metric: Metric) -> bool:
    """Whether a record holds what a metric needs: those of earlier versions hold counts alone."""
    return metric == ACCURACY or all(score.breakdown for score in record.scores.values())


def split_by(records: Iterable[RunRecord], metric: Metric) -> tuple[list[RunRecord], list[str]]:
    """The records that hold what a metric needs, and messages about the others."""
    records = list(records)
    lacking = [record.spec.record_path("").as_posix() for record in records if not has(record, metric)]
    advice = "recorded by an earlier version; delete it to run this again"
    lack = f"holds no confidences and no counts by class, so there is no {metric.name}"
    problems = [f"{path}: {lack}: {advice}." for path in lacking]
    return [record for record in records if has(record, metric)], problems
