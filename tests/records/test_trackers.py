"""Finished runs told to trackers: what they hear, once each, and what becomes of the runs when they do not listen."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest
import yaml
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import run_all
from benchmark.common.config import RunSpec, Training
from benchmark.records import store
from benchmark.records import trackers as tracking
from benchmark.records.record import RunRecord, Score
from benchmark.records.trackers import Trackers, points_of, problems_of, settings_of, where_to_look

ROOT = Path(__file__).resolve().parents[2]
SCORES = {"base": Score(correct=15, total=20, classes=4), "new": Score(correct=5, total=20, classes=4)}


def record_of(*, seed=1, losses=(2.0, 1.5), finished="2026-11-25T10:00:00+00:00", **changes):
    spec = RunSpec(suite="synthetic", protocol="base2new", method="coop", dataset="synth_pets", shots=2, seed=seed,
                   backbone="embedded", checkpoint="c" * 16, split="d" * 16, template="a {}.", precision="fp32",
                   options={"n_ctx": 4, "ctx_init": None},
                   training=Training(epochs=2, batch_size=4) if losses else None)  # fmt: skip
    training = {"steps": 4, "images": 16, "seconds": 0.5, "together": 1, "losses": list(losses)} if losses else {}
    provenance = {"git": {"commit": "abc", "dirty": False}, "device": "cpu", "finished": finished}
    record = RunRecord(spec=spec, status="ok", scores=SCORES, training=training, evaluation_seconds=0.25,
                       peak_memory_bytes=1000, provenance=provenance)  # fmt: skip
    return replace(record, **changes)


def save(record, results):
    return store.save(record, results, predictions={}, learned=None)


class Listener(GeneralTracker):
    """A tracker that notes what it hears; `fails` names the call that goes wrong."""

    name, requires_logging_directory, tracker = "wandb", False, None
    heard: ClassVar[list] = []
    fails = ""

    def __init__(self, project, **named):
        self._hear("made", project, named)

    def _hear(self, what, *rest):
        if self.fails == what:
            raise ConnectionError("no\nroute to host")
        self.heard.append((what, *rest))

    def start(self):
        self._hear("started")

    def store_init_configuration(self, values):
        self._hear("settings", values)

    def log(self, values, step=None):
        self._hear("log", step, values)

    def finish(self):
        self._hear("finished")


@pytest.fixture
def listener(monkeypatch):
    """A stand-in for Weights & Biases, which is not installed here."""
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Listener)
    monkeypatch.setattr(Listener, "heard", [])
    monkeypatch.setattr(tracking, "find_spec", lambda name: ModuleSpec(name, None, origin="wandb/__init__.py"))
    return Listener


@pytest.fixture
def trackers(tmp_path):
    """trackers("wandb"): a command's trackers; what they say lies in `said`."""

    def make(*names):
        said = []
        made = Trackers(names, tmp_path, say=said.append)
        made.said = said
        return made

    return make


def test_settings_are_the_spec_of_the_record_flat():
    record = record_of()
    settings = settings_of(record)
    assert settings["method"] == "coop"
    assert settings["options/n_ctx"] == 4
    assert settings["options/ctx_init"] == "None", "trackers take numbers and text"
    assert settings["training/epochs"] == 2
    assert settings["hash"] == record.spec.hash
    assert settings["provenance/commit"] == "abc"


def test_curve_has_a_loss_each_epoch_and_ends_with_the_final_numbers():
    (first, start), (last, end) = points_of(record_of())
    assert (first, start) == (1, {"training/losses": 2.0})
    assert last == 2
    assert end["training/losses"] == 1.5
    assert end["scores/base/accuracy"] == 75.0
    assert end["scores/new/correct"] == 5
    assert end["training/seconds"] == 0.5
    assert end["peak_memory_bytes"] == 1000


def test_run_without_training_has_its_final_numbers_alone():
    ((step, values),) = points_of(record_of(losses=(), peak_memory_bytes=None))
    assert step == 0
    assert values["scores/new/accuracy"] == 25.0
    assert not {name for name in values if name.startswith("training") or "memory" in name}


def test_run_is_told_as_one_named_by_its_record(listener, trackers, tmp_path):
    record = record_of()
    trackers("wandb").tell(save(record, tmp_path))
    title = f"base2new/coop/synth_pets/shots2-seed1-{record.spec.hash}"
    assert listener.heard[0] == ("made", "synthetic", {"name": title, "dir": str(tmp_path / ".tracking" / "wandb")})
    assert [what for what, *_ in listener.heard] == ["made", "started", "settings", "log", "log", "finished"]


def test_run_is_told_once_by_many_commands_and_again_when_it_was_done_again(listener, trackers, tmp_path):
    path = save(record_of(), tmp_path)
    for _ in range(2):
        assert trackers("wandb").finish([record_of()]) == []
    assert len([what for what, *_ in listener.heard if what == "made"]) == 1
    path.unlink()
    trackers("wandb").tell(save(record_of(finished="2026-11-26T10:00:00+00:00"), tmp_path))
    assert len([what for what, *_ in listener.heard if what == "made"]) == 2


@pytest.mark.parametrize("what", ["made", "started", "settings", "log", "finished"])
def test_tracker_that_fails_is_left_alone_and_told_later(listener, trackers, tmp_path, monkeypatch, what):
    paths = [save(record_of(seed=seed), tmp_path) for seed in (1, 2)]
    monkeypatch.setattr(Listener, "fails", what)
    asked = trackers("wandb", "tensorboard")
    for path in paths:
        asked.tell(path)
    assert asked.said == ["error: wandb failed, and is left alone for now: ConnectionError: no route to host"]
    recorded = [record_of(seed=seed) for seed in (1, 2)]
    (problem,) = asked.finish(recorded)
    assert problem.startswith("2 of 2 runs were not told to wandb (ConnectionError: no route to host).")
    monkeypatch.setattr(Listener, "fails", "")
    assert trackers("wandb", "tensorboard").finish(recorded) == []


def test_mark_that_cannot_be_written_holds_up_no_run(listener, trackers, tmp_path):
    (tmp_path / ".tracking").mkdir()
    (tmp_path / ".tracking" / ".told").write_text("no folder")
    asked = trackers("wandb")
    asked.tell(save(record_of(), tmp_path))
    (problem,) = asked.finish([record_of()])
    assert "1 of 1 runs were not told to wandb (RecordError: " in problem
    (tmp_path / ".tracking" / ".told").unlink()
    assert trackers("wandb").finish([record_of()]) == []


@pytest.mark.parametrize("damage", [lambda mark: mark.write_bytes(b"\xff"), lambda mark: (mark.unlink(), mark.mkdir())])
def test_mark_that_is_damaged_counts_as_none(listener, trackers, tmp_path, damage):
    trackers("wandb").tell(save(record_of(), tmp_path))
    damage(next(path for path in (tmp_path / ".tracking" / ".told").rglob("*") if path.is_file()))
    trackers("wandb").finish([record_of()])
    assert len([what for what, *_ in listener.heard if what == "made"]) == 2


def test_record_that_is_gone_by_now_is_not_told(listener, trackers, tmp_path):
    asked = trackers("wandb")
    asked.tell(tmp_path / "gone.json")
    assert (listener.heard, asked.said) == ([], [])


def test_marks_and_files_of_trackers_are_no_records(listener, trackers, tmp_path):
    trackers("wandb", "tensorboard").tell(save(record_of(), tmp_path))
    (tmp_path / ".tracking" / "wandb" / "summary.json").write_text("{}")
    found, problems = store.collect(tmp_path)
    assert len(found) == 1
    assert problems == []


def test_unknown_tracker_is_refused_with_the_nearest_name():
    (problem,) = problems_of(["tensorbord"])
    assert "Did you mean 'tensorboard'?" in problem


def test_tracker_without_its_package_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    assert problems_of(["comet_ml"]) == ["--track comet_ml: its package is not installed; pip install comet-ml"]


def test_folder_with_the_name_of_a_tracker_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "dvclive").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert problems_of(["dvclive"]) == ["--track dvclive: its package is not installed; pip install dvclive"]


def test_place_of_mlflow_is_each_commands_own(listener, trackers, tmp_path, monkeypatch):
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "mlflow", Listener)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    places = []
    monkeypatch.setattr(Listener, "start", lambda self: places.append(os.environ["MLFLOW_TRACKING_URI"]))
    trackers("mlflow").tell(save(record_of(), tmp_path))
    assert places == [f"sqlite:///{tmp_path}/.tracking/mlflow/mlflow.db"]
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_dvclive_leaves_nothing_where_the_command_was_started(listener, trackers, tmp_path, monkeypatch):
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "dvclive", Listener)
    trackers("dvclive").tell(save(record_of(), tmp_path))
    options = listener.heard[0][2]
    folder = tmp_path / ".tracking" / "dvclive" / record_of().spec.record_path(Path()).with_suffix("")
    assert options == {"dir": str(folder), "dvcyaml": str(folder / "dvc.yaml"), "save_dvc_exp": False}


def test_run_that_the_caller_has_open_is_not_touched(listener, trackers, tmp_path, monkeypatch):
    module = ModuleType("wandb")
    module.run = object()
    monkeypatch.setitem(sys.modules, "wandb", module)
    asked = trackers("wandb")
    asked.tell(save(record_of(), tmp_path))
    assert "call wandb.finish() before" in asked.said[0]
    assert listener.heard == []
    module.run = None
    assert trackers("wandb").finish([record_of()]) == []


def test_command_to_look_at_a_folder_with_blanks_can_be_pasted():
    assert where_to_look("tensorboard", Path("my runs")).endswith(
        "tensorboard --logdir 'my runs/.tracking/tensorboard'"
    )


def test_user_who_has_a_database_of_mlflow_is_told_of_that_one(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert f"sqlite:///{tmp_path}/.tracking/mlflow/mlflow.db" in where_to_look("mlflow", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    assert "http://tracking.example:5000" in where_to_look("mlflow", tmp_path)
    assert where_to_look("wandb", tmp_path) == ""


@pytest.mark.slow
def test_command_tells_tensorboard_all_runs_with_curve_and_settings(tmp_path, capsys):
    arguments = ["--methods", "zero_shot", "kgcoop", "--datasets", "synth_actions", "--seeds", "1", "2", "--shots", "2",
                 "--set", "kgcoop.epochs=3", "--processes", "2", "--out", str(tmp_path)]  # fmt: skip
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
def test_no_tracker_is_imported_unless_asked_for(tmp_path):
    code = (
        "import sys, run_all\n"
        "arguments = '--methods zero_shot --datasets synth_actions --seeds 1 --shots 2 --processes 1 --out'.split()\n"
        f"assert run_all.main([*arguments, {str(tmp_path)!r}]) == 0\n"
        "from benchmark.records.trackers import NAMES\n"
        "print('imported:', sorted({*NAMES, 'tensorboardX'} & {name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    assert "imported: []" in done.stdout


@pytest.mark.slow
def test_command_whose_tracker_fails_keeps_its_runs_and_says_so(listener, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Listener, "fails", "started")
    arguments = ["--methods", "zero_shot", "--datasets", "synth_actions", "--seeds", "1", "--shots", "2", "--out",
                 str(tmp_path), "--track", "wandb"]  # fmt: skip
    assert run_all.main(arguments) == 1
    told = capsys.readouterr().err
    assert "1 of 1 runs were not told to wandb (ConnectionError: no route to host). They are recorded" in told
    assert len(list((tmp_path / "synthetic").rglob("*.json"))) == 1
    monkeypatch.setattr(Listener, "fails", "")
    assert run_all.main(arguments) == 0
