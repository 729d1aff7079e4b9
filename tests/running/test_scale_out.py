"""Grids in several processes, as users start them, killed or ended: the results are those of one process."""

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
TIMEOUT = 300  # seconds

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")]


def start(out, *options, launcher=()):
    """Start `run_all.py` on the grid, by a launcher or directly, with all output in one pipe."""
    command = [sys.executable, *launcher, str(ROOT / "run_all.py"), *GRID, "--device", "cpu", "--out", str(out)]
    return subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def accelerate(processes):
    return ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes),
            "--main_process_port", "0")  # fmt: skip


def finish(process, code=0):
    """Wait for the exit code; returns the output."""
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    assert process.returncode == code or (code is None and process.returncode), output
    return output


def workers_below(pid):
    """The workers of the processes that a launcher started."""
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


def holds_lock(pid, out):
    """Whether a process is doing a run."""
    file = (out / ".runs.lock").stat().st_ino
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(int(words[4]) == pid and words[5].endswith(f":{file}") for words in held if words[1] == "POSIX")


def has_checkpoint(out):
    return any((out / ".checkpoints").glob("*.safetensors"))


def results(out):
    """Hashes of everything that was learned and predicted, and all counts and sums of the records."""
    files = [p for kind in ("npz", "safetensors") for p in (out / "synthetic").rglob(f"*.{kind}")]
    hashes = {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    records, problems = collect(out)
    assert not problems and all(score.breakdown for record in records for score in record.scores.values())
    return hashes | {record.spec.record_path("").as_posix(): record.scores for record in records}


def runs_in(output):
    return sorted(line.partition("] ")[2].partition(":")[0] for line in output.splitlines() if ", seed " in line)


def wait_until(condition, process):
    """Wait for a true value while the process lives; returns it."""
    deadline = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The results of one undisturbed process without cached features."""
    out = tmp_path_factory.mktemp("undisturbed")
    assert len(runs_in(finish(start(out, "--processes", "1", "--no-cache")))) == RUNS
    return results(out)


def test_launched_processes_and_separate_commands_do_every_run_once(undisturbed, tmp_path):
    launched = finish(start(tmp_path / "one", launcher=accelerate(4)))
    pair = [start(tmp_path / "two", "--processes", "1") for _ in range(2)]
    for name, output in (("one", launched), ("two", "".join(map(finish, pair)))):
        assert len(set(runs_in(output))) == len(runs_in(output)) == RUNS
        assert results(tmp_path / name) == undisturbed
        coop = [record for record in collect(tmp_path / name)[0] if record.spec.method == "coop"]
        assert {record.training["together"] for record in coop} == {1 if name == "one" else 2}, "four share the seeds"
        assert (tmp_path / name / "synthetic" / "base2new.md").is_file()


@pytest.mark.parametrize("launcher, processes", [((), "1"), ((), "2"), (accelerate(2), "1")])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_interrupted_grid_resumes_at_its_checkpoints(undisturbed, tmp_path, launcher, processes, how):
    """A launched grid loses one of its workers, which must not stop the others; any other is ended as a whole."""
    process = start(tmp_path, "--processes", processes, "--checkpoint-minutes", "0", launcher=launcher)

    def at_work():
        workers = workers_below(process.pid) if launcher else [process.pid]
        return has_checkpoint(tmp_path) and [p for p in workers if not launcher or holds_lock(p, tmp_path)]

    os.kill(wait_until(at_work, process)[0], how)
    output = finish(process, code=None if launcher else {signal.SIGTERM: 143, signal.SIGKILL: -9}[how])
    found, problems = collect(tmp_path)
    assert (len(found) < RUNS, problems) == (True, []), "workers end with their parent"
    if launcher:
        assert len(found) > 0
        assert "left none: their process was killed" in output
    elif how == signal.SIGTERM:
        assert output.splitlines()[-1].startswith("ended on request; finished runs and checkpoints are kept")
        assert "Traceback" not in output
    assert len(runs_in(finish(start(tmp_path, "--processes", processes)))) == RUNS - len(found)
    assert results(tmp_path) == undisturbed
    assert not has_checkpoint(tmp_path)
