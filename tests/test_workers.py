"""Runs side by side: every run once, the same results as one by one, a dead process loses only its own."""

import multiprocessing
import queue
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
import torch

import run_all
from benchmark import workers
from benchmark.config import RunSpec, Training
from benchmark.records import collect, load
from benchmark.sharing import training_id

ROOT = Path(__file__).resolve().parents[1]


def spec(dataset, seed, method, protocol="base2new"):
    return RunSpec(
        suite="s", protocol=protocol, method=method, dataset=dataset, shots=1, seed=seed, backbone="b",
        checkpoint="c", split="d", template="{}.", precision="fp32", options={},
        training=Training(epochs=1, batch_size=1),
    )  # fmt: skip


def test_runs_that_share_features_stay_together():
    specs = [spec(d, s, m) for d in ("x", "y") for s in (1, 2) for m in ("coop", "copl")]
    groups = workers.groups_of(specs)
    assert [len(group) for group in groups] == [4, 4]
    assert [run for group in groups for run in group] == specs


def test_runs_that_share_a_training_stay_together_in_the_order_of_the_plan():
    protocols = ("cross_dataset", "few_shot", "domain_generalization")
    specs = [spec(d, 1, "copl", protocol) for protocol in protocols for d in ("x", "y")]
    groups = workers.groups_of(specs)
    assert [{training_id(run) for run in group} == {training_id(group[0])} for group in groups] == [True, True]
    assert [tuple(run.protocol for run in group) for group in groups] == [protocols, protocols]


@pytest.mark.slow
def test_second_of_two_protocols_takes_the_training_in_another_process_too(tmp_path):
    arguments = ["--protocol", "all", "--datasets", "synth_actions", "synth_things", "--seeds", "1", "--shots", "1"]
    arguments += ["--methods", "cocoop", "--set", "cocoop.epochs=1", "--out", str(tmp_path), "--device", "cpu"]
    assert run_all.main([*arguments, "--processes", "2"]) == 0
    found, problems = collect(tmp_path)
    assert (len(found), problems) == (5, [])
    taken = [record.spec for record in found if "taken_from" in record.training]
    assert [(run.protocol, run.dataset) for run in taken] == [("few_shot", "synth_things")]


@pytest.mark.slow
def test_two_processes_record_what_one_does(tmp_path, capfd):
    outcomes = []
    for processes in ("1", "2"):
        out = tmp_path / processes
        arguments = ["--datasets", "synth_actions", "synth_aircraft", "--seeds", "1", "--shots", "1"]
        arguments += ["--methods", "coop", "copl", "--set", "coop.epochs=2", "--set", "copl.epochs=1"]
        arguments += ["--out", str(out), "--device", "cpu"]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as each of the two processes has
        assert run_all.main([*arguments, "--processes", processes]) == 0
        torch.set_num_threads(threads)
        records = sorted(p for p in out.rglob("*.json"))
        assert len(records) == 4
        outcomes.append(
            {
                p.name + p.parent.parent.name: (load(p).scores, p.with_suffix(".safetensors").read_bytes())
                for p in records
            }
        )
    assert outcomes[0] == outcomes[1]
    error = capfd.readouterr().err  # of all processes
    lines = [line for line in error.splitlines() if line.startswith("[")]
    assert [line.split("]")[0] for line in lines] == [f"[{i}/4" for i in (1, 2, 3, 4)] * 2
    assert "\r" not in error, "no bars where the output is no terminal"


def test_process_that_is_killed_leaves_the_others_and_their_lines():
    events = queue.Queue()

    def say_late():
        time.sleep(0.5)
        events.put((1, "line", "finished"))

    victim, other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,)), Thread(target=say_late)
    victim.start()
    other.start()
    victim.kill()
    assert list(workers._events([victim, other], events)) == [(1, "line", "finished")]


@pytest.mark.slow
def test_killed_parent_takes_its_processes_along(tmp_path):
    command = [sys.executable, str(ROOT / "run_all.py"), "--datasets", "synth_actions", "synth_aircraft", "--methods",
               "coop", "--seeds", "1", "--processes", "2", "--device", "cpu", "--set", "coop.epochs=5000",
               "--out", str(tmp_path)]  # fmt: skip
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(children := children_of(parent.pid)) < 3 and time.monotonic() < deadline:  # two and a resource tracker
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
    return [int(p.name) for p in Path("/proc").glob("[0-9]*") if parent_of(p) == pid]


def parent_of(process):
    with suppress(OSError, IndexError):
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])


def is_alive(pid):
    with suppress(OSError, IndexError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_processes_are_for_the_cpu_and_at_least_one(capsys):
    assert run_all.main(["--processes", "0", "--device", "cpu"]) == 2
    assert "--processes 0: 1 or more" in capsys.readouterr().err
