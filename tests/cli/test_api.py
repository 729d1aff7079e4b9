"""`run` from Python: the same request as the command line's, the same records, a frame of them, errors to catch."""

import pickle
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient

import run_all
from benchmark import run
from benchmark.cli import api
from benchmark.cli.arguments import make_request
from benchmark.errors import ConfigError, RunsFailedError

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"datasets": "synth_actions", "seeds": 1, "shots": 2}


class AskedError(Exception):
    """Stops `run` where its request is made; holds it."""


@pytest.fixture
def request_of(monkeypatch):
    """request_of(**arguments): the request that `run` makes of them."""

    def stop(request, *, fetch):
        raise AskedError(request)

    def ask(**arguments):
        with pytest.raises(AskedError) as caught:
            run(**arguments)
        return caught.value.args[0]

    monkeypatch.setattr(api, "make_plan", stop)
    return ask


def by_command(*words):
    return make_request(run_all.parse(list(words)))


def test_defaults_are_the_command_lines(request_of):
    assert request_of() == by_command()


def test_arguments_are_equal_to_options(request_of, tmp_path, plugin):
    file, methods = plugin("my_idea"), pd.Series(["coop", "my_idea"])
    asked = request_of(
        protocol="few_shot", methods=methods, datasets=("synth_pets", "mine"), seeds=np.arange(2),
        shots=[1, np.int64(4)], views=np.int64(5), suite="synthetic", data=tmp_path, dataset={"mine": tmp_path},
        plugins=file,
        settings={"coop.epochs": np.int64(2), "coop.ctx_init": None, "coop.learning_rate": 1e-5,
                  "coop.class_position": "end"},
        load={"copl": "a/{seed}.pth"}, backbone=Path("some/clip"), device=torch.device("cpu"), precision="bf16",
        processes=np.int64(2), threads=1, checkpoint_minutes=1, track=["tensorboard", "wandb"], cache=False,
        lockstep=False, graphs=False, out=tmp_path / "out",
    )  # fmt: skip
    told = by_command(
        "--protocol", "few_shot", "--methods", "coop", "my_idea", "--datasets", "synth_pets", "mine", "--seeds", "0",
        "1", "--shots", "1", "4", "--views", "5", "--suite", "synthetic", "--data", str(tmp_path),
        "--dataset", f"mine={tmp_path}",
        "--plugin", str(file), "--set", "coop.epochs=2", "--set", "coop.ctx_init=null", "--set",
        "coop.learning_rate=0.00001", "--set", "coop.class_position=end", "--load", "copl=a/{seed}.pth", "--backbone",
        "some/clip", "--device", "cpu", "--precision", "bf16", "--processes", "2", "--threads", "1",
        "--checkpoint-minutes", "1", "--track", "tensorboard", "wandb", "--no-cache", "--no-lockstep", "--no-graphs",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert asked == told


def test_home_is_expanded_and_errors_keep_their_frame_between_processes(request_of, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert request_of(out="~/results").out == tmp_path / "results"
    error = pickle.loads(pickle.dumps(RunsFailedError("1 of 2 runs failed", pd.DataFrame({"seed": [1]}))))
    assert (str(error), list(error.frame.seed)) == ("1 of 2 runs failed", [1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settings": "coop.epochs=2"}, "settings='coop.epochs=2': a dict is needed"),
        ({"load": ["coop=a.pth"]}, r"load=\['coop=a.pth'\]: a dict is needed"),
        ({"methods": []}, "methods: is empty; name at least one, or leave it out"),
        ({"seeds": range(0)}, "seeds: is empty"),
        ({"datasets": ""}, "datasets='': is empty"),
        ({"source": " "}, "source=' ': is empty"),
        ({"precision": ""}, "precision='': is empty"),
        ({"track": ""}, "track='': is empty"),
        ({"settings": {"coop.ctx_init": pd.NA}}, "settings: <NA> is a NAType; give text, a number"),
        ({"data": ""}, "data='': is empty"),
        ({"out": 3}, "out=3: a path is needed"),
        ({"out": None}, "out=None: a path is needed"),
        ({"cache": "no"}, "cache='no': True or False is needed"),
        ({"processes": "2"}, "--processes '2': must be a whole number"),
        ({"views": "5"}, "--views '5': must be a whole number"),
        ({"threads": 1.5}, "--threads 1.5: must be a whole number"),
        ({"checkpoint_minutes": None}, "--checkpoint-minutes None: must be a number"),
    ],
)
def test_argument_of_a_wrong_kind_is_told_by_its_name(arguments, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run(**{"device": "cpu", "out": tmp_path} | arguments)


def test_script_that_a_launcher_started_several_times_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="start it with python alone"):
        run(out=tmp_path)


@pytest.mark.slow
def test_settings_of_the_caller_are_as_they_were(tmp_path):
    code = (
        f"import sys, torch\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from accelerate import Accelerator\nfrom transformers.utils import logging\nfrom benchmark import run\n"
        "mine = Accelerator(cpu=True, mixed_precision='bf16')\n"
        "torch.set_num_threads(2)\ntorch.set_float32_matmul_precision('medium')\n"
        "random = torch.get_rng_state()\n"
        "run(methods='zero_shot', datasets='synth_actions', seeds=1, processes=1, track='tensorboard', device='cpu',"
        f" out={str(tmp_path)!r})\n"
        "print(mine.mixed_precision, torch.get_num_threads(), torch.get_float32_matmul_precision(),"
        " torch.equal(random, torch.get_rng_state()), logging.is_progress_bar_enabled())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, check=True)
    assert done.stdout == "bf16 2 medium True True\n"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:kgcoop in base2new trains")
def test_frame_is_what_the_command_recorded_and_nothing_runs_twice(tmp_path, capfd):
    words = ["--methods", "zero_shot", "kgcoop", "--datasets", "synth_actions", "--seeds", "1", "--shots", "2", "--set",
             "kgcoop.epochs=2", "--out", str(tmp_path)]  # fmt: skip
    assert run_all.main(words) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    capfd.readouterr()
    frame = run(methods=["zero_shot", "kgcoop"], settings={"kgcoop.epochs": 2}, out=tmp_path, **SMALL)
    assert capfd.readouterr().err == ""
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before
    assert sorted(zip(frame.method, frame.class_set, strict=True)) == [
        ("kgcoop", "base"), ("kgcoop", "new"), ("zero_shot", "base"), ("zero_shot", "new"),
    ]  # fmt: skip
    assert {tmp_path / record for record in frame.record} == set(before)
    assert (frame.accuracy == 100 * frame.correct / frame.total).all()


@pytest.mark.slow
def test_failed_run_raises_with_the_others_in_the_frame(tmp_path, plugin):
    broken = plugin("broken", "raise RuntimeError('no')\n")
    with pytest.raises(RunsFailedError, match=r"(?s)left out: .*broken") as caught:
        run(methods=["zero_shot", "broken"], plugins=broken, out=tmp_path, **SMALL)
    assert list(caught.value.frame.method) == ["zero_shot", "zero_shot"]


@pytest.mark.slow
def test_notebook_of_the_docs_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # that of a command which ran in this process
    for name in ("benchmark", "methods", "tables", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    notebook = nbformat.read(tmp_path / "docs" / "from-python.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path / "docs"}}
    ).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("text/html" in output.get("data", {}) for output in shown) == 4
    assert sum("image/png" in output.get("data", {}) for output in shown) == 1


def test_calls_from_several_threads_run_one_after_another(monkeypatch, tmp_path):
    inside, most = [], []

    def plan(request, *, fetch):
        inside.append(request)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        raise AskedError(request)

    monkeypatch.setattr(api, "make_plan", plan)
    with ThreadPoolExecutor(3) as pool:
        errors = [call.exception() for call in [pool.submit(run, out=tmp_path) for _ in range(3)]]
    assert ([type(error) for error in errors], most) == ([AskedError] * 3, [1, 1, 1])


@pytest.mark.slow
def test_script_without_a_guard_may_use_several_processes(tmp_path):
    (tmp_path / "script.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom benchmark import run\nprint('started')\n"
        "frame = run(methods='zero_shot', datasets=['synth_actions', 'synth_food'], seeds=1, shots=2, processes=2,\n"
        "            out='out')\nprint(len(frame), 'rows')\n"
    )
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=True)
    assert done.stdout.splitlines() == ["started", "4 rows"]
