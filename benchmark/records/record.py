"""Define RunRecord: the spec of one run, its counts, and what explains them."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from benchmark.common.config import FolderName, NonNegative, RunSpec
from benchmark.common.validation import validated
from benchmark.errors import ConfigError


@validated
class Score:
    """Counts of one class set; only tables hold percentages."""

    correct: Annotated[int, NonNegative]
    total: Annotated[int, Field(ge=1)]
    classes: Annotated[int, Field(ge=1)]

    def __post_init__(self) -> None:
        if self.correct > self.total:
            raise ConfigError(f"{self.correct} of {self.total} correct is impossible")


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
