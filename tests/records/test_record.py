"""Records: their content, their folder, and the refusal of stale, edited and damaged files."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmark.common.config import SCHEMA, RunSpec, Training
from benchmark.errors import ConfigError, RecordError
from benchmark.records.record import RunRecord, Score
from benchmark.records.scoring import score_of
from benchmark.records.store import collect, is_done, load, missing, save, save_failure, superseded

PREDICTIONS = {"base": np.array([0, 1, 2, 1]), "new": np.array([3, 0])}


def make_spec(**changes) -> RunSpec:
    values = {
        "suite": "synthetic", "protocol": "base2new", "method": "coop", "dataset": "dtd", "shots": 16, "seed": 1,
        "backbone": "embedded", "checkpoint": "0a1b2c3d", "split": "99887766", "template": "{} texture.",
        "precision": "fp32", "options": {"n_ctx": 4, "templates": ("a {}.",)},
        "training": Training(epochs=2, batch_size=4),
    }  # fmt: skip
    return RunSpec(**(values | changes))


def make_record(spec: RunSpec | None = None, **changes) -> RunRecord:
    values = {
        "spec": spec or make_spec(),
        "status": "ok",
        "scores": {"base": Score(correct=3, total=4, classes=3), "new": Score(correct=0, total=2, classes=4)},
        "overrides": {"epochs": 2},
        "training": {"steps": 10, "images": 40, "seconds": 1.5, "losses": [2.0, 0.1]},
        "evaluation_seconds": 0.25,
        "warnings": ["10 steps in all"],
        "provenance": {"git": {"commit": None, "dirty": None}, "device": "cpu"},
    }
    return RunRecord(**(values | changes))


def put(results: Path, record: RunRecord | None = None, *, learned: bytes = b"tensors") -> Path:
    return save(record or make_record(), results, predictions=PREDICTIONS, learned=learned)


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_saved_record_loads_equal_with_predictions_and_learned_tensors_next_to_it(tmp_path):
    path = put(tmp_path)
    assert path == make_spec().record_path(tmp_path)
    assert load(path) == make_record()
    raw = json.loads(path.read_text())
    assert raw["schema"] == SCHEMA and raw["hash"] == make_spec().hash and raw["status"] == "ok"
    assert raw["scores"]["base"] == {"correct": 3, "total": 4, "classes": 3}
    assert raw["spec"]["options"] == {"n_ctx": 4, "templates": ["a {}."]}
    assert raw.keys() == {"schema", "hash", *(f.name for f in dataclasses.fields(RunRecord))}
    assert names_in(tmp_path) == sorted([path.name, f"{path.stem}.npz", f"{path.stem}.safetensors"])
    assert path.with_suffix(".safetensors").read_bytes() == b"tensors"
    with np.load(path.with_suffix(".npz")) as stored:
        assert {name: stored[name].dtype for name in stored} == {"base": np.int16, "new": np.int16}
        for name, labels in PREDICTIONS.items():
            np.testing.assert_array_equal(stored[name], labels)


def test_confidences_are_next_to_predictions_and_the_breakdown_is_in_the_record(tmp_path):
    labels, confidences = np.array([0, 1, 1]), np.array([0.5, 1, 0.75], np.float16)
    score = score_of(np.array([0, 1, 2]), labels, classes=3, confidences=confidences, nll=np.array([0.7, 0.0, 2.0]))
    record = make_record(scores={"all": score}, warnings=["[ 1,  2 ]", "a\n[\n1\n]"])
    path = save(record, tmp_path, predictions={"all": labels}, learned=None, confidences={"all": confidences})
    assert load(path) == record
    text = path.read_text()
    assert '"class_totals": [ 1, 2, 0 ]' in text and len(text.splitlines()) < 80, "a line for a list of numbers"
    with np.load(path.with_suffix(".npz")) as stored:
        assert set(stored) == {"all", "confidence/all"}
        assert stored["confidence/all"].dtype == np.float16 and (stored["confidence/all"] == confidences).all()


@pytest.mark.parametrize("wrong", [{"all": np.ones(3)}, {"all": np.ones(2, np.float16)}, {"x": np.ones(3, np.float16)}])
def test_confidences_that_do_not_fit_the_predictions_are_refused(tmp_path, wrong):
    record = make_record(scores={"all": Score(correct=3, total=3, classes=3)})
    with pytest.raises(RecordError, match="give one float16 value per test image"):
        save(record, tmp_path, predictions={"all": np.zeros(3, int)}, learned=None, confidences=wrong)
    assert names_in(tmp_path) == []


def test_record_of_before_is_done_and_has_no_breakdown(tmp_path):
    path = put(tmp_path)
    assert "breakdown" not in path.read_text()
    assert is_done(make_spec(), tmp_path) and load(path).scores["base"].breakdown is None


def test_predictions_of_any_number_of_classes_are_stored(tmp_path):
    for classes, kind in ((32_768, np.int16), (32_769, np.int32)):
        labels = np.array([0, classes - 1])
        made = make_record(scores={"all": Score(correct=1, total=2, classes=classes)})
        path = save(made, tmp_path / str(classes), predictions={"all": labels}, learned=None)
        with np.load(path.with_suffix(".npz")) as stored:
            assert stored["all"].dtype == kind and (stored["all"] == labels).all()


def test_saving_again_gives_equal_files_and_removes_companions_that_are_no_longer_written(tmp_path):
    first, second = put(tmp_path / "a"), put(tmp_path / "b")
    for suffix in (".json", ".npz", ".safetensors"):
        assert first.with_suffix(suffix).read_bytes() == second.with_suffix(suffix).read_bytes()
    path = save(make_record(), tmp_path / "a", predictions={}, learned=None)
    assert names_in(tmp_path / "a") == [path.name]


@pytest.mark.parametrize(
    "labels", [[0, 1, 2], [[0, 1, 2, 1]], [0, 1, 2, 3], [0, 1, -1, 1], [0.0, 1.0, 2.0, 1.0]],
    ids=["too few", "two axes", "too large", "negative", "not integers"],
)  # fmt: skip
def test_predictions_that_do_not_match_scores_are_refused_before_anything_is_written(tmp_path, labels):
    for predictions in ({"base": np.array(labels)}, {"other": np.array([0, 1, 2, 1])}):
        with pytest.raises(RecordError, match="do not fit"):
            save(make_record(), tmp_path, predictions=predictions, learned=None)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("training", "words"),
    [({"losses": [1.0, float("nan")]}, "diverged"), ({"steps": np.int64(3)}, "int64"), ({"x": object()}, "object")],
)
def test_record_that_json_does_not_support_is_refused_before_anything_is_written(tmp_path, training, words):
    with pytest.raises(RecordError, match=words):
        put(tmp_path, make_record(training=training))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "changes",
    [{"scores": {}}, {"error": "Traceback"}, {"status": "failed"}, {"status": "done"}, {"warnings": "one"},
     {"scores": {"a/b": Score(correct=1, total=1, classes=1)}}]
    + [{"scores": {"base": dict(zip(("correct", "total", "classes"), counts, strict=True))}}
       for counts in [(5, 4, 3), (-1, 4, 3), (0, 0, 3), (1, 4, 0), (0.75, 4, 3)]],
)  # fmt: skip
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
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "not a complete JSON file"),
        (lambda path: path.write_bytes(b"\xff\xfe{}"), "not a complete JSON file"),
        (lambda path: path.write_text("[" * 100_000), "not a complete JSON file"),
        (lambda path: path.write_text("[]"), "is not a record"),
        (lambda path: edit(path, evaluation_seconds=float("nan")), "NaN is not JSON"),
        (lambda path: edit(path, schema=SCHEMA + 1), f"has schema {SCHEMA + 1}, this version reads {SCHEMA}"),
        (lambda path: edit(path, hash="00000000"), "stored hash '00000000'"),
        (edit_spec, "it was edited"),
        (edit_spec_and_hash, "belongs in a file named"),
        (drop_provenance, "provenance missing"),
        (lambda path: edit(path, spec=3), "'spec' must be a mapping"),
        (lambda path: edit(path, extra=1), "'extra' is not an option"),
        (lambda path: edit(path, scores={"base": {"correct": 5, "total": 4, "classes": 3}}), "impossible"),
        (lambda path: edit(path, status="ok", error="Traceback"), "status 'ok' needs"),
    ],
)
def test_damaged_record_is_not_done_and_is_named_until_it_runs_again(tmp_path, damage, words):
    path = put(tmp_path)
    damage(path)
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


def test_renamed_missing_and_failed_records_are_refused(tmp_path):
    path = put(tmp_path)
    path.rename(path.with_name("shots16-seed2-" + path.name[-13:]))
    assert not is_done(make_spec(), tmp_path)
    assert "it was renamed" in collect(tmp_path)[1][0]
    with pytest.raises(RecordError, match=r"none\.json: cannot be read \(No such file"):
        load(tmp_path / "none.json")
    with pytest.raises(RecordError, match="save_failure"):
        save(make_record(status="failed", scores={}, error="boom"), tmp_path, predictions={}, learned=None)


def test_failure_keeps_its_traceback_in_its_own_folder_until_the_run_succeeds(tmp_path):
    path = save_failure(make_spec(), tmp_path, "Traceback: boom", warnings=["w"], provenance={"device": "cpu"})
    other = save_failure(make_spec(seed=2), tmp_path, "boom")
    assert path == make_spec().record_path(tmp_path / "failed")
    stored = load(path)
    assert stored.status == "failed" and stored.error == "Traceback: boom" and stored.spec == make_spec()
    assert stored.warnings == ["w"] and stored.provenance == {"device": "cpu"}
    assert not is_done(make_spec(), tmp_path)
    assert collect(tmp_path) == ([], [])
    put(tmp_path)
    assert not path.exists() and other.exists() and is_done(make_spec(), tmp_path)


def test_collect_finds_all_records_once_and_names_other_json_files(tmp_path):
    ours = [make_record(make_spec(seed=seed, dataset=dataset)) for dataset in ("dtd", "eurosat") for seed in (1, 2)]
    paths = [put(tmp_path, record) for record in reversed(ours)]
    save_failure(make_spec(seed=3), tmp_path, "boom")
    (paths[0].parent / f".{paths[0].name}.123.abcd.tmp").write_text("{")
    (paths[0].parent / f"._{paths[0].name}").write_text("{")
    (tmp_path / "synthetic" / "table.md").write_text("| a |")
    (tmp_path / "synthetic" / "notes.json").write_text("{}")
    copy = tmp_path / "synthetic" / "copy" / paths[0].name
    copy.parent.mkdir()
    copy.write_bytes(paths[0].read_bytes())
    found, problems = collect(tmp_path)
    assert found == sorted(ours, key=lambda record: record.spec.record_path(tmp_path))
    assert len(problems) == 2 and "repeats" in problems[0] and "notes.json: is not a record" in problems[1]
    below, _ = collect(paths[-1].parent)
    assert {record.spec for record in below} == {record.spec for record in ours[:2]}
    assert collect(tmp_path / "none") == ([], [f"{tmp_path / 'none'}: no such folder, so no records."])


def test_records_of_other_code_or_other_images_are_superseded(tmp_path):
    spec = make_spec(method="mine", plugin="c" * 16, images="1+2")
    changes = [{"plugin": "a" * 16}, {"images": "3+2"}, {"images": ""}]
    for change in [*changes, {"options": {}}, {}]:
        put(tmp_path, make_record(dataclasses.replace(spec, **change)))
    old = {old for _, old in superseded(spec, tmp_path)}
    assert old == {dataclasses.replace(spec, **change) for change in changes}


def test_record_without_a_fingerprint_keeps_its_hash_and_is_read(tmp_path):
    path = put(tmp_path)
    assert path.name == "shots16-seed1-48678e33.json", "as before specs had images"
    assert "images" not in json.loads(path.read_text())["spec"]
    assert load(path).spec.images == ""
