"""Compute confidence intervals, paired tests and outliers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmark.common.config import RunSpec
from benchmark.records.metrics import mean, sample_std
from benchmark.records.record import RunRecord, Score
from tables.aggregate import to_percent

SPREADS = 3.0  # standard deviations of the other seeds; a seed further from their mean is an outlier
POINTS = 10.0  # percentage points; a run at least that far below zero-shot is an outlier
LEVEL = 0.95
FEWEST_OTHERS = 2  # one value has no standard deviation


@dataclass(frozen=True)
class PairedTest:
    """Student's two-sided t test that a mean difference is zero; None for fewer than two pairs.

    Attributes:
        interval: the 95 % interval of the mean difference.
    """

    mean: float
    n: int
    p_value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Outlier:
    """The accuracy of an outlying run on a class set, and the reasons as text; "" where one does not apply."""

    spec: RunSpec
    class_set: str
    accuracy: float
    far_from_others: str
    far_below_zero_shot: str

    def __str__(self) -> str:
        reasons = " and ".join(filter(None, (self.far_from_others, self.far_below_zero_shot)))
        return f"{self.spec.label()}, {self.class_set}: {self.accuracy:.2f}, where {reasons}"


def student_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95 % confidence interval of the mean; None for fewer than two values."""
    spread = sample_std(values)
    if spread is None:
        return None
    from scipy.special import stdtrit  # slow to import, and most tables need no interval

    margin = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * spread / math.sqrt(len(values))
    return mean(values) - margin, mean(values) + margin


def paired_test(differences: Sequence[float]) -> PairedTest:
    """The t test of paired differences; the p value of equal differences other than 0 is the limit, 0."""
    from scipy.special import stdtr  # as in student_interval

    center, spread, count = mean(differences), sample_std(differences), len(differences)
    if spread is None:
        return PairedTest(center, count, None, None)
    if spread == 0:
        return PairedTest(center, count, float(center == 0), (center, center))
    t = center / (spread / math.sqrt(count))
    return PairedTest(center, count, 2 * float(stdtr(count - 1, -abs(t))), student_interval(differences))


def outliers(records: Iterable[RunRecord]) -> list[Outlier]:
    """Runs far from the other seeds of their cell or far below zero-shot, in the order of the records.

    A seed is an outlier if it is more than 3 standard deviations of the other seeds from their mean. Two other seeds
    suffice, so that three seeds can be judged; with three seeds one in four normally distributed values is an outlier
    by chance, with five one in thirteen. The deviation is at least the binomial one of n test images,
    sqrt(p (1 - p) / n).

    A run is far below zero-shot if the zero-shot accuracy on the same dataset and class set, with the same checkpoint,
    is at least 10 points higher.
    """
    records = list(records)
    cells: dict[tuple, dict[int, float]] = {}
    zero_shot: dict[tuple, list[float]] = {}
    for record in records:
        group = _group(record.spec)
        for class_set, score in record.scores.items():
            cells.setdefault((*group, class_set), {})[record.spec.seed] = to_percent(score)
            if record.spec.method == "zero_shot":
                zero_shot.setdefault((*_measured_on(record.spec), class_set), []).append(to_percent(score))
    levels = {key: mean(values) for key, values in zero_shot.items()}
    usual = {key: _one_deviation(list(cell.values())) for key, cell in cells.items()}
    found = []
    for record in records:
        spec, group = record.spec, _group(record.spec)
        for class_set, score in record.scores.items():
            key, accuracy = (*group, class_set), to_percent(score)
            low, high = usual[key]
            others = [] if low <= accuracy <= high else [v for seed, v in cells[key].items() if seed != spec.seed]
            level = levels.get((*_measured_on(spec), class_set))
            far, below = _far_from(score, others), _far_below(score, level)
            if far or below:
                found.append(Outlier(spec=spec, class_set=class_set, accuracy=accuracy, far_from_others=far,
                                     far_below_zero_shot=below))  # fmt: skip
    return found


def _one_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The range within a standard deviation of the mean; none of the values in it is 3 away from the others."""
    center, spread = mean(values), sample_std(values) or 0.0
    return center - spread, center + spread


def one_class_note(records: Iterable[RunRecord]) -> str:
    """The sentence that names scored sets of one class, for captions; "" if there are none."""
    found = [
        name if name == record.spec.dataset or name in record.spec.targets else f"{name} of {record.spec.dataset}"
        for record in records
        for name, score in record.scores.items()
        if score.classes == 1
    ]
    return f"§: one class alone, so every answer is right: {', '.join(dict.fromkeys(found))}." if found else ""


def _far_from(score: Score, others: Sequence[float]) -> str:
    if len(others) < FEWEST_OTHERS:
        return ""
    center = mean(others)
    counting = math.sqrt(center * (100 - center) / score.total)
    spread = max(sample_std(others), counting)
    if abs(to_percent(score) - center) <= SPREADS * spread:
        return ""
    return f"the {len(others)} other seeds have {center:.2f} ± {spread:.2f}"


def _far_below(score: Score, level: float | None) -> str:
    if level is None or to_percent(score) > level - POINTS:
        return ""
    return f"zero-shot has {level:.2f}"


def _measured_on(spec: RunSpec) -> tuple:
    """What a run and its zero-shot reference share; zero-shot does not depend on the number of shots."""
    return spec.suite, spec.protocol, spec.dataset, spec.backbone, spec.checkpoint, spec.precision


def _group(spec: RunSpec) -> tuple:
    """What seeds that are compared share."""
    return (*_measured_on(spec), spec.method, spec.shots, spec.options, spec.training)
