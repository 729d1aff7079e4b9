"""Variables and flags that are set for other jobs: none changes a number, and each that breaks a run is one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["--datasets", "synth_actions", "--seeds", "1", "--shots", "1", "--methods", "coop", "--set", "coop.epochs=1"]
OTHERS = {
    "PYTHONSAFEPATH": "1", "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii",
    "PYTHONHASHSEED": "7", "PYTHONOPTIMIZE": "1", "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "3",
    "MKL_NUM_THREADS": "3", "OMPI_COMM_WORLD_SIZE": "2", "PMI_RANK": "1", "PMI_SIZE": "2", "SLURM_PROCID": "1",
    "SLURM_NTASKS": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "nowhere", "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_USE_FSDP": "true", "ACCELERATE_TORCH_DEVICE": "meta", "HF_HUB_OFFLINE": "1", "HF_HOME": "/dev/null",
    "NVIDIA_TF32_OVERRIDE": "1", "MPLBACKEND": "absent", "TMPDIR": "/tmp/" + 90 * "t",
}  # fmt: skip
NO_ENTRY = "import pwd\ndef getpwuid(uid): raise KeyError(uid)\npwd.getpwuid = getpwuid\n"


def call(out: Path, changes: dict[str, str], *words: str) -> subprocess.CompletedProcess:
    without = {name: value for name, value in os.environ.items() if changes.get(name, "") is not None}
    return subprocess.run(
        [sys.executable, str(ROOT / "run_all.py"), *words, "--out", str(out)], cwd=out.parent, capture_output=True,
        env=without | {name: value for name, value in changes.items() if value is not None},
    )  # fmt: skip


@pytest.mark.slow
def test_variables_for_other_jobs_change_no_number(tmp_path):
    numbers = []
    for name, changes in (("plain", {}), ("other", OTHERS)):
        done = call(tmp_path / name, changes, *WORDS)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name / "synthetic" / "report.html").is_file()
        found = [path for suffix in ("npz", "safetensors") for path in (tmp_path / name).rglob(f"*.{suffix}")]
        numbers.append([path.read_bytes() for path in found])
    assert len(numbers[0]) == 2 and numbers[0] == numbers[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is set, but not RANK, MASTER_ADDR, MASTER_PORT"),
        ({"PYTHONOPTIMIZE": "2"}, "Python runs with -OO"),
        ({"TORCH_DISTRIBUTED_DEBUG": "much"}, "the package torch cannot be imported (ValueError: The value of TORCH_"),
        ({"COPL_BENCHMARK_CACHE": None}, "The home folder is not known. Set HOME, or COPL_BENCHMARK_CACHE"),
        ({}, None),
    ],
)
def test_variable_that_breaks_a_run_is_one_line_and_a_home_is_not_needed(tmp_path, changes, message):
    (tmp_path / "sitecustomize.py").write_text(NO_ENTRY)
    no_home = {"HOME": None, "XDG_CACHE_HOME": None, "PYTHONPATH": str(tmp_path)}
    done = call(tmp_path / "out", no_home | changes, *WORDS)
    assert done.returncode == (2 if message else 0), done.stderr
    errors = done.stderr.decode().splitlines()
    assert not message or (len(errors) == 1 and errors[0].startswith(f"error: {message}"))
    assert not (tmp_path / "~").exists()
