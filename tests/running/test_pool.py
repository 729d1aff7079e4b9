"""Workers: a dead one loses only its own run, and all end with their parent."""

import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import pytest

import run_all
from benchmark.records.store import collect
from benchmark.running import pool
from tests.helpers.faults import say
from tests.running.test_scale_out import parent_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_training_is_reused_in_other_processes_too(tmp_path):
    arguments = ["--protocol", "all", "--datasets", "synth_actions", "synth_things", "--seeds", "1", "--shots", "1"]
    arguments += ["--methods", "cocoop", "--set", "cocoop.epochs=1", "--out", str(tmp_path), "--device", "cpu"]
    assert run_all.main([*arguments, "--processes", "2"]) == 0
    found, problems = collect(tmp_path)
    assert (len(found), problems) == (5, [])
    reused = [record.spec for record in found if "taken_from" in record.training]
    assert [(run.protocol, run.dataset) for run in reused] == [("few_shot", "synth_things")]


@pytest.mark.slow
def test_killed_worker_does_not_stop_the_messages_of_the_others():
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    workers = [context.Process(target=say, args=(sender, late)) for late, (_, sender) in enumerate(pipes)]
    for worker, (_, sender) in zip(workers, pipes, strict=True):
        worker.start()
        sender.close()
    events = []
    for event in pool._events(workers, [receiver for receiver, _ in pipes]):
        events.append(event)
        if event[1] == "start":
            workers[0].kill()
    assert sorted(events) == [(0, "start", "run", 1), (1, "line", "finished")]


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path):
    command = [sys.executable, str(ROOT / "run_all.py"), "--datasets", "synth_actions", "synth_aircraft", "--methods",
               "coop", "--seeds", "1", "--processes", "2", "--device", "cpu", "--set", "coop.epochs=5000",
               "--checkpoint-minutes", "0", "--out", str(tmp_path)]  # fmt: skip
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while len(list(tmp_path.rglob("*.safetensors"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    workers = [int(p.name) for p in Path("/proc").glob("[0-9]*") if parent_of(p.name) == parent.pid]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while any(is_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(workers) >= 2
    assert not any(is_alive(pid) for pid in workers)


def is_alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_number_of_processes_is_at_least_one(capsys):
    assert run_all.main(["--processes", "0", "--device", "cpu"]) == 2
    assert "--processes 0: 1 or more" in capsys.readouterr().err
