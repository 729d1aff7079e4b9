"""Experiment trackers: what is logged, once for each run, and what happens to runs when a tracker fails."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partialmethod
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import ClassVar

import accelerate.tracking
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import run_all
from benchmark.common.files import REPOSITORY
from benchmark.records import store
from benchmark.records import trackers as module
from benchmark.records.trackers import Trackers, points_of, settings_of, tracker_problems
from tests.records.test_record import make_record, make_spec


def record_of(*, seed=1, finished="2026-11-25T10:00:00+00:00", **changes):
    provenance = {"git": {"commit": "abc", "dirty": False}, "device": "cpu", "finished": finished}
    spec = make_spec(seed=seed, options={"n_ctx": 4, "ctx_init": None})
    return make_record(spec, provenance=provenance, peak_memory_bytes=1000, **changes)


def save(record, results):
    return store.save(record, results, predictions={}, learned=None)


class Listener(accelerate.tracking.GeneralTracker):
    """A tracker that notes its calls; `fails` names the call that raises an error."""

    name, requires_logging_directory, tracker = "wandb", False, None
    heard: ClassVar[list] = []
    fails = ""

    def __init__(self, project, **named):
        self.hear("made", project, named)

    def hear(self, what, *rest):
        if self.fails == what:
            raise ConnectionError("no\nroute to host")
        self.heard.append((what, *rest))

    start = partialmethod(hear, "started")
    store_init_configuration = partialmethod(hear, "settings")
    finish = partialmethod(hear, "finished")

    def log(self, values, step=None):
        self.hear("log", step, values)


def runs_logged() -> int:
    return [what for what, *_ in Listener.heard].count("made")


@pytest.fixture
def listener(monkeypatch):
    """Stands for all trackers whose packages are not installed here."""
    for name in ("wandb", "mlflow", "dvclive"):
        monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, name, Listener)
    monkeypatch.setattr(Listener, "heard", [])
    monkeypatch.setattr(module, "find_spec", lambda name: ModuleSpec(name, None, origin="wandb/__init__.py"))
    return Listener


@pytest.fixture
def trackers(tmp_path):
    """trackers("wandb"): a command's trackers; their messages are in `messages`."""

    def make(*names):
        messages = []
        made = Trackers(names, tmp_path, say=messages.append)
        made.messages = messages
        return made

    return make


def test_settings_are_the_spec_and_the_curve_ends_with_the_final_numbers():
    record = record_of()
    expected = {"method": "coop", "options/n_ctx": 4, "options/ctx_init": "None", "training/epochs": 2,
                "hash": record.spec.hash, "provenance/commit": "abc"}  # fmt: skip
    assert expected.items() <= settings_of(record).items()
    (first, start), (last, end) = points_of(record)
    assert (first, start, last) == (1, {"training/losses": 2.0}, 2)
    expected = {"training/losses": 0.1, "scores/base/accuracy": 75.0, "scores/new/correct": 0, "training/seconds": 1.5,
                "peak_memory_bytes": 1000}  # fmt: skip
    assert expected.items() <= end.items()
    ((step, values),) = points_of(replace(record, training={}, peak_memory_bytes=None))
    assert (step, values["scores/base/accuracy"]) == (0, 75.0)
    assert not {name for name in values if name.startswith("training") or "memory" in name}


def test_run_is_logged_under_the_name_of_its_record(listener, trackers, tmp_path):
    record = record_of()
    trackers("wandb").log(save(record, tmp_path))
    title = f"base2new/coop/dtd/shots16-seed1-{record.spec.hash}"
    assert listener.heard[0] == ("made", "synthetic", {"name": title, "dir": str(tmp_path / ".tracking" / "wandb")})
    assert [what for what, *_ in listener.heard] == ["made", "started", "settings", "log", "log", "finished"]


def test_run_is_logged_once_by_many_commands_and_again_after_it_is_repeated(listener, trackers, tmp_path):
    path = save(record_of(), tmp_path)
    for _ in range(2):
        assert trackers("wandb").finish([record_of()]) == []
    assert runs_logged() == 1
    path.unlink()
    trackers("wandb").log(save(record_of(finished="2026-11-26T10:00:00+00:00"), tmp_path))
    assert runs_logged() == 2


@pytest.mark.parametrize("what", ["made", "started", "settings", "log", "finished"])
def test_tracker_that_fails_is_not_used_further_and_catches_up_later(listener, trackers, tmp_path, monkeypatch, what):
    recorded = [record_of(seed=seed) for seed in (1, 2)]
    monkeypatch.setattr(Listener, "fails", what)
    used = trackers("wandb", "tensorboard")
    for record in recorded:
        used.log(save(record, tmp_path))
    message = "error: wandb failed and is not used further by this command: ConnectionError: no route to host"
    assert used.messages == [message]
    (problem,) = used.finish(recorded)
    assert problem.startswith("2 of 2 runs were not logged to wandb (ConnectionError: no route to host).")
    monkeypatch.setattr(Listener, "fails", "")
    assert trackers("wandb", "tensorboard").finish(recorded) == []


def test_unknown_tracker_and_missing_package_are_refused(tmp_path, monkeypatch):
    (problem,) = tracker_problems(["tensorbord"])
    assert "Did you mean 'tensorboard'?" in problem
    (tmp_path / "dvclive").mkdir()  # a folder of that name is not a package
    monkeypatch.syspath_prepend(tmp_path)
    assert tracker_problems(["dvclive"]) == ["--track dvclive: its package is not installed; pip install dvclive"]
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert tracker_problems(["comet_ml"]) == ["--track comet_ml: its package is not installed; pip install comet-ml"]


def test_trackers_write_below_the_results_folder_alone(listener, trackers, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    places = []
    monkeypatch.setattr(Listener, "start", lambda self: places.append(os.environ.get("MLFLOW_TRACKING_URI")))
    trackers("mlflow", "dvclive").log(save(record_of(), tmp_path))
    assert places == [f"sqlite:///{tmp_path}/.tracking/mlflow/mlflow.db", None]
    options = next(call[2] for call in listener.heard if call[0] == "made" and "dir" in call[2])
    folder = tmp_path / ".tracking" / "dvclive" / record_of().spec.record_path(Path()).with_suffix("")
    assert options == {"dir": str(folder), "dvcyaml": str(folder / "dvc.yaml"), "save_dvc_exp": False}


@pytest.mark.slow
def test_command_logs_all_runs_to_tensorboard_with_curve_and_settings(tmp_path, capsys):
    arguments = ["--methods", "zero_shot", "kgcoop", "--datasets", "synth_actions", "--seeds", "1", "2", "--shots", "2",
                 "--set", "kgcoop.epochs=3", "--processes", "2", "--out", str(tmp_path)]  # fmt: skip
    code = (
        f"import sys, run_all; assert run_all.main({arguments}) == 0; loaded = set(sys.modules); "
        "from benchmark.records.trackers import NAMES; assert not {*NAMES, 'tensorboardX'} & loaded"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)  # no tracker is imported, no run is logged
    assert run_all.main([*arguments, "--track", "tensorboard"]) == 0
    assert f"Tracker tensorboard: 4 runs. To look at them: tensorboard --logdir {tmp_path}" in capsys.readouterr().out
    for path in (tmp_path / "synthetic" / "base2new").rglob("*.json"):
        record = store.load(path)
        folder = (tmp_path / ".tracking" / "tensorboard" / path.relative_to(tmp_path)).with_suffix("")
        events = EventAccumulator(str(folder)).Reload()
        (accuracy,) = events.Scalars("scores/new/accuracy")
        score = record.scores["new"]
        assert accuracy.value == pytest.approx(100 * score.correct / score.total)
        if losses := record.training.get("losses"):
            curve = [(event.step, event.value) for event in events.Scalars("training/losses")]
            assert curve == [(epoch, pytest.approx(loss)) for epoch, loss in enumerate(losses, start=1)]
        (settings,) = folder.rglob("hparams.yml")
        assert yaml.safe_load(settings.read_text())["hash"] == record.spec.hash


@pytest.mark.slow
def test_command_keeps_its_runs_when_a_tracker_fails(listener, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Listener, "fails", "started")
    arguments = ["--methods", "zero_shot", "--datasets", "synth_actions", "--seeds", "1", "--shots", "2", "--out",
                 str(tmp_path), "--track", "wandb"]  # fmt: skip
    assert run_all.main(arguments) == 1
    assert "1 of 1 runs were not logged to wandb (ConnectionError: no route to host)." in capsys.readouterr().err
    assert len(list((tmp_path / "synthetic").rglob("*.json"))) == 1
    monkeypatch.setattr(Listener, "fails", "")
    assert run_all.main(arguments) == 0
