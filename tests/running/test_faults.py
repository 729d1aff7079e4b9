"""What goes wrong around a run: no fault loses a finished record or leaves one that is wrong."""

import dataclasses
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import benchmark.running.runner
import run_all
from benchmark.clip.backbone import Clip
from benchmark.clip.text import TextEncoder
from benchmark.common.config import RunSpec
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import RecordError
from benchmark.records.record import RunRecord, Score
from benchmark.records.store import collect, is_done, load, save, save_failure
from tests.helpers.faults import full_disk, under_modes

pytestmark = pytest.mark.usefixtures("sketched")
SMALL = ["--protocol", "base2new", "--datasets", "synth_actions", "--shots", "2", "--device", "cpu", "--processes", "1"]
SPEC = RunSpec(
    suite="s", protocol="base2new", method="coop", dataset="d", shots=1, seed=1, backbone="b", checkpoint="c",
    split="d", template="{}.", precision="fp32", options={}, training=None,
)  # fmt: skip


def made(seed=1, words=60_000) -> RunRecord:
    """A record whose JSON is large."""
    return RunRecord(
        spec=dataclasses.replace(SPEC, seed=seed), status="ok", scores={"all": Score(correct=1, total=2, classes=2)},
        evaluation_seconds=0.1, warnings=["w" * words],
    )  # fmt: skip


def put(record, results):
    return save(record, results, predictions={"all": np.array([0, 1])}, learned=b"t" * 20_000)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("largest, left", [(100, []), (5_000, [".npz"]), (50_000, [".npz", ".safetensors"])])
def test_full_disk_at_any_file_of_a_record_leaves_no_record_and_the_others_whole(tmp_path, largest, left):
    put(made(seed=2), tmp_path)
    before = contents(tmp_path)
    with full_disk(largest), pytest.raises(RecordError, match=r"cannot be written \(File too large\); no part"):
        put(made(), tmp_path)
    after = contents(tmp_path)
    assert {path: after[path] for path in before} == before
    assert sorted(path.suffix for path in after.keys() - before.keys()) == left, "and nothing half-written"
    assert not is_done(SPEC, tmp_path)
    assert collect(tmp_path) == ([made(seed=2)], [])
    put(made(), tmp_path)
    assert is_done(SPEC, tmp_path)


def test_full_disk_keeps_the_record_that_was_there(tmp_path):
    path = put(made(), tmp_path)
    before = path.read_bytes()
    with full_disk(50_000), pytest.raises(RecordError):
        put(made(), tmp_path)
    assert path.read_bytes() == before
    assert is_done(SPEC, tmp_path)


def test_full_disk_leaves_no_half_of_a_failure(tmp_path):
    with full_disk(100), pytest.raises(RecordError, match="cannot be written"):
        save_failure(SPEC, tmp_path, "Traceback")
    assert contents(tmp_path) == {}


def run(out, *arguments) -> int:
    return run_all.main([*SMALL, "--out", str(out), *arguments])


@pytest.fixture
def finished(tmp_path):
    """A results folder with one finished run, and what it holds."""
    assert run(tmp_path / "out", "--methods", "zero_shot", "--seeds", "1") == 0
    return tmp_path / "out"


@pytest.mark.slow
@pytest.mark.parametrize("largest", [0, 300, 1500])  # everything fails; predictions fit; learned tensors and tables do
def test_full_disk_ends_a_grid_with_one_message_and_keeps_what_is_finished(finished, capsys, largest):
    before = {path: content for path, content in contents(finished).items() if "base2new/" in path.as_posix()}
    with full_disk(largest):
        assert run(finished, "--methods", "zero_shot", "kgcoop", "--set", "kgcoop.epochs=1", "--no-cache") in (1, 2)
    error = capsys.readouterr().err
    assert error.count("cannot be written (File too large)") >= 1
    assert "Traceback" not in error
    after = contents(finished)
    assert {path: after[path] for path in before} == before
    records, problems = collect(finished)
    assert [record.spec.method for record in records].count("zero_shot") >= 1
    assert problems == []
    assert not [path for path in after if path.suffix in (".tmp", ".partial")]
    assert run(finished, "--methods", "zero_shot", "kgcoop", "--set", "kgcoop.epochs=1") == 0


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [".md", ".tex", "report.html", ".svg", ".png", "claims.md"])
def test_full_disk_while_rendering_loses_no_record(finished, monkeypatch, capsys, stopped):
    real = os.replace

    def full(source, target):
        if str(target).endswith(stopped):
            raise OSError(28, "No space left on device")
        real(source, target)

    before = contents(finished)
    monkeypatch.setattr(os, "replace", full)
    assert run(finished, "--methods", "zero_shot", "--seeds", "1") == 2
    monkeypatch.undo()
    assert "No space left on device" in capsys.readouterr().err
    after = contents(finished)
    assert after.keys() == before.keys()
    assert {p for p in before if p.name.startswith("shots") and after[p] != before[p]} == set()
    assert run(finished, "--methods", "zero_shot", "--seeds", "1") == 0


@pytest.mark.slow
def test_full_disk_under_the_embedded_suite_is_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COPL_BENCHMARK_CACHE", str(tmp_path / "cache"))
    with full_disk(1000):
        assert run(tmp_path / "out", "--methods", "zero_shot", "--seeds", "1") == 2
    assert "images cannot be written there (File too large)" in capsys.readouterr().err
    assert contents(tmp_path) == {}
    assert run(tmp_path / "out", "--methods", "zero_shot", "--seeds", "1") == 0


@pytest.fixture
def closed(tmp_path):
    """closed(folder): takes the right to write from a folder and all that is in it, until the test is over."""

    def close(folder):
        for path in [*folder.rglob("*"), folder]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        return folder

    yield close
    for folder, _, _ in os.walk(tmp_path):
        Path(folder).chmod(0o755)


@pytest.mark.slow
def test_results_folder_without_rights_is_refused_at_once_and_a_cache_without_rights_done_without(
    tmp_path, closed, embedded, monkeypatch, capsys
):
    drawn = embedded("synth_actions")
    shutil.copytree(drawn / "synth_actions", tmp_path / "cache" / drawn.name / "synth_actions")
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("COPL_BENCHMARK_CACHE", str(closed(tmp_path / "cache")))
    closed(tmp_path / "out")
    with under_modes():
        assert run(tmp_path / "out", "--methods", "zero_shot", "--seeds", "1") == 2
    error = capsys.readouterr().err
    assert error.count("cannot be written (Permission denied)") == 1
    assert "Traceback" not in error
    assert list((tmp_path / "out").iterdir()) == []
    with under_modes(), pytest.warns(UserWarning, match="features cannot be kept there"):
        assert run(tmp_path / "other", "--methods", "zero_shot", "--seeds", "1") == 0
    assert len(collect(tmp_path / "other")[0]) == 1
    assert not (tmp_path / "cache" / "features").exists()


@pytest.mark.slow
def test_cache_that_others_filled_is_read_where_nothing_can_be_written(tmp_path, closed, monkeypatch, recwarn):
    monkeypatch.setenv("COPL_BENCHMARK_CACHE", str(tmp_path / "cache"))
    assert run(tmp_path / "one", "--methods", "zero_shot", "--seeds", "1") == 0
    before = contents(closed(tmp_path / "cache"))
    with under_modes():
        assert run(tmp_path / "two", "--methods", "zero_shot", "--seeds", "1") == 0
    assert not [str(warning.message) for warning in recwarn if "cannot be kept" in str(warning.message)]
    assert contents(tmp_path / "cache") == before


HOOKS = ["__init__", "set_classes", "forward", "loss", "backward", "learned_state"]


@pytest.mark.slow
@pytest.mark.parametrize("hook", HOOKS)
def test_method_that_raises_anywhere_fails_alone(tmp_path, monkeypatch, capsys, hook):
    """Of two seeds trained in one pass the second falls over; `backward` is a copy's own only without lockstep."""
    real = benchmark.running.runner.create_method

    def boom(*_, **__):
        raise ZeroDivisionError(f"in {hook}")

    def broken(name, *, seed, **options):
        if (name, seed, hook) == ("coop", 2, "__init__"):
            boom()
        method = real(name, seed=seed, **options)
        if (name, seed) == ("coop", 2):
            setattr(method, hook, boom)
        return method

    monkeypatch.setattr(benchmark.running.runner, "create_method", broken)
    arguments = ["--methods", "coop", "zero_shot", "--seeds", "1", "2", "--set", "coop.epochs=1"]
    arguments += ["--no-lockstep"] if hook == "backward" else []
    assert run(tmp_path, *arguments) == 1
    assert "1 of 4 runs failed" in capsys.readouterr().err
    records, problems = collect(tmp_path)
    assert problems == []
    assert sorted((r.spec.method, r.spec.seed) for r in records) == [("coop", 1), ("zero_shot", 1), ("zero_shot", 2)]
    [failure] = (tmp_path / "failed").rglob("*.json")
    assert f"ZeroDivisionError: in {hook}" in json.loads(failure.read_text())["error"]
    assert not list((tmp_path / "synthetic").rglob("*seed2*.safetensors")), "nothing of the failed run is left"
    monkeypatch.undo()
    assert run(tmp_path, *arguments) == 0


@pytest.mark.slow
@pytest.mark.parametrize("lockstep", [[], ["--no-lockstep"]], ids=["lockstep", "alone"])
def test_whole_run_short_of_memory_gives_the_same_and_says_so(tmp_path, monkeypatch, lockstep):
    arguments = ["--methods", "coop", "cocoop", "kgcoop", "--seeds", "1", "2", "--set", "cocoop.epochs=1"]
    arguments += ["--set", "coop.epochs=2", "--set", "kgcoop.epochs=1", "--no-cache", *lockstep]
    assert run(tmp_path / "plenty", *arguments) == 0
    chunk, tower, failures = TextEncoder._encode_chunk, Clip.encode_images, {"text": 0, "images": 0}

    def short(what):
        failures[what] += 1
        raise torch.OutOfMemoryError("CUDA out of memory")

    def narrow_text(self, plan, which, context, product):
        if plan.visible[which].shape[:2].numel() * len(context) > 128:
            short("text")
        return chunk(self, plan, which, context, product)

    def narrow_images(self, pixels, patches=None):
        return short("images") if len(pixels) > 30 else tower(self, pixels, patches)

    monkeypatch.setattr(TextEncoder, "_encode_chunk", narrow_text)
    monkeypatch.setattr(Clip, "encode_images", narrow_images)
    assert run(tmp_path / "short", *arguments) == 0
    assert failures["text"] >= 1
    assert 1 <= failures["images"] <= 4, "remembered: 256, 128, 64 and 32 do not fit"
    found = {record.spec: record for record in collect(tmp_path / "short")[0]}
    assert len(found) == 6
    for record in collect(tmp_path / "plenty")[0]:
        other = found[record.spec]
        assert other.scores == record.scores
        assert not any("out of memory" in text for text in record.warnings)
        if record.spec.method != "coop":  # whose prompts fit
            assert any("out of memory: prompts were encoded 128 rows at a time" in text for text in other.warnings)
        paths = [record.spec.record_path(tmp_path / name).with_suffix(".safetensors") for name in ("plenty", "short")]
        one, two = map(load_file, paths)
        assert all((one[name] - two[name]).abs().max() < 1e-5 for name in one)


@pytest.mark.slow
def test_features_of_another_backbone_or_precision_are_never_read(tmp_path):
    shutil.copytree(CHECKPOINT, tmp_path / "other")
    weights = load_file(tmp_path / "other" / "model.safetensors")
    weights["visual_projection.weight"] = weights["visual_projection.weight"].flip(0)
    save_file(weights, tmp_path / "other" / "model.safetensors", metadata={"format": "pt"})

    def scores(*arguments):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        assert run(folder, "--methods", "zero_shot", "--seeds", "1", *arguments) == 0
        path = next(folder.rglob("*.npz"))
        with np.load(path, allow_pickle=False) as stored:
            return load(path.with_suffix(".json")).scores, {name: stored[name].tolist() for name in stored}

    first = scores()
    for changed in (["--backbone", str(tmp_path / "other")], ["--precision", "bf16"]):
        cached, fresh = scores(*changed), scores(*changed, "--no-cache")
        assert cached == fresh
    assert scores("--backbone", str(tmp_path / "other")) != first
    assert scores() == first


@pytest.mark.slow
def test_clock_that_jumps_changes_nothing_that_is_recorded(tmp_path, monkeypatch):
    now, jumps = time.time(), iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now + (-1) ** next(jumps) * 1e8)
    assert run(tmp_path, "--methods", "zero_shot", "kgcoop", "--seeds", "1", "--set", "kgcoop.epochs=1") == 0
    records, _ = collect(tmp_path)
    assert len(records) == 2
    for record in records:
        assert 0 <= record.evaluation_seconds < 600
        assert 0 <= record.training.get("seconds", 0) < 600
    assert run(tmp_path, "--methods", "zero_shot", "kgcoop", "--seeds", "1", "--set", "kgcoop.epochs=1") == 0
