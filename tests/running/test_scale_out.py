"""Grids on several processes, as users start them: killed, ended, side by side; the results are those of one."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmark.records.store import collect

ROOT = Path(__file__).resolve().parents[2]
GRID = ["--datasets", "synth_actions", "synth_aircraft", "--methods", "coop", "kgcoop", "--seeds", "1", "2",
        "--shots", "4", "--set", "coop.epochs=40", "--set", "kgcoop.epochs=6"]  # fmt: skip
RUNS = 8
PATIENCE = 300  # seconds until a test gives up

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")]


def start(out, *launcher, grid=GRID, more=()):
    """`run_all.py` on a grid, all output in one pipe; started by a launcher, or plainly."""
    command = [*launcher, str(ROOT / "run_all.py"), *grid, "--device", "cpu", "--out", str(out), *more]
    return subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def accelerate(processes):
    return ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes),
            "--main_process_port", "0")  # fmt: skip


def ended(process):
    """What a process said, and its exit code."""
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return said, process.returncode


def workers_below(pid):
    """Processes that do runs: those that a fork server forked, or that were spawned, below a launcher."""
    below = {pid}
    while more := {p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if parent_of(p) in below} - below:
        below |= more
    forked = [p for p in below if b"forkserver" in command_of(p) and b"forkserver" in command_of(parent_of(p) or 0)]
    return forked or [p for p in below if b"spawn_main" in command_of(p)]


def parent_of(pid):
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def command_of(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def results(out):
    """Hashes of everything that was learned and predicted."""
    files = [p for kind in ("npz", "safetensors") for p in (out / "synthetic").rglob(f"*.{kind}")]
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def lines_of_runs(said):
    return sorted(line.partition("] ")[2].partition(":")[0] for line in said.splitlines() if ", seed " in line)


def wait_until(condition, process):
    """What the condition gives once it gives anything, while the process lives."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The results of one process that nobody disturbs, features computed in it."""
    out = tmp_path_factory.mktemp("undisturbed")
    said, code = ended(start(out, more=["--processes", "1", "--no-cache"]))
    assert code == 0, said
    assert len(lines_of_runs(said)) == RUNS
    return results(out)


def test_launched_processes_do_every_run_once_and_alike(undisturbed, tmp_path):
    said, code = ended(start(tmp_path, *accelerate(4)))
    assert code == 0, said
    assert len(set(lines_of_runs(said))) == len(lines_of_runs(said)) == RUNS
    assert results(tmp_path) == undisturbed
    assert (tmp_path / "synthetic" / "base2new.md").is_file()


def test_process_killed_in_a_run_leaves_the_others_working_and_its_run_to_the_next_start(undisturbed, tmp_path):
    process = start(tmp_path, *accelerate(2), more=["--checkpoint-minutes", "0"])

    def at_work():
        if any((tmp_path / ".checkpoints").glob("*.safetensors")):
            return [p for p in workers_below(process.pid) if locks_of(p, tmp_path)]

    os.kill(wait_until(at_work, process)[0], signal.SIGKILL)
    said, code = ended(process)
    assert code != 0
    assert "left none: their process was ended" in said
    found, problems = collect(tmp_path)
    assert problems == []
    assert 0 < len(found) < RUNS
    said, code = ended(start(tmp_path, more=["--processes", "1"]))
    assert code == 0, said
    assert len(lines_of_runs(said)) == RUNS - len(found)
    assert results(tmp_path) == undisturbed


def locks_of(pid, out):
    """Whether a process has a run under way."""
    file = (out / ".runs.lock").stat().st_ino
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(int(words[4]) == pid and words[5].endswith(f":{file}") for words in held if words[1] == "POSIX")


def test_two_commands_on_one_folder_never_do_the_same_run(undisturbed, tmp_path):
    pair = [start(tmp_path, more=["--processes", "1"]) for _ in range(2)]
    told = [ended(process) for process in pair]
    assert [code for _, code in told] == [0, 0], told
    done = lines_of_runs(told[0][0]) + lines_of_runs(told[1][0])
    assert len(set(done)) == len(done) == RUNS
    assert results(tmp_path) == undisturbed


@pytest.mark.parametrize("processes", ["1", "2"])
def test_sigterm_ends_with_one_line_at_a_checkpoint(undisturbed, tmp_path, processes):
    process = start(tmp_path, more=["--processes", processes, "--checkpoint-minutes", "0"])
    wait_until(lambda: any((tmp_path / ".checkpoints").glob("*.safetensors")), process)
    process.send_signal(signal.SIGTERM)
    said, code = ended(process)
    assert code == 143, said
    assert said.splitlines()[-1].startswith("ended on request; finished runs and checkpoints are kept")
    assert "Traceback" not in said
    said, code = ended(start(tmp_path, more=["--processes", processes]))
    assert code == 0, said
    assert results(tmp_path) == undisturbed
    assert not list((tmp_path / ".checkpoints").glob("*.safetensors"))
