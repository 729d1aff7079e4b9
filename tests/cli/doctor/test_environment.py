"""The doctor checks backbone, hub, disks, caches and versions."""

from types import SimpleNamespace

import pytest

from benchmark.cli.doctor import environment
from benchmark.clip import hub


def test_refused_backbone_is_a_problem_with_the_same_message(doctor, tmp_path):
    (tmp_path / "clip").mkdir()
    code, found = doctor(backbone=str(tmp_path / "clip"))
    assert (code, found["backbone"]["state"]) == (1, "refused")
    assert "has no config.json" in found["problems"][0]


def hub_files(**sizes):
    return SimpleNamespace(
        siblings=[SimpleNamespace(rfilename=name.replace("__", "."), size=n) for name, n in sizes.items()]
    )


@pytest.mark.parametrize("files, wanted", [
    ({"config__json": 1, "model__safetensors": 600, "pytorch_model__bin": 700, "tf_model__h5": 800}, 601),
    ({"config__json": 1, "model-00001-of-00002__safetensors": 10, "model-00002-of-00002__safetensors": 20,
      "model__safetensors__index__json": 2}, 33),
    ({"config__json": 1, "model__safetensors": 30, "model-00001-of-00002__safetensors": 10}, 31),
])  # fmt: skip
def test_size_of_backbone_to_download_counts_files_that_a_run_reads(doctor, monkeypatch, tmp_path, files, wanted):
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *given, **options: hub_files(**files))
    code, found = doctor(backbone="owner/clip")
    assert code == 0
    assert (found["backbone"]["state"], found["backbone"]["size_bytes"]) == ("to be fetched", wanted)


def test_unreachable_hub_is_a_problem_with_advice(doctor, monkeypatch):
    def silent(*given, **options):
        raise TimeoutError

    monkeypatch.setattr(hub.HfApi, "model_info", silent)
    code, found = doctor(backbone="owner/clip")
    assert (code, found["backbone"]["state"], found["backbone"]["size_bytes"]) == (1, "to be fetched", None)
    assert "hf download owner/clip --local-dir FOLDER" in found["problems"][0]


def test_unwritable_results_folder_is_a_problem(doctor, tmp_path):
    (tmp_path / "out").write_text("in the way")
    code, found = doctor()
    assert code == 1
    assert "give --out another folder" in found["problems"][0]


def test_disk_without_room_and_a_wrong_cache_limit_are_problems(doctor, monkeypatch):
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *given, **options: hub_files(model__safetensors=10**18))
    monkeypatch.setenv("COPL_BENCHMARK_CACHE_GB", "-1")
    code, found = doctor(backbone="somebody/clip")
    assert code == 1
    for message in ("has no room for the backbone", "must be a number of gigabytes"):
        assert message in str(found["problems"])
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    assert "(results) cannot be written" in str(doctor()[1]["problems"])


def test_versions_are_compared_with_requirements(monkeypatch):
    found = {package["name"]: package for package in environment.look_at_versions()}
    assert {"python", "torch", "transformers", "accelerate"} <= found.keys()
    assert [package["note"] for package in found.values()] == [None] * len(found), "the installed versions"
    monkeypatch.setattr(environment.importlib.metadata, "version", lambda name: "2.5.1")
    monkeypatch.setattr(environment.platform, "python_version", lambda: "3.9.2")
    found = {package["name"]: package for package in environment.look_at_versions()}
    assert "2.6 is the lowest" in found["torch"]["note"]
    assert "3.11 to 3.13" in found["python"]["note"]
    assert found["numpy"]["note"] is None, "requirements.txt names no lowest version"
