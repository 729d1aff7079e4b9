"""Where runs compute: the device, its precision, how many processes and threads; Accelerate's view of it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from benchmark.errors import ConfigError

MOST = 4  # processes by default: each holds a backbone and features of its own


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_processes(device: str) -> int:
    """On a CPU as many as there are cores, up to a few; one where a GPU does the work."""
    return min(cores(), MOST) if device == "cpu" else 1


def default_threads() -> int:
    """Of each process: a share of the cores that does not depend on how many processes there are.

    How a product is summed may depend on the number of threads, so this number stands in every record.
    """
    return max(1, cores() // min(cores(), MOST))


def choose_device(device: str | None, precision: str, *, local_rank: int = 0) -> str:
    """The device that a run is on: the one named, or the best there is; of several GPUs that of this process.

    Raises:
        ConfigError: no such device here, or one that cannot compute in this precision.
    """
    if device is not None:
        try:
            kind = torch.device(device).type
        except RuntimeError as error:
            raise ConfigError(f"--device {device}: not a device. Allowed: cpu, cuda, cuda:N, mps.") from error
        if told := _why_not(torch.device(device)):
            raise ConfigError(f"--device {device}: {told}")
    elif torch.cuda.is_available():
        device = kind = "cuda"
    else:
        device = kind = "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "cuda" and torch.cuda.device_count() > 1:
        device = f"cuda:{local_rank % torch.cuda.device_count()}"
    if precision == "fp16" and kind == "cpu":
        raise ConfigError(
            "--precision fp16 needs a GPU: a CPU computes it slowly and loses gradients. Take fp32 or bf16."
        )
    if precision == "tf32" and kind != "cuda":
        raise ConfigError("--precision tf32 needs a CUDA GPU; nothing else computes in it. Take fp32.")
    return device


def _why_not(device: torch.device) -> str | None:
    """Why nothing can be computed on a device here, and what to do; None if it can."""
    if device.type == "cuda" and not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} was built without CUDA. Install a build with it, or leave --device out."
    if device.type == "cuda" and not torch.cuda.is_available():
        return "torch sees no GPU. Look at nvidia-smi and CUDA_VISIBLE_DEVICES, or leave --device out."
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        return f"torch sees {count} of them, counted from 0; CUDA_VISIBLE_DEVICES may hide others. Give a lower number."
    there = device.type in ("cpu", "cuda") or (device.type == "mps" and torch.backends.mps.is_available())
    return None if there else "this machine (or this build of torch) has none. Leave --device out."


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Accelerate's view of a device that `choose_device` gave, and autocast in the wanted precision."""
    if device.startswith("cuda:"):
        torch.cuda.set_device(torch.device(device))
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    # Accelerate keeps one state a process; a second call, from a notebook say, may ask for another precision.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    return Accelerator(cpu=device == "cpu", mixed_precision=precision if precision in ("bf16", "fp16") else "no")


@contextmanager
def settings_restored() -> Iterator[None]:
    """What `make_accelerator` sets in torch and Accelerate for all of a process is afterwards as it was."""
    restore_precision = _matmul_precision_kept()
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else 0
    states = [(kind._shared_state, dict(kind._shared_state)) for kind in (PartialState, AcceleratorState)]
    try:
        yield
    finally:
        restore_precision()
        if torch.cuda.is_initialized():
            torch.cuda.set_device(device)
        for state, before in states:
            state.clear()
            state.update(before)


def _matmul_precision_kept() -> Callable[[], None]:
    """What puts the precision of float32 products back, under whichever of torch's two names for it was used."""
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # the newer name, one value a kind of device; torch refuses to tell it under the older
        kinds = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
        values = [kind.fp32_precision for kind in kinds]

        def restore() -> None:
            for kind, value in zip(kinds, values, strict=True):
                kind.fp32_precision = value

        return restore
    return lambda: torch.set_float32_matmul_precision(before)
