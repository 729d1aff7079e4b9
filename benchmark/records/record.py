"""RunRecord: the spec of one run, its counts, and what explains them."""

from dataclasses import dataclass, field
from typing import Literal

from benchmark.common.config import RunSpec, check_fields, check_name
from benchmark.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Score:
    """Counts of one class set; percentages exist only in tables."""

    correct: int
    total: int
    classes: int

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.correct <= self.total or self.total < 1 or self.classes < 1:
            raise ConfigError(f"{self.correct} of {self.total} correct over {self.classes} classes is impossible")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run: its spec, its counts, and what it takes to explain them. Unknown is null."""

    spec: RunSpec
    status: Literal["ok", "failed"]
    scores: dict[str, Score]  # by class set: "base", "new", "all" or a target dataset's name
    overrides: dict[str, object] = field(default_factory=dict)  # what --set changed
    training: dict[str, object] = field(default_factory=dict)  # steps, images, seconds, losses; {}: none here
    evaluation_seconds: float
    peak_memory_bytes: int | None = None
    warnings: list[str] = field(default_factory=list)
    provenance: dict[str, object] = field(default_factory=dict)  # git, versions, machine, device, full hashes, times
    error: str | None = None  # the traceback of a failed run

    def __post_init__(self) -> None:
        check_fields(self)
        for class_set in self.scores:
            check_name("class set", class_set)
        if (self.status == "ok") != (bool(self.scores) and self.error is None):
            needed = "scores and no error" if self.status == "ok" else "no scores, or an error"
            raise ConfigError(f"status '{self.status}' needs {needed}")

    @property
    def learns_nothing(self) -> bool:
        """Whether no training image had a part in it: every seed and number of shots gives the same."""
        return self.spec.training is None and not self.training and not self.spec.loaded
