"""Read files of learned values: checkpoints of CoOp's toolbox, and the safetensors files of `benchmark export`.

A checkpoint of torch is a pickle, which can contain any program. torch's reader for tensors reads it and executes
nothing. The other objects that the toolbox saves (the scheduler, a numpy number) become inert placeholders and are
dropped; a file that names any other object is refused.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from benchmark.clip.layer import at_least_float32
from benchmark.common.provenance import sha256_file
from benchmark.errors import ConfigError, listed, unreadable
from benchmark.training.checkpoint_names import FIRST_POSITION, FIXED, bare, own_names, shown_options, unused_names

TORCH = (b"PK\x03\x04", b"\x80")  # first bytes: the zip archive of torch, and its pickle before torch 1.6
TEXT_LENGTH = 77  # tokens of the prompts in such files; openai/CLIP clip.tokenize
START, POSITION = "embeddings of the start token", "embeddings of the first position"  # keys of Released.backbone
STATED = {"options": dict, "class_names": list}  # metadata of an exported file that is read as JSON
# What CoOp's toolbox pickles besides tensors: a warm-up schedule contains the next schedule, with its optimizer.
DROPPED = (
    *(f"torch.optim.lr_scheduler.{name}" for name in ("CosineAnnealingLR", "StepLR", "MultiStepLR")),
    *(f"dassl.optim.lr_scheduler.{name}WarmupScheduler" for name in ("Constant", "Linear")),
    *(f"torch.optim.{name}" for name in ("sgd.SGD", "adam.Adam", "adamw.AdamW", "rmsprop.RMSprop")),
    "dassl.optim.radam.RAdam",
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "_codecs.encode"),
    "builtins.dict",  # in the defaultdict of an optimizer
)  # fmt: skip


class _Placeholder:
    """Replaces an object of DROPPED in a pickle: accepts any arguments and state, and keeps none."""

    def __new__(cls, *_: object) -> "_Placeholder":
        return super().__new__(cls)

    def __init__(self, *_: object):
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _empty(*_: object) -> dict:
    """Replaces defaultdict; torch's reader fills only a real dictionary."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Released:
    """The content of a file of learned values.

    Attributes:
        tensors: learned tensors, at least float32, by their names in `Method.learned_state`.
        classes: number of classes of its prompts; None if unknown.
        dropped: names of tensors of the file that its authors' code saves and never uses.
        frozen: number of tensors of the frozen CLIP that the file holds besides.
        backbone: rows (T,) of the backbone of a checkpoint, by what they are; empty if unknown.
        about: metadata of an exported file: method, options, checkpoint; empty for a checkpoint.
    """

    path: Path
    tensors: dict[str, Tensor]
    classes: int | None = None
    dropped: tuple[str, ...] = ()
    frozen: int = 0
    backbone: Mapping[str, Tensor] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A hash of names, shapes and values in 16 hexadecimal digits, the same for any file format."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode() + tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def options(self, known: tuple[str, ...]) -> dict[str, Any]:
        """The options that follow from the file: those in its metadata, or what names and shapes show."""
        found = self.about["options"] if "options" in self.about else shown_options(self.tensors)
        return {key: value for key, value in found.items() if key in known}


def read_released(path: Path) -> Released:
    """Read a file of learned values; its content decides the format, not its name.

    Raises:
        ConfigError: the file holds more than tensors, or no learned values.
    """
    tensors, about = _read_safetensors(path) if _is_safetensors(path) else (_read_checkpoint(path), {})
    named = {own: tensors[name] for name, own in own_names(tensors).items()}
    if others := [name for name, value in named.items() if not isinstance(value, Tensor)]:
        raise ConfigError(
            f"{path}: {', '.join(others[:3])} in it are not tensors. Save the tensors by name under 'state_dict'."
        )
    named = {name: tensor.detach() for name, tensor in named.items()}  # a saved nn.Parameter has gradients
    dropped = unused_names(named)
    # the tokens of MMA's prompts are whole numbers, and dropped
    odd = {name: why for name, t in named.items() if name not in (*FIXED, *dropped) and (why := _odd(t))}
    if odd:
        advice = "Save its values as ordinary floating-point numbers."
        raise ConfigError(listed(str(path), [f"'{name}' {why}" for name, why in odd.items()], advice))
    learned = {name: at_least_float32(tensor) for name, tensor in named.items() if name not in (*FIXED, *dropped)}
    problems = [f"'{name}' holds values that are not finite" for name, t in learned.items() if not t.isfinite().all()]
    problems += _fixed_problems(named)
    if not learned:
        problems.append("it holds no learned values")
    if problems:
        raise ConfigError(listed(str(path), problems))
    prompts = named.get("token_prefix", named.get("token_embedding", torch.empty(0, 1, 1)))  # (C, 1 or more, T)
    positions = {bare(name): tensor for name, tensor in tensors.items()}.get(FIRST_POSITION)
    return Released(
        path=path,
        tensors=learned,
        classes=(prompts.ndim and len(prompts)) or len(about.get("class_names") or ()) or None,
        dropped=dropped,
        frozen=len(tensors) - len(named),
        backbone=_backbone_rows(prompts, positions),
        about=about,
    )


def file_facts(path: Path) -> dict[str, str]:
    """The name of the file and the hash of its content, for a record."""
    return {"file": path.name, "sha256": sha256_file(path)}


def _is_safetensors(path: Path) -> bool:
    """Whether a file is safetensors, not a checkpoint of torch.

    Raises:
        ConfigError: it is neither, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(24)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from error
    if start[8:9] == b"{" or start.startswith(TORCH):
        return not start.startswith(TORCH)
    found = f"starts with {start!r}" if start else "is empty"
    raise ConfigError(
        f"{path}: is neither a checkpoint of torch nor safetensors; it {found}. Give a checkpoint as CoOp's code saves "
        "it (model.pth.tar-50), or an exported file."
    )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is not a mapping)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: cannot be read as safetensors ({error}).") from error
    try:
        values = {name: json.loads(about[name]) for name in STATED if name in about}
        if all(isinstance(value, STATED[name]) for name, value in values.items()):
            return tensors, {**about, **values}
        reason = "another type"
    except ValueError as error:
        reason = str(error)
    raise ConfigError(f"{path}: its metadata's {' or '.join(STATED)} cannot be read ({reason}). Export it again.")


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state_dict of a torch file."""
    try:
        placeholders = [(_Placeholder, name) for name in DROPPED] + [(_empty, "collections.defaultdict")]
        with torch.serialization.safe_globals(placeholders), warnings.catch_warnings(action="ignore"):
            whole = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ConfigError(_refusal(path, str(error))) from error
    except Exception as error:  # a damaged pickle raises nearly anything
        stated = re.split(r"\n|\. In PyTorch", str(error))[0]  # without torch's advice, which would execute the file
        raise ConfigError(
            f"{path}: is not a complete checkpoint of torch ({type(error).__name__}: {stated}). Copy it again, or give "
            "one as CoOp's code saves it."
        ) from error
    state = whole.get("state_dict", whole) if isinstance(whole, dict) else None
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ConfigError(f"{path}: holds no 'state_dict' of tensors by name, as CoOp's code saves it.")
    return dict(state)


def _odd(tensor: Tensor) -> str:
    """Why a tensor holds no ordinary floating-point numbers; empty if it does."""
    if tensor.is_meta:
        return "has no values"
    if tensor.layout != torch.strided:
        return "is sparse"
    kept = tensor.is_floating_point() or tensor.dtype == torch.bool  # Tip-Adapter's labels, one-hot
    return "" if kept else f"is of type {str(tensor.dtype).removeprefix('torch.')}"


def _refusal(path: Path, reason: str) -> str:
    """The message for a pickle with more than tensors; torch's own advice would execute it."""
    found = re.search(r"GLOBAL ([\w.]+)", reason)
    if found is None:
        stated = reason.rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        return (
            f"{path}: is not a checkpoint of torch, or holds more than tensors ({stated}); nothing in it was executed. "
            "Give a checkpoint as CoOp's code saves it, or an exported file."
        )
    code = "s = torch.load('OLD', map_location='cpu', weights_only=False); torch.save(s['state_dict'], 'NEW')"
    return (
        f"{path}: holds more than tensors (it names {found[1]}); nothing in it was executed. If you trust its "
        f'author, extract its tensors, which executes the file: python -c "import torch; {code}". Then load NEW.'
    )


def _backbone_rows(prompts: Tensor, positions: Tensor | None) -> dict[str, Tensor]:
    """Rows that tell the backbone of a checkpoint from others, if its tensors have the right form.

    Args:
        prompts: (C, 1 or more, T), embeddings that begin with the start token.
        positions: (L, T), of the text tower.
    """
    rows = {START: prompts[0, 0]} if prompts.ndim == 3 and prompts.numel() else {}
    if isinstance(positions, Tensor) and positions.ndim == 2 and positions.numel():
        rows[POSITION] = positions[0]
    return {what: at_least_float32(row) for what, row in rows.items()}


def _fixed_problems(named: Mapping[str, Tensor]) -> list[str]:
    """Problems with the embeddings of the tokens that are not learned: they must fit the context between them."""
    context, prefix, suffix = (named.get(name) for name in ("ctx", *FIXED[:2]))
    if context is None or context.ndim not in (2, 3):
        return []
    count, width = context.shape[-2:]
    problems = []
    for name, tensor, length in (("token_prefix", prefix, 1), ("token_suffix", suffix, TEXT_LENGTH - 1 - count)):
        if tensor is not None and (tensor.ndim != 3 or tuple(tensor.shape[1:]) != (length, width) or not len(tensor)):
            problems.append(
                f"'{name}' has shape {tuple(tensor.shape)}; with ctx {tuple(context.shape)} it must have (classes, "
                f"{length}, {width})"
            )
    counts = {len(tensor) for tensor in (prefix, suffix, context if context.ndim == 3 else None) if tensor is not None}
    if not problems and len(counts) > 1:
        problems.append(f"its tensors are of {' and '.join(map(str, sorted(counts)))} classes")
    return problems
