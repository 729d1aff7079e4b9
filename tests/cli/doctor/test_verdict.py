"""The doctor reports whether a run would start, as tables and as JSON, and writes nothing."""

from PIL import Image

import run_all
from benchmark.common.files import REPOSITORY
from tests.cli.doctor.conftest import remove, textures, typed

KEYS = {
    "schema", "starts", "run_command", "deep", "datasets", "backbone", "device", "memory", "disks", "caches",
    "versions", "machine", "runs", "done", "problems", "notes", "next_commands", "smaller_command",
}  # fmt: skip
DATASET_KEYS = {
    "name", "state", "folder", "images", "catalogue_images", "counts", "catalogue_counts", "classes",
    "catalogue_classes", "problems", "warnings", "missing", "unreadable", "odd", "peculiar", "undecoded", "needed",
    "next_command", "note",
}  # fmt: skip


def test_run_on_subset_would_start_and_counts_are_compared_with_catalog(doctor):
    code, found = doctor()
    dtd = textures(found)
    assert (code, found["starts"], found["problems"]) == (0, True, [])
    assert (dtd["state"], dtd["needed"], dtd["next_command"]) == ("present", True, None)
    assert (dtd["counts"], dtd["catalogue_counts"]["test"]) == ({"train": 4, "val": 0, "test": 4}, 1692)
    assert dtd["note"] == "8 of 5640 images; 2 of 47 classes"
    assert (found["runs"], found["done"]) == (18, 0)
    (options,) = typed(found["run_command"])
    assert options.datasets == ["dtd"] and not options.doctor and not options.json


def test_json_has_documented_keys(doctor):
    _, found = doctor()
    assert found.keys() == KEYS
    assert textures(found).keys() == DATASET_KEYS
    page = (REPOSITORY / "docs" / "data.md").read_text()
    assert not {key for key in KEYS | DATASET_KEYS if f"`{key}`" not in page}


def test_doctor_writes_and_decodes_nothing(doctor, data, tmp_path, monkeypatch):
    def decode(*arguments):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(Image.Image, "load", decode)
    monkeypatch.setenv("COPL_BENCHMARK_CACHE", str(tmp_path / "cache"))
    before = sorted(tmp_path.rglob("*"))
    assert doctor(datasets=())[0] == 1, "the other datasets are missing"
    assert run_all.main(["--doctor", "--out", str(tmp_path / "out")]) == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_whole_catalog_is_listed_and_needed_datasets_decide(doctor):
    code, found = doctor(datasets=())
    states = {dataset["name"]: (dataset["state"], dataset["needed"]) for dataset in found["datasets"]}
    assert len(states) == 15
    assert states["dtd"] == ("present", True)
    assert states["eurosat"] == ("missing", True)
    assert states["imagenet_a"] == ("missing", False)
    assert code == 1
    assert len(found["problems"]) == 10
    (options,) = typed(found["smaller_command"])
    assert options.datasets == ["dtd"]
    code, found = doctor(datasets=("--datasets", *options.datasets))
    assert code == 0, "the suggested command works"


def test_refused_recipe_is_a_problem(doctor):
    code, found = doctor("--set", "coop.epoch=2")
    assert code == 1
    assert "Did you mean 'epochs'?" in found["problems"][0]


def test_tables_name_state_problem_and_next_steps(data, tmp_path, capsys):
    remove(data)
    arguments = ["--doctor", "--data", str(data), "--backbone", "embedded", "--out", str(tmp_path / "out")]
    assert run_all.main(arguments) == 1
    out = capsys.readouterr().out
    for text in ("dtd", "damaged", "1 of 8 listed images are not there: woven/test0.jpg", "This would not start",
                 "disk of", "image features", "torch"):  # fmt: skip
        assert text in out
    assert not [line for line in out.splitlines() if "\r" in line]
