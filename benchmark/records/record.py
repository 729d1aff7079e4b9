"""Define RunRecord: the spec of one run, its counts, and what explains them."""

import operator
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from benchmark.common.config import FolderName, NonNegative, RunSpec
from benchmark.common.validation import validated
from benchmark.errors import ConfigError

BINS = 15  # equal-width bins of confidence in 0..1; Guo et al., ICML 2017

Count = Annotated[int, NonNegative]
Counts = tuple[Count, ...]
Sum = Annotated[float, NonNegative]


@validated
class Breakdown:
    """What the images of a class set sum to by confidence and by class.

    Attributes:
        nll: negative log-likelihood, summed over images, in nats.
        bin_totals, bin_correct, bin_confidence: images, correct images and summed confidence in each of BINS bins.
        class_totals, class_correct: images and correct images of each true class.
    """

    nll: Sum
    bin_totals: Counts
    bin_correct: Counts
    bin_confidence: tuple[Sum, ...]
    class_totals: Counts
    class_correct: Counts

    def problems(self, correct: int, total: int, classes: int) -> list[str]:
        """What does not agree with the counts of the class set, as text."""
        found = []
        for kind, length in (("bin", BINS), ("class", classes)):
            totals, right = getattr(self, f"{kind}_totals"), getattr(self, f"{kind}_correct")
            if not len(totals) == len(right) == length:
                found.append(f"{kind} counts are of {len(totals)} and {len(right)}, not of {length}")
            elif (sum(totals), sum(right)) != (total, correct):
                found.append(f"{kind} counts sum to {sum(right)} of {sum(totals)}, not to {correct} of {total}")
            elif any(map(operator.gt, right, totals)):
                found.append(f"a {kind} has more correct images than images")
        if len(self.bin_confidence) != BINS:
            found.append(f"bin confidences are of {len(self.bin_confidence)}, not of {BINS}")
        elif not found and not self._confidences_fit():
            found.append("the summed confidence of a bin is outside of the bin")
        return found

    def _confidences_fit(self) -> bool:
        """Whether each bin's summed confidence is between those of its images at its lower and upper edge."""
        sums = [confidence * BINS for confidence in self.bin_confidence]
        lowest, highest = (map(operator.mul, self.bin_totals, range(edge, BINS + edge)) for edge in (0, 1))
        return all(map(operator.le, lowest, sums)) and all(map(operator.le, sums, highest))


@validated
class Score:
    """Counts of one class set; only tables hold percentages. The breakdown is None in records of earlier versions."""

    correct: Count
    total: Annotated[int, Field(ge=1)]
    classes: Annotated[int, Field(ge=1)]
    breakdown: Breakdown | None = None

    def __post_init__(self) -> None:
        if self.correct > self.total:
            raise ConfigError(f"{self.correct} of {self.total} correct is impossible")
        if self.breakdown and (found := self.breakdown.problems(self.correct, self.total, self.classes)):
            raise ConfigError("; ".join(found))


@validated
class RunRecord:
    """One run: its spec, its counts, and what explains them. Unknown values are null."""

    spec: RunSpec
    status: Literal["ok", "failed"]
    scores: dict[FolderName, Score]  # by class set: "base", "new", "all" or a target dataset's name
    overrides: dict[str, object] = field(default_factory=dict)  # what --set changed
    training: dict[str, object] = field(default_factory=dict)  # steps, images, seconds, losses; {}: not trained here
    evaluation_seconds: float
    peak_memory_bytes: int | None = None
    warnings: list[str] = field(default_factory=list)
    provenance: dict[str, object] = field(default_factory=dict)  # git, versions, machine, device, full hashes, times
    error: str | None = None  # the traceback of a failed run

    def __post_init__(self) -> None:
        if (self.status == "ok") != (bool(self.scores) and self.error is None):
            needed = "scores and no error" if self.status == "ok" else "no scores, or an error"
            raise ConfigError(f"status '{self.status}' needs {needed}")

    @property
    def learns_nothing(self) -> bool:
        """Whether the result depends on no training image, so that all seeds and shots give the same."""
        return self.spec.training is None and not self.training and not self.spec.loaded
