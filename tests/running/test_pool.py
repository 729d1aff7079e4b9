"""Runs side by side: every run once, the same results as one by one, a dead process loses only its own."""

import multiprocessing
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import run_all
from benchmark.records.store import collect
from benchmark.running import pool
from tests.helpers.faults import say

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_second_of_two_protocols_takes_the_training_in_another_process_too(tmp_path):
    arguments = ["--protocol", "all", "--datasets", "synth_actions", "synth_things", "--seeds", "1", "--shots", "1"]
    arguments += ["--methods", "cocoop", "--set", "cocoop.epochs=1", "--out", str(tmp_path), "--device", "cpu"]
    assert run_all.main([*arguments, "--processes", "2"]) == 0
    found, problems = collect(tmp_path)
    assert (len(found), problems) == (5, [])
    taken = [record.spec for record in found if "taken_from" in record.training]
    assert [(run.protocol, run.dataset) for run in taken] == [("few_shot", "synth_things")]


def test_process_that_is_killed_leaves_the_others_and_their_lines():
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    processes = [context.Process(target=say, args=(mouth, late)) for late, (_, mouth) in enumerate(pipes)]
    for process, (_, mouth) in zip(processes, pipes, strict=True):
        process.start()
        mouth.close()
    told = []
    for event in pool._events(processes, [ear for ear, _ in pipes]):
        told.append(event)
        if event[1] == "start":
            processes[0].kill()
    assert sorted(told) == [(0, "start", "run", 1), (1, "line", "finished")]


@pytest.mark.slow
def test_killed_parent_takes_its_processes_along(tmp_path):
    command = [sys.executable, str(ROOT / "run_all.py"), "--datasets", "synth_actions", "synth_aircraft", "--methods",
               "coop", "--seeds", "1", "--processes", "2", "--device", "cpu", "--set", "coop.epochs=5000",
               "--out", str(tmp_path)]  # fmt: skip
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(children := children_of(parent.pid)) < 4 and time.monotonic() < deadline:  # with server and tracker
        time.sleep(0.2)
    time.sleep(8)  # they import, then watch
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while any(is_alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(children) >= 2
    assert not any(is_alive(pid) for pid in children)


def children_of(pid):
    """The fork server, the resource tracker and the processes of the grid below them."""
    own = [int(p.name) for p in Path("/proc").glob("[0-9]*") if parent_of(p) == pid]
    return [*own, *(below for child in own for below in children_of(child))]


def parent_of(process):
    with suppress(OSError, IndexError):
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])


def is_alive(pid):
    with suppress(OSError, IndexError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_processes_are_for_the_cpu_and_at_least_one(capsys):
    assert run_all.main(["--processes", "0", "--device", "cpu"]) == 2
    assert "--processes 0: must be a whole number, 1 or more" in capsys.readouterr().err
