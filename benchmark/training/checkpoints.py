"""Save and restore the state of a running training, so that an interrupted one resumes to the same bytes.

Every random draw of a training is a function of (seed, epoch): the learned values, the state of the optimizer and the
position in the epoch are the whole state. A file is written completely or not at all.
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
from benchmark.common.files import write_atomically
from benchmark.errors import RecordError
from benchmark.method import Method

TENSOR_FIELDS = ("total", "generator")  # fields of a TrainingState that are one tensor
FOLDER = ".checkpoints"  # below the results folder
LEARNED, KEPT, OPTIMIZER = "learned ", "kept ", "optimizer "  # prefixes of the names of tensors


@dataclass
class TrainingState:
    """The state of one training.

    Attributes:
        epoch: number of epochs done.
        step: number of steps done in the current epoch.
        losses: mean loss of each epoch done.
        total: sum of the losses of the current epoch so far, a scalar.
        seconds: training time so far.
        scaler: state of the loss scaling of float16; empty in other precisions.
        generator: state of torch's generator on the CPU, for methods that draw random numbers in training.
        tensors: learned values and optimizer state, by name, on the CPU.
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
    """Copy the learned values of a method, its buffers that are not learned, and its optimizer state to the CPU."""
    tensors = {LEARNED + name: tensor for name, tensor in method.learned_state().items()}
    tensors |= {KEPT + name: tensor.detach().cpu().clone() for name, tensor in _kept(method).items()}
    for index, parameter in enumerate(method.learnable()):
        for key, value in optimizer.state[parameter].items():
            if value is not None:
                tensors[f"{OPTIMIZER}{index} {key}"] = torch.as_tensor(value).detach().cpu().clone()
    return tensors


def restore(method: Method, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load what `state_of` returned."""
    method.load_learned_state({n.removeprefix(LEARNED): t for n, t in tensors.items() if n.startswith(LEARNED)})
    for name, tensor in _kept(method).items():
        tensor.copy_(tensors[KEPT + name])
    for index, parameter in enumerate(method.learnable()):
        start = f"{OPTIMIZER}{index} "
        for name, tensor in tensors.items():
            if name.startswith(start):
                key = name.removeprefix(start)
                where = "cpu" if key == "step" else parameter.device  # where torch.optim keeps it
                optimizer.state[parameter][key] = tensor.to(where, copy=True)


def _kept(method: Method) -> dict[str, Tensor]:
    """The buffers with persistent=False, which only an unfinished training needs."""
    learned = method.state_dict().keys()
    return {name: tensor for name, tensor in method.named_buffers() if name not in learned}


def finished(method: Method, *, epochs: int, losses: Sequence[float], seconds: float) -> TrainingState:
    """The state after the last epoch, where only the learned values still matter."""
    learned = {LEARNED + name: tensor for name, tensor in method.learned_state().items()}
    return TrainingState(epoch=epochs, losses=list(losses), seconds=seconds, tensors=learned)


class Checkpoints:
    """Checkpoint files of the trainings that run together.

    Args:
        results: the results folder.
        names: `training_id` of each run.
        minutes: time between two checkpoints; 0 writes one after every step, for tests.
    """

    def __init__(self, results: Path, names: Sequence[str], *, minutes: float = CHECKPOINT_MINUTES):
        made_by = f"{SCHEMA} {torch.__version__}"  # another version of torch may differ in the last digits
        keys = [hashlib.sha256(f"{made_by} {name}".encode()).hexdigest()[:16] for name in names]
        self._paths = [Path(results) / FOLDER / f"{key}.safetensors" for key in keys]
        self._seconds, self._last = 60 * minutes, time.monotonic()

    def load(self) -> list[TrainingState] | None:
        """Read all states; None if one is missing or damaged or they are at different steps: then start again."""
        states = [_read(path) for path in self._paths]
        if None in states or len({(state.epoch, state.step) for state in states}) != 1:
            return None
        return states

    @property
    def due(self) -> bool:
        """Whether a checkpoint is to be written now: the time is up, or the process is asked to end."""
        return time.monotonic() - self._last >= self._seconds or shutdown.requested()

    def save(self, states: Sequence[TrainingState]) -> None:
        """Write the states, each completely or not at all; warn if the folder cannot be written."""
        self._last = time.monotonic()
        try:
            for path, state in zip(self._paths, states, strict=True):
                write_atomically(path, _pack(state))
        except RecordError as error:
            warnings.warn(f"No checkpoint: {error} The training goes on.", stacklevel=2)

    def remove(self) -> None:
        """Delete the files; it is no error if they do not exist."""
        for path in self._paths:
            path.unlink(missing_ok=True)


def _pack(state: TrainingState) -> bytes:
    own = {name: getattr(state, name).cpu() for name in TENSOR_FIELDS}
    scalars = {f.name: getattr(state, f.name) for f in fields(state) if f.name not in (*TENSOR_FIELDS, "tensors")}
    return safetensors.torch.save({**own, **state.tensors}, {"moment": json.dumps(scalars)})


def _read(path: Path) -> TrainingState | None:
    """The state in a file; None if the file is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            scalars = json.loads(file.metadata()["moment"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is not a mapping)
        return TrainingState(**scalars, **{name: tensors.pop(name) for name in TENSOR_FIELDS}, tensors=tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
