"""Set up Accelerate and torch for a device and a precision, and restore what they change in the process."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

# Variables of accelerate launch, torchrun, mpirun and srun, which may be those of another job.
OF_LAUNCHERS = ("ACCELERATE_", "LOCAL_RANK", "WORLD_SIZE", "OMPI_", "PMI_", "MV2_", "MPI_", "FORK_LAUNCHED")
# Where torch keeps the precision of float32 convolutions, and its values for TF32 and for float32; 2.9 renamed it.
CONVOLUTIONS = (
    (torch.backends.cudnn.conv, "fp32_precision", "tf32", "ieee")
    if hasattr(torch.backends.cudnn, "conv")
    else (torch.backends.cudnn, "allow_tf32", True, False)
)


def make_accelerator(device: str, precision: str) -> Accelerator:
    """An Accelerator for a device that choose_device returned, with autocast in the given precision."""
    if device.startswith("cuda:"):
        torch.cuda.set_device(torch.device(device))
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    owner, name, rounded, exact = CONVOLUTIONS  # of the patches; by default torch rounds them to TF32 on a GPU
    setattr(owner, name, rounded if precision == "tf32" else exact)
    # Accelerate keeps one state per process; a second call, in a notebook say, may have another precision.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    with _without_launcher():
        return Accelerator(cpu=device == "cpu", mixed_precision=precision if precision in ("bf16", "fp16") else "no")


@contextmanager
def _without_launcher() -> Iterator[None]:
    """Hide what would make Accelerate distribute the runs of this process, or compute on another device."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(OF_LAUNCHERS)}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def settings_restored() -> Iterator[None]:
    """Restore the settings of the process that make_accelerator changes in torch and Accelerate."""
    restore_precision = _matmul_precision_restorer()
    owner, name = CONVOLUTIONS[:2]
    convolutions = getattr(owner, name)
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else 0
    states = [(kind._shared_state, dict(kind._shared_state)) for kind in (PartialState, AcceleratorState)]
    try:
        yield
    finally:
        restore_precision()
        setattr(owner, name, convolutions)
        if torch.cuda.is_initialized():
            torch.cuda.set_device(device)
        for state, before in states:
            state.clear()
            state.update(before)


def _matmul_precision_restorer() -> Callable[[], None]:
    """A function that restores the precision of float32 products, under the one of torch's two names that was used."""
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # set by the newer name, by kind of device; torch then refuses to read the older
        kinds = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
        values = [kind.fp32_precision for kind in kinds]

        def restore() -> None:
            for kind, value in zip(kinds, values, strict=True):
                kind.fp32_precision = value

        return restore
    return lambda: torch.set_float32_matmul_precision(before)
