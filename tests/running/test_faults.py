"""Faults around a run: none loses a finished record or leaves a wrong one."""

import json
import os
from pathlib import Path

import pytest
import torch

import benchmark.planning.planned_run
from benchmark.clip.text import TextEncoder
from benchmark.records.store import collect
from run_all import main
from tests.helpers.faults import file_modes_apply, full_disk

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("sketched")]
ONE = ["--methods", "zero_shot", "--seeds", "1"]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run(out, *arguments) -> int:
    small = ["--datasets", "synth_actions", "--shots", "2", "--device", "cpu", "--processes", "1"]
    return main([*small, "--out", str(out), *arguments])


@pytest.fixture
def finished(tmp_path):
    """A results folder with one finished run."""
    assert run(tmp_path / "out", *ONE) == 0
    return tmp_path / "out"


@pytest.mark.parametrize("largest", [0, 1500])  # nothing fits; learned tensors and tables fit
def test_full_disk_ends_a_grid_with_a_message_and_keeps_finished_runs(finished, capsys, largest):
    before = {path: content for path, content in contents(finished).items() if "base2new/" in path.as_posix()}
    two = ["--methods", "zero_shot", "kgcoop", "--set", "kgcoop.epochs=1", "--seeds", "1", "2"]
    with full_disk(largest):
        assert run(finished, *two, "--no-cache") in (1, 2)
    error = capsys.readouterr().err
    assert "cannot be written (File too large)" in error
    assert "Traceback" not in error
    after = contents(finished)
    assert {path: after[path] for path in before} == before
    assert collect(finished)[1] == []
    assert not [path for path in after if path.suffix in (".tmp", ".partial")]
    assert run(finished, *two) == 0


@pytest.mark.parametrize("stopped", [".md", ".tex", "report.html", ".svg"])
def test_full_disk_while_tables_and_figures_are_written_loses_no_record(finished, monkeypatch, capsys, stopped):
    replace, before = os.replace, contents(finished)

    def full(source, target):
        if str(target).endswith(stopped):
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert run(finished, *ONE) == 2
    assert "No space left on device" in capsys.readouterr().err
    after = contents(finished)
    assert after.keys() == before.keys()
    assert all(after[path] == before[path] for path in before if path.name.startswith("shots"))


def test_read_only_results_are_refused_at_once_and_a_read_only_cache_is_read(tmp_path, monkeypatch, capsys, recwarn):
    def make_read_only(folder):
        for path in [*folder.rglob("*"), folder]:
            path.chmod(0o555 if path.is_dir() else 0o444)

    monkeypatch.setenv("COPL_BENCHMARK_CACHE", str(tmp_path / "cache"))
    with full_disk(1000):
        assert run(tmp_path / "one", *ONE) == 2
    assert "images cannot be written" in capsys.readouterr().err
    assert contents(tmp_path) == {}
    assert run(tmp_path / "one", *ONE) == 0
    (tmp_path / "out").mkdir()
    make_read_only(tmp_path)
    tmp_path.chmod(0o755)
    with file_modes_apply():
        assert run(tmp_path / "out", *ONE) == 2
        assert capsys.readouterr().err.count("cannot be written (Permission denied)") == 1
        assert run(tmp_path / "two", *ONE) == 0
        assert "cannot be kept" not in str([warning.message for warning in recwarn])
        with pytest.warns(UserWarning, match="cannot be kept there"):
            assert run(tmp_path / "three", *ONE, "--datasets", "synth_actions", "--precision", "bf16") == 0
    for path in tmp_path.rglob("*"):
        path.chmod(0o755)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("hook", ["__init__", "set_classes", "loss", "backward", "learned_state"])
def test_run_whose_method_raises_fails_alone(tmp_path, monkeypatch, capsys, hook):
    """Of two seeds in lockstep the second fails; the `backward` of a copy is only called without lockstep."""
    real = benchmark.planning.planned_run.create_method

    def fail(*_, **__):
        raise ZeroDivisionError(f"in {hook}")

    def broken(name, *, seed, **options):
        if (name, seed, hook) == ("coop", 2, "__init__"):
            fail()
        method = real(name, seed=seed, **options)
        if (name, seed) == ("coop", 2):
            setattr(method, hook, fail)
        return method

    monkeypatch.setattr(benchmark.planning.planned_run, "create_method", broken)
    arguments = ["--methods", "coop", "zero_shot", "--seeds", "1", "2", "--set", "coop.epochs=1"]
    arguments += ["--no-lockstep"] if hook == "backward" else []
    assert run(tmp_path, *arguments) == 1
    assert "1 of 4 runs failed" in capsys.readouterr().err
    found = sorted((record.spec.method, record.spec.seed) for record in collect(tmp_path)[0])
    assert found == [("coop", 1), ("zero_shot", 1), ("zero_shot", 2)]
    [failure] = (tmp_path / "failed").rglob("*.json")
    assert f"ZeroDivisionError: in {hook}" in json.loads(failure.read_text())["error"]
    assert not list((tmp_path / "synthetic").rglob("*seed2*.safetensors")), "the failed run leaves no tensors"
    monkeypatch.undo()
    assert run(tmp_path, *arguments) == 0


def test_run_out_of_memory_gives_the_same_scores_and_a_warning(tmp_path, monkeypatch):
    arguments = ["--methods", "cocoop", "--set", "cocoop.epochs=1", "--seeds", "1"]
    assert run(tmp_path / "plenty", *arguments) == 0
    chunk = TextEncoder._encode_chunk

    def narrow(self, plan, which, context, *others):
        if plan.visible[which].shape[:2].numel() * len(context) > 128:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return chunk(self, plan, which, context, *others)

    monkeypatch.setattr(TextEncoder, "_encode_chunk", narrow)
    assert run(tmp_path / "short", *arguments) == 0
    [plenty], [short] = (collect(tmp_path / name)[0] for name in ("plenty", "short"))
    assert short.scores == plenty.scores
    assert "out of memory: prompts were encoded 128 rows at a time" in str(short.warnings)
    assert "out of memory" not in str(plenty.warnings)
