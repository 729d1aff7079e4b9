"""Runs side by side: every run once, the same results as one by one, a dead process loses only its own."""

import multiprocessing
import queue
import time
from threading import Thread

import pytest
import torch

import run_all
from benchmark import workers
from benchmark.config import RunSpec, Training
from benchmark.records import collect, load
from benchmark.sharing import training_id


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


def test_processes_are_for_the_cpu_and_at_least_one(capsys):
    assert run_all.main(["--processes", "0", "--device", "cpu"]) == 2
    assert "--processes 0: 1 or more" in capsys.readouterr().err
