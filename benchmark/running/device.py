"""Choose the device, the number of processes and threads, and how processes start.

It imports torch only to ask for devices, so that wrong options are answered without it.
"""

import multiprocessing
import os
import re
import sys
import tempfile
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING

from benchmark.errors import ConfigError

if TYPE_CHECKING:
    import torch


MOST_PROCESSES = 4  # by default: each process has its own backbone and features
LONGEST_TMPDIR = 75  # characters: 32 follow, and the address of a socket has at most 107
CHANGE_NUMBERS = {  # variables of cuBLAS, MKL, oneDNN and torch, by the device whose numbers they change
    "cuda": ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "PYTORCH_TUNABLEOP_ENABLED"),
    "cpu": ("DNNL_DEFAULT_FPMATH_MODE", "ONEDNN_DEFAULT_FPMATH_MODE"),  # not instruction sets: processors differ too
}
PRELOADED = ("torch", "accelerate", "transformers.models.clip.modeling_clip")  # takes seconds, starts no thread

_server_environment: dict[str, str] = {}  # of this process when the fork server started


def process_context() -> BaseContext:
    """How a grid starts processes: on Linux a fork server imports PRELOADED once for all of them, elsewhere by spawn.

    A fork server keeps the environment it was started with, so a grid in another environment takes spawn, too; so does
    one whose TMPDIR is too long for the server's socket.
    """
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    if not _server_environment:
        _server_environment.update(os.environ)
    if _server_environment != dict(os.environ) or len(tempfile.gettempdir()) > LONGEST_TMPDIR:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_processes(device: str) -> int:
    """On a CPU the number of cores, at most MOST_PROCESSES; one on a GPU."""
    return min(cores(), MOST_PROCESSES) if device == "cpu" else 1


def default_threads() -> int:
    """Threads of each process: a share of the cores that does not depend on the number of processes.

    How a product is summed may depend on the number of threads, so every record has this number.
    """
    return max(1, cores() // min(cores(), MOST_PROCESSES))


def check_device_name(device: str | None) -> None:
    """Refuse what cannot be a device, without torch."""
    if device is not None and not re.fullmatch(r"(cpu|cuda|mps)(:\d+)?", device):
        raise ConfigError(f"--device {device}: not a device. Allowed: cpu, cuda, cuda:N, mps.")


def choose_device(device: str | None, precision: str, *, local_rank: int = 0) -> str:
    """The named device, or the best one of this machine; with several GPUs that of this process.

    Raises:
        ConfigError: no such device here, or one that cannot compute in this precision.
    """
    check_device_name(device)
    import torch  # here: it takes more than a second, and other options are checked before

    if device is not None:
        kind = torch.device(device).type
        if message := _why_not(torch.device(device)):
            raise ConfigError(f"--device {device}: {message}")
    elif torch.cuda.is_available():
        device = kind = "cuda"
    else:
        device = kind = "mps" if torch.backends.mps.is_available() and precision != "fp64" else "cpu"
    if device == "cuda" and torch.cuda.device_count() > 1:
        device = f"cuda:{local_rank % torch.cuda.device_count()}"
    if precision == "fp16" and kind == "cpu":
        raise ConfigError(
            "--precision fp16 needs a GPU: a CPU computes it slowly and loses gradients. Take fp32 or bf16."
        )
    if precision == "fp64" and kind == "mps":
        raise ConfigError("--precision fp64 needs a CPU or a CUDA GPU. Take --device cpu, or --precision fp32.")
    if precision == "tf32" and kind != "cuda":
        raise ConfigError("--precision tf32 needs a CUDA GPU; nothing else computes in it. Take fp32.")
    _check_variables(kind, precision)
    return device


def _check_variables(kind: str, precision: str) -> None:
    """Refuse environment variables that would change numbers without a trace in the records."""
    harmless = {"", "1" if precision == "tf32" else "0"}
    given = [name for name in CHANGE_NUMBERS.get(kind, ()) if os.environ.get(name, "") not in harmless]
    if given:
        shown = ", ".join(f"{name}={os.environ[name]}" for name in given)
        raise ConfigError(f"{shown}: changes what is computed, and no record would say so. Unset {', '.join(given)}.")


def _why_not(device: "torch.device") -> str | None:
    """Why nothing can be computed on a device here, and what to do; None if it can."""
    import torch

    if device.type == "cuda" and not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} was built without CUDA. Install a build with it, or leave --device out."
    if device.type == "cuda" and not torch.cuda.is_available():
        return "torch sees no GPU. Look at nvidia-smi and CUDA_VISIBLE_DEVICES, or leave --device out."
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        return f"torch sees {count} of them, counted from 0; CUDA_VISIBLE_DEVICES may hide others. Give a lower number."
    if device.type == "mps" and not torch.backends.mps.is_available():
        return "this machine (or this build of torch) has none. Leave --device out."
    return None
