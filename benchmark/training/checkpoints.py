"""Trainings under way on disk: every few minutes all that the rest of a training follows from, whole or not at all.

Every random draw of a training is a function of (seed, epoch), so what is learned, the optimiser's memory and the place
in the epoch are all of it; going on from there gives the bytes of a training that was never interrupted.
"""

import hashlib
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from benchmark.common import shutdown
from benchmark.common.config import SCHEMA
from benchmark.common.constants import CHECKPOINT_MINUTES
from benchmark.common.files import write_whole
from benchmark.errors import RecordError
from benchmark.method import Method

HELD_TENSORS = ("total", "generator")  # fields of a Moment that are one tensor
FOLDER = ".checkpoints"  # below the results folder
LEARNED, OPTIMIZER = "learned ", "optimizer "  # before the names of tensors


@dataclass
class Moment:
    """Where one training stands.

    Attributes:
        epoch: epochs done.
        step: steps done of the one after them.
        losses: mean loss of each epoch done.
        total: sum of the losses of the steps of the epoch under way, a float32 scalar.
        seconds: spent on it so far.
        scaler: of float16's loss scaling; empty without.
        generator: torch's on the CPU, for methods that draw while they train.
        tensors: what is learned and what the optimiser keeps, by name, on the CPU.
    """

    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    scaler: dict[str, float] = field(default_factory=dict)
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    generator: Tensor = field(default_factory=torch.get_rng_state)
    tensors: dict[str, Tensor] = field(default_factory=dict)


def state_of(method: Method, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What a method learned and what its optimiser remembers of it, copies on the CPU."""
    tensors = {LEARNED + name: tensor for name, tensor in method.learned_state().items()}
    for index, parameter in enumerate(method.learnable()):
        for key, value in optimizer.state[parameter].items():
            if value is not None:
                tensors[f"{OPTIMIZER}{index} {key}"] = torch.as_tensor(value).detach().cpu().clone()
    return tensors


def restore(method: Method, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `state_of`."""
    method.load_learned_state({n.removeprefix(LEARNED): t for n, t in tensors.items() if n.startswith(LEARNED)})
    for index, parameter in enumerate(method.learnable()):
        start = f"{OPTIMIZER}{index} "
        for name, tensor in tensors.items():
            if name.startswith(start):
                key = name.removeprefix(start)
                where = "cpu" if key == "step" else parameter.device  # as torch.optim keeps them
                optimizer.state[parameter][key] = tensor.to(where, copy=True)


def finished(method: Method, *, epochs: int, losses: Sequence[float], seconds: float) -> Moment:
    """The moment after the last epoch, of which only what is learned still counts."""
    learned = {LEARNED + name: tensor for name, tensor in method.learned_state().items()}
    return Moment(epoch=epochs, losses=list(losses), seconds=seconds, tensors=learned)


class Checkpoints:
    """The checkpoints of some trainings that go on together.

    Args:
        results: the results folder.
        names: of each training, `training_id` of its run.
        minutes: between two of them; 0 writes one after every step, for tests.
    """

    def __init__(self, results: Path, names: Sequence[str], *, minutes: float = CHECKPOINT_MINUTES):
        made_by = f"{SCHEMA} {torch.__version__}"  # another version would go on with other last digits
        keys = [hashlib.sha256(f"{made_by} {name}".encode()).hexdigest()[:16] for name in names]
        self._paths = [Path(results) / FOLDER / f"{key}.safetensors" for key in keys]
        self._seconds, self._last = 60 * minutes, time.monotonic()

    def load(self) -> list[Moment] | None:
        """All of them, if they are there, whole and at the same place; else None, and training starts anew."""
        moments = [_read(path) for path in self._paths]
        if None in moments or len({(moment.epoch, moment.step) for moment in moments}) != 1:
            return None
        return moments

    @property
    def due(self) -> bool:
        """Whether it is time for the next, or the last chance for one."""
        return time.monotonic() - self._last >= self._seconds or shutdown.asked()

    def save(self, moments: Sequence[Moment]) -> None:
        """Write them, each whole or not at all; a folder that cannot be written is warned of and done without."""
        self._last = time.monotonic()
        try:
            for path, moment in zip(self._paths, moments, strict=True):
                write_whole(path, _packed(moment))
        except RecordError as error:
            warnings.warn(f"No checkpoint: {error} The training goes on.", stacklevel=2)

    def remove(self) -> None:
        """They are of no use any more."""
        for path in self._paths:
            path.unlink(missing_ok=True)


def _packed(moment: Moment) -> bytes:
    held = {name: getattr(moment, name).cpu() for name in HELD_TENSORS}
    scalars = {f.name: getattr(moment, f.name) for f in fields(moment) if f.name not in (*HELD_TENSORS, "tensors")}
    return safetensors.torch.save({**held, **moment.tensors}, {"moment": json.dumps(scalars)})


def _read(path: Path) -> Moment | None:
    """None where there is none, or none whole."""
    try:
        with safe_open(path, "pt") as file:
            scalars = json.loads(file.metadata()["moment"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        return Moment(**scalars, **{name: tensors.pop(name) for name in HELD_TENSORS}, tensors=tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
