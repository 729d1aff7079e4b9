"""What a record holds, and that one which is stale, edited or harmed is never believed."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmark.common.config import SCHEMA, RunSpec, Training
from benchmark.errors import ConfigError, RecordError
from benchmark.records.record import RunRecord, Score
from benchmark.records.store import collect, is_done, load, missing, save, save_failure

PREDICTIONS = {"base": np.array([0, 1, 2, 1]), "new": np.array([3, 0])}


def make_spec(**changes) -> RunSpec:
    values = {
        "suite": "synthetic",
        "protocol": "base2new",
        "method": "coop",
        "dataset": "dtd",
        "shots": 16,
        "seed": 1,
        "backbone": "embedded",
        "checkpoint": "0a1b2c3d",
        "split": "99887766",
        "template": "{} texture.",
        "precision": "fp32",
        "options": {"n_ctx": 4, "templates": ("a {}.",)},
        "training": Training(epochs=2, batch_size=4),
    }
    return RunSpec(**(values | changes))


def make_record(spec: RunSpec | None = None, **changes) -> RunRecord:
    values = {
        "spec": spec or make_spec(),
        "status": "ok",
        "scores": {"base": Score(correct=3, total=4, classes=3), "new": Score(correct=0, total=2, classes=4)},
        "overrides": {"epochs": 2},
        "training": {"steps": 10, "images": 40, "seconds": 1.5, "losses": [2.0, 0.1]},
        "evaluation_seconds": 0.25,
        "peak_memory_bytes": None,
        "warnings": ["10 steps in all"],
        "provenance": {"git": {"commit": None, "dirty": None}, "device": "cpu"},
        "error": None,
    }
    return RunRecord(**(values | changes))


def put(results: Path, record: RunRecord | None = None) -> Path:
    return save(record or make_record(), results, predictions=PREDICTIONS, learned=b"tensors")


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_saved_record_loads_equal_and_explains_itself(tmp_path):
    path = put(tmp_path)
    assert path == make_spec().record_path(tmp_path)
    assert load(path) == make_record()
    raw = json.loads(path.read_text())
    assert raw["schema"] == SCHEMA and raw["hash"] == make_spec().hash and raw["status"] == "ok"
    assert raw["scores"]["base"] == {"correct": 3, "total": 4, "classes": 3}
    assert raw["spec"]["options"] == {"n_ctx": 4, "templates": ["a {}."]}
    assert raw["spec"]["training"]["epochs"] == 2
    assert raw.keys() == {"schema", "hash", *(f.name for f in dataclasses.fields(RunRecord))}


def test_saved_companions_hold_predictions_and_learned_tensors(tmp_path):
    path = put(tmp_path)
    assert names_in(tmp_path) == sorted([path.name, f"{path.stem}.npz", f"{path.stem}.safetensors"])
    assert path.with_suffix(".safetensors").read_bytes() == b"tensors"
    with np.load(path.with_suffix(".npz")) as stored:
        assert {name: stored[name].dtype for name in stored} == {"base": np.int16, "new": np.int16}
        for name, labels in PREDICTIONS.items():
            np.testing.assert_array_equal(stored[name], labels)


def test_nothing_learned_leaves_no_companion_not_even_an_old_one(tmp_path):
    put(tmp_path)
    path = save(make_record(), tmp_path, predictions={}, learned=None)
    assert names_in(tmp_path) == [path.name]


def test_saving_twice_gives_equal_files(tmp_path):
    first, second = put(tmp_path / "a"), put(tmp_path / "b")
    for suffix in (".json", ".npz", ".safetensors"):
        assert first.with_suffix(suffix).read_bytes() == second.with_suffix(suffix).read_bytes()


@pytest.mark.parametrize(
    "predictions",
    [
        {"base": np.array([0, 1, 2])},
        {"base": np.array([[0, 1, 2, 1]])},
        {"base": np.array([0, 1, 2, 3])},
        {"base": np.array([0, 1, -1, 1])},
        {"base": np.array([0.0, 1.0, 2.0, 1.0])},
        {"other": np.array([0, 1, 2, 1])},
    ],
)
def test_predictions_that_disagree_with_scores_are_refused_before_anything_is_written(tmp_path, predictions):
    with pytest.raises(RecordError, match="do not fit"):
        save(make_record(), tmp_path, predictions=predictions, learned=None)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("training", "words"),
    [({"losses": [1.0, float("nan")]}, "diverged"), ({"steps": np.int64(3)}, "int64"), ({"x": object()}, "object")],
)
def test_record_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path, training, words):
    with pytest.raises(RecordError, match=words):
        put(tmp_path, make_record(training=training))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("counts", [(5, 4, 3), (-1, 4, 3), (0, 0, 3), (1, 4, 0)])
def test_impossible_score_is_refused(counts):
    with pytest.raises(ConfigError, match=r"impossible|must be at least"):
        Score(**dict(zip(("correct", "total", "classes"), counts, strict=True)))


@pytest.mark.parametrize(
    "changes",
    [
        {"scores": {}},
        {"error": "Traceback"},
        {"status": "failed"},
        {"status": "done"},
        {"scores": {"a/b": Score(correct=1, total=1, classes=1)}},
        {"scores": {"base": 0.75}},
        {"warnings": "one"},
    ],
)
def test_inconsistent_record_is_refused(changes):
    with pytest.raises(ConfigError):
        make_record(**changes)


def test_done_means_stored_whole_and_ok_for_exactly_this_spec(tmp_path):
    specs = [make_spec(seed=seed) for seed in (3, 1, 2)]
    assert missing(specs, tmp_path) == specs
    put(tmp_path, make_record(specs[1]))
    assert [is_done(spec, tmp_path) for spec in specs] == [False, True, False]
    assert missing(specs, tmp_path) == [specs[0], specs[2]]
    assert not is_done(make_spec(options={"n_ctx": 8}), tmp_path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def edit_spec(path: Path) -> None:
    edit(path, spec=json.loads(path.read_text())["spec"] | {"precision": "bf16"})


def edit_spec_and_hash(path: Path) -> None:
    other = make_spec(precision="bf16")
    edit(path, spec=other.to_json(), hash=other.hash)


def drop_provenance(path: Path) -> None:
    raw = json.loads(path.read_text())
    del raw["provenance"]
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (truncate, "not a whole JSON file"),
        (lambda path: path.write_bytes(b""), "not a whole JSON file"),
        (lambda path: path.write_bytes(b"\xff\xfe{}"), "not a whole JSON file"),
        (lambda path: path.write_text("[" * 100_000), "not a whole JSON file"),
        (lambda path: path.write_text("[]"), "is not a record"),
        (lambda path: path.write_text('{"a": 1}'), "is not a record"),
        (lambda path: edit(path, evaluation_seconds=float("nan")), "NaN is not JSON"),
        (lambda path: edit(path, schema=SCHEMA + 1), f"has schema {SCHEMA + 1}, this version reads {SCHEMA}"),
        (lambda path: edit(path, schema=None), "has schema None"),
        (lambda path: edit(path, hash="00000000"), "stored hash '00000000'"),
        (edit_spec, "it was edited"),
        (edit_spec_and_hash, "belongs in a file named"),
        (drop_provenance, "lacks provenance"),
        (lambda path: edit(path, spec=3), "'spec' must be a mapping"),
        (lambda path: edit(path, extra=1), "'extra' is not an option"),
        (lambda path: edit(path, scores={"base": {"correct": 5, "total": 4, "classes": 3}}), "impossible"),
        (lambda path: edit(path, scores={"base": {"correct": 0.75, "total": 4, "classes": 3}}), "must be an integer"),
        (lambda path: edit(path, status="ok", error="Traceback"), "status 'ok' needs"),
    ],
)
def test_harmed_record_is_not_done_and_is_named_until_it_runs_again(tmp_path, harm, words):
    path = put(tmp_path)
    harm(path)
    assert not is_done(make_spec(), tmp_path)
    found, problems = collect(tmp_path)
    assert found == [] and len(problems) == 1
    assert str(path) in problems[0] and words in problems[0]
    with pytest.raises(RecordError):
        load(path)
    put(tmp_path)
    assert is_done(make_spec(), tmp_path) and collect(tmp_path) == ([make_record()], [])


def test_failed_status_in_place_of_a_record_is_not_done(tmp_path):
    path = put(tmp_path)
    edit(path, status="failed", scores={}, error="Traceback")
    assert load(path).status == "failed"
    assert not is_done(make_spec(), tmp_path)
    assert collect(tmp_path) == ([], [f"{path}: holds a failed run outside failed/; left out."])


def test_renamed_record_is_refused(tmp_path):
    path = put(tmp_path)
    path.rename(path.with_name("shots16-seed2-" + path.name[-13:]))
    assert not is_done(make_spec(), tmp_path)
    assert "it was renamed" in collect(tmp_path)[1][0]


def test_absent_record_is_refused_by_name(tmp_path):
    with pytest.raises(RecordError, match=r"none\.json: cannot be read \(No such file"):
        load(tmp_path / "none.json")


def test_failure_keeps_its_traceback_apart_until_the_run_succeeds(tmp_path):
    path = save_failure(make_spec(), tmp_path, "Traceback: boom", warnings=["w"], provenance={"device": "cpu"})
    assert path == make_spec().record_path(tmp_path / "failed")
    stored = load(path)
    assert stored.status == "failed" and stored.error == "Traceback: boom" and stored.spec == make_spec()
    assert stored.warnings == ["w"] and stored.provenance == {"device": "cpu"}
    assert not is_done(make_spec(), tmp_path)
    assert collect(tmp_path) == ([], [])
    put(tmp_path)
    assert not path.exists() and is_done(make_spec(), tmp_path)


def test_failure_of_another_spec_stays(tmp_path):
    other = save_failure(make_spec(seed=2), tmp_path, "boom")
    put(tmp_path)
    assert other.exists()


def test_failed_record_is_refused_by_save(tmp_path):
    failed = make_record(status="failed", scores={}, error="boom")
    with pytest.raises(RecordError, match="save_failure"):
        save(failed, tmp_path, predictions={}, learned=None)
