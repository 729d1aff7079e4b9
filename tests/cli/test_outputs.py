"""Output that cannot be written: the work is done, one line says what was lost, and the exit code is not 0."""

import subprocess
import sys

import pytest

from benchmark.common.files import REPOSITORY

COMMANDS = {
    "run_all": ["run_all.py", "--methods", "zero_shot", "--datasets", "synth_overhead", "--seeds", "1", "--out"],
    "doctor": ["-m", "benchmark", "doctor", "--out"],
}


def run(command, out, redirection):
    text = " ".join([sys.executable, *COMMANDS[command], str(out), redirection])
    return subprocess.run(["bash", "-c", text], cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_full_disk_behind_stdout_does_not_end_the_work(command, tmp_path):
    done = run(command, tmp_path, "> /dev/full")
    assert done.returncode == 1
    assert "error: output could not be written (No space left on device); the work was not interrupted." in done.stderr
    assert "Traceback" not in done.stderr
    assert command != "run_all" or list(tmp_path.glob("synthetic/base2new/zero_shot/*/*.json"))


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "2> /dev/full"])
def test_closed_outputs_do_not_end_the_work(redirection, tmp_path):
    done = run("run_all", tmp_path, redirection)
    assert "Traceback" not in done.stderr + done.stdout
    assert (tmp_path / "synthetic" / "base2new.md").is_file()
    assert done.returncode == (1 if "full" in redirection else 0)
