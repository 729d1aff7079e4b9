"""Describe what a training did, as its record keeps it."""

from dataclasses import dataclass, field


@dataclass
class FitReport:
    """What a training did.

    Attributes:
        steps: optimizer steps.
        images: images seen, repeats counted.
        seconds: wall-clock time of the loop, including the views of the training images; in lockstep, this training's
            share of it. It includes the time in which a method reads its images before the training.
        losses: mean total loss of each epoch.
        together: number of trainings that ran in the same pass, this one included.
        taken_from: the record, below the results folder, whose training this is; None if the run trained itself.
        warnings: what a reader of the result should know.
    """

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    together: int = 1
    taken_from: str | None = None
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """The entry `training` of a record; a record keeps warnings in an entry of their own."""
        kept = ("steps", "images", "seconds", "together", "losses")
        reused = {} if self.taken_from is None else {"taken_from": self.taken_from}
        return {name: getattr(self, name) for name in kept} | reused
