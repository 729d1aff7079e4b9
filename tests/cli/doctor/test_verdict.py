"""Whether a run would start, in words and as JSON, with nothing written."""

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
    "catalogue_classes", "problems", "missing", "unreadable", "odd", "undecoded", "needed", "next_command", "note",
}  # fmt: skip


def test_run_on_a_subset_would_start_and_the_counts_are_beside_the_catalogues(doctor):
    code, found = doctor()
    dtd = textures(found)
    assert (code, found["starts"], found["problems"]) == (0, True, [])
    assert (dtd["state"], dtd["needed"], dtd["next_command"]) == ("present", True, None)
    assert (dtd["counts"], dtd["catalogue_counts"]["test"]) == ({"train": 4, "val": 0, "test": 4}, 1692)
    assert dtd["note"] == "8 of 5640 images; 2 of 47 classes"
    assert (found["runs"], found["done"]) == (18, 0)
    (options,) = typed(found["run_command"])
    assert options.datasets == ["dtd"] and not options.doctor and not options.json


def test_json_has_the_keys_that_the_page_lists(doctor):
    _, found = doctor()
    assert found.keys() == KEYS
    assert textures(found).keys() == DATASET_KEYS
    page = (REPOSITORY / "docs" / "data.md").read_text()
    assert not {key for key in KEYS | DATASET_KEYS if f"`{key}`" not in page}


def test_nothing_is_written_and_nothing_is_decoded(doctor, data, tmp_path, monkeypatch):
    def decode(*arguments):
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(Image.Image, "load", decode)
    monkeypatch.setenv("COPL_BENCHMARK_CACHE", str(tmp_path / "cache"))
    before = sorted(tmp_path.rglob("*"))
    assert doctor(datasets=())[0] == 1, "the other datasets are not there"
    assert run_all.main(["--doctor", "--out", str(tmp_path / "out")]) == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_whole_catalogue_is_shown_and_what_the_run_needs_decides(doctor):
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
    assert code == 0, "the advice was good"


def test_recipe_that_a_run_refuses_is_a_problem(doctor):
    code, found = doctor("--set", "coop.epoch=2")
    assert code == 1
    assert "Did you mean 'epochs'?" in found["problems"][0]


def test_tables_say_what_a_newcomer_needs(data, tmp_path, capsys):
    remove(data)
    arguments = ["--doctor", "--data", str(data), "--backbone", "embedded", "--out", str(tmp_path / "out")]
    assert run_all.main(arguments) == 1
    out = capsys.readouterr().out
    for text in ("dtd", "damaged", "1 of 8 listed images are not there: woven/test0.jpg", "This would not start",
                 "disk of", "image features", "torch"):  # fmt: skip
        assert text in out
    assert not [line for line in out.splitlines() if "\r" in line]
