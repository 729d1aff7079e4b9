"""What a reviewer asks for: intervals, paired tests, and runs that stand out."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit

from benchmark.common.config import RunSpec
from benchmark.records.metrics import mean, sample_std
from benchmark.records.record import RunRecord, Score
from tables.aggregate import to_percent

SPREADS = 3.0  # a seed further than so many standard deviations of the others from their mean stands out
POINTS = 10.0  # a run at least so many points below zero-shot stands out
FEWEST_OTHERS = 2  # the deviation of one value is none


@dataclass(frozen=True)
class PairedTest:
    """Student's two-sided test that a mean difference is zero; None where fewer than two pairs say nothing.

    Attributes:
        interval: of the mean difference, 95 %.
    """

    mean: float
    n: int
    p_value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class SignTest:
    """The exact two-sided sign test: as many differences above zero as below, ties left out."""

    above: int
    below: int
    ties: int
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Outlier:
    """A run and class set that stands out; each reason is in words, or "" where it is none."""

    spec: RunSpec
    class_set: str
    accuracy: float
    far_from_others: str
    far_below_zero_shot: str

    def __str__(self) -> str:
        reasons = " and ".join(filter(None, (self.far_from_others, self.far_below_zero_shot)))
        return f"{self.spec.label()}, {self.class_set}: {self.accuracy:.2f}, where {reasons}"


def student_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student's confidence interval of the mean; None of fewer than two values."""
    if not 0 < level < 1:
        raise ValueError(f"a level of confidence lies between 0 and 1, got {level}")
    spread = sample_std(values)
    if spread is None:
        return None
    margin = float(stdtrit(len(values) - 1, (1 + level) / 2)) * spread / math.sqrt(len(values))
    return mean(values) - margin, mean(values) + margin


def paired_test(differences: Sequence[float]) -> PairedTest:
    """The t test of paired differences; of equal differences other than 0 its p value is the limit, 0."""
    centre, spread, count = mean(differences), sample_std(differences), len(differences)
    if spread is None:
        return PairedTest(centre, count, None, None)
    if spread == 0:
        return PairedTest(centre, count, float(centre == 0), (centre, centre))
    t = centre / (spread / math.sqrt(count))
    return PairedTest(centre, count, 2 * float(stdtr(count - 1, -abs(t))), student_interval(differences))


def sign_test(differences: Sequence[float]) -> SignTest:
    """How likely so uneven a split into gains and losses is by chance; for differences whose sizes do not compare."""
    above, below = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    count, fewer = above + below, min(above, below)
    tail = sum(math.comb(count, k) for k in range(fewer + 1)) / 2**count
    return SignTest(above, below, len(differences) - count, min(1.0, 2 * tail))


def outliers(records: Iterable[RunRecord]) -> list[Outlier]:
    """Runs that stand out among the seeds of their cell, or lie far below zero-shot; in the order of the records.

    A seed stands out if it is more than 3 standard deviations of the other seeds away from their mean. Two others are
    enough, so that three seeds can be judged, though one in four of normally distributed values is then so far off by
    chance (of five seeds, one in thirteen): a mark asks for a look and proves nothing. A deviation below that of
    counting so many test images, sqrt(p (1 - p) / n), is taken to be that.

    A run lies far below zero-shot if zero-shot's accuracy on the same dataset and class set, with the same checkpoint,
    is at least 10 points above it.
    """
    records = list(records)
    cells: dict[tuple, dict[int, Score]] = {}
    zero_shot: dict[tuple, list[float]] = {}
    for record in records:
        for class_set, score in record.scores.items():
            cells.setdefault((*_group(record.spec), class_set), {})[record.spec.seed] = score
            if record.spec.method == "zero_shot":
                zero_shot.setdefault((*_measured_on(record.spec), class_set), []).append(to_percent(score))
    found = []
    for record in records:
        spec = record.spec
        for class_set, score in record.scores.items():
            cell = cells[*_group(spec), class_set]
            others = [other for seed, other in cell.items() if seed != spec.seed]
            level = zero_shot.get((*_measured_on(spec), class_set))
            far, below = _far_from(score, others), _far_below(score, level)
            if far or below:
                found.append(Outlier(spec=spec, class_set=class_set, accuracy=to_percent(score), far_from_others=far,
                                     far_below_zero_shot=below))  # fmt: skip
    return found


def _far_from(score: Score, others: Sequence[Score]) -> str:
    if len(others) < FEWEST_OTHERS:
        return ""
    accuracies = [to_percent(other) for other in others]
    centre = mean(accuracies)
    counting = math.sqrt(centre * (100 - centre) / score.total)
    spread = max(sample_std(accuracies), counting)
    if abs(to_percent(score) - centre) <= SPREADS * spread:
        return ""
    return f"the {len(others)} other seeds have {centre:.2f} ± {spread:.2f}"


def _far_below(score: Score, level: Sequence[float] | None) -> str:
    if level is None or to_percent(score) > mean(level) - POINTS:
        return ""
    return f"zero-shot has {mean(level):.2f}"


def _measured_on(spec: RunSpec) -> tuple:
    """What zero-shot must share with a run to be its level; zero-shot is the same at any number of shots."""
    return spec.suite, spec.protocol, spec.dataset, spec.backbone, spec.checkpoint, spec.precision


def _group(spec: RunSpec) -> tuple:
    """The cell whose seeds are compared."""
    return (*_measured_on(spec), spec.method, spec.shots, spec.options, spec.training)
