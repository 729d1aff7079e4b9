"""Devices by name: those that are not here are refused with the reason."""

import os
import sys
import tempfile

import pytest
import torch

from benchmark.errors import ConfigError
from benchmark.running import device
from benchmark.running.accelerator import CONVOLUTIONS, make_accelerator, settings_restored
from benchmark.running.device import choose_device


@pytest.fixture
def gpus(monkeypatch):
    """gpus(count, built=True) lets torch see so many, in a build with CUDA or without."""

    def see(count, *, built=True):
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return see


@pytest.mark.parametrize(
    "name, count, built, reason",
    [
        ("cuda", 0, False, "built without CUDA"),
        ("cuda:0", 0, True, "torch sees no GPU"),
        ("cuda:2", 2, True, "torch sees 2 of them, counted from 0"),
        ("mps", 2, True, "has none"),
        ("gpu", 2, True, "not a device"),
    ],
)
def test_device_that_is_not_here_is_refused_with_the_reason(gpus, name, count, built, reason):
    gpus(count, built=built)
    with pytest.raises(ConfigError, match=reason):
        choose_device(name, "fp32")


def test_gpu_that_is_here_is_taken_by_its_number(gpus):
    gpus(2)
    assert choose_device("cuda:1", "fp32") == "cuda:1"
    assert choose_device(None, "fp32", local_rank=3) == "cuda:1"


def test_float64_is_computed_where_the_device_can(gpus, monkeypatch):
    gpus(1)
    assert choose_device(None, "fp64") == "cuda"
    gpus(0, built=False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert (choose_device(None, "fp32"), choose_device(None, "fp64")) == ("mps", "cpu")
    with pytest.raises(ConfigError, match="needs a CPU or a CUDA GPU"):
        choose_device("mps", "fp64")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fork server is for Linux")
def test_grid_in_another_environment_does_not_use_the_fork_server(monkeypatch):
    monkeypatch.setattr(device, "_server_environment", {})
    assert device.process_context().get_start_method() == "forkserver"
    assert device.process_context().get_start_method() == "forkserver"
    monkeypatch.setattr(tempfile, "tempdir", "/" + 80 * "t")  # no socket has so long an address
    assert device.process_context().get_start_method() == "spawn"
    monkeypatch.undo()
    monkeypatch.setattr(device, "_server_environment", {"another": "environment"})
    assert device.process_context().get_start_method() == "spawn"


def test_variables_that_change_numbers_are_refused(gpus, monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    monkeypatch.setenv("DNNL_DEFAULT_FPMATH_MODE", "BF16")
    with pytest.raises(ConfigError, match="DNNL_DEFAULT_FPMATH_MODE=BF16: changes what is computed"):
        choose_device("cpu", "fp32")
    gpus(1)
    assert choose_device("cuda", "tf32") == "cuda"
    with pytest.raises(ConfigError, match="NVIDIA_TF32_OVERRIDE=1: changes what"):
        choose_device("cuda", "fp32")


def test_variables_of_launchers_of_other_jobs_do_not_reach_a_run(monkeypatch):
    others = {"OMPI_COMM_WORLD_SIZE": "2", "PMI_SIZE": "2", "LOCAL_RANK": "1", "ACCELERATE_TORCH_DEVICE": "meta",
              "ACCELERATE_MIXED_PRECISION": "fp16", "ACCELERATE_USE_DEEPSPEED": "true"}  # fmt: skip
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    with settings_restored():
        made = make_accelerator("cpu", "bf16")
        assert (made.device.type, made.mixed_precision, made.num_processes) == ("cpu", "bf16", 1)
    assert others.items() <= os.environ.items()


@pytest.fixture
def matmul():
    """torch's settings of float32 products on a GPU, put back at the end."""
    before = torch.get_float32_matmul_precision()
    yield torch.backends.cuda.matmul
    torch.set_float32_matmul_precision(before)


def test_settings_of_the_process_are_restored_whatever_name_set_them(matmul):
    torch.set_float32_matmul_precision("medium")
    with settings_restored():
        mine = make_accelerator("cpu", "bf16")
        with settings_restored():
            make_accelerator("cpu", "fp32")
            assert (torch.get_float32_matmul_precision(), matmul.fp32_precision) == ("highest", "ieee")
        assert mine.mixed_precision == "bf16"
    assert torch.get_float32_matmul_precision() == "medium"
    matmul.fp32_precision = "tf32"
    with settings_restored():
        make_accelerator("cpu", "fp32")
    assert matmul.fp32_precision == "tf32"


def test_convolutions_of_float32_are_not_rounded_to_tf32():
    owner, name, rounded, exact = CONVOLUTIONS
    before = getattr(owner, name)
    for precision, wanted in (("fp32", exact), ("tf32", rounded), ("bf16", exact)):
        with settings_restored():
            make_accelerator("cpu", precision)
            assert getattr(owner, name) == wanted
    assert getattr(owner, name) == before
