"""The doctor: every state of every part is told as a run would find it, and what it advises can be typed."""

import io
import json
import os
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import benchmark.doctor
import run_all
from benchmark import surroundings
from benchmark.clip import locate
from benchmark.data.headers import MANY, look_at_all
from benchmark.data.survey import How, survey_known
from benchmark.data.synthetic.suite import materialise
from benchmark.doctor_words import note_on

SIZE = (40, 40)
KEYS = {
    "schema", "starts", "run_command", "deep", "datasets", "backbone", "device", "memory", "disks", "caches",
    "versions", "machine", "runs", "done", "problems", "notes", "next_commands", "smaller_command",
}  # fmt: skip
DATASET_KEYS = {
    "name", "state", "folder", "images", "catalogue_images", "counts", "catalogue_counts", "classes",
    "catalogue_classes", "problems", "missing", "unreadable", "odd", "undecoded", "needed", "next_command", "note",
}  # fmt: skip


def picture(kind="JPEG", size=SIZE):
    """The bytes of a noisy picture."""
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(0))
    content = io.BytesIO()
    Image.fromarray(pixels.to(torch.uint8).numpy()).save(content, kind)
    return content.getvalue()


@pytest.fixture
def data(tmp_path):
    """A data folder with textures in it: two classes, two pictures of each in train and test."""
    images = tmp_path / "data" / "dtd" / "images"
    split = {"train": [], "val": [], "test": []}
    for part in ("train", "test"):
        for label, name in enumerate(("dotted", "woven")):
            for number in range(2):
                path = f"{name}/{part}{number}.jpg"
                (images / name).mkdir(parents=True, exist_ok=True)
                (images / path).write_bytes(picture())
                split[part].append([path, label, name])
    (tmp_path / "data" / "dtd" / "split_zhou_DescribableTextures.json").write_text(json.dumps(split))
    return tmp_path / "data"


@pytest.fixture
def doctor(data, tmp_path, capsys):
    """doctor("--deep"): the exit code and the JSON of a look at a run on the textures, with the embedded backbone."""

    def look(*arguments, backbone="embedded", datasets=("--datasets", "dtd")):
        whole = ["--data", str(data), *datasets, "--backbone", backbone, "--out", str(tmp_path / "out"), *arguments]
        code = run_all.main(["--doctor", "--json", *whole])
        return code, json.loads(capsys.readouterr().out)

    return look


def textures(found):
    return next(dataset for dataset in found["datasets"] if dataset["name"] == "dtd")


def typed(line):
    """The options of each command of a line; fails where run_all.py would not read it, or one is something else."""
    options = []
    for words in map(shlex.split, line.split(" && ")):
        if words[0] == "mv":
            assert os.path.exists(words[1]) and not os.path.exists(words[2])
            continue
        assert words[:2] == ["python", "run_all.py"]
        options.append(run_all.parse(words[2:]))
    return options


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
    page = (run_all.ROOT / "docs" / "data.md").read_text()
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


def cut(data):
    path = data / "dtd/images/woven/test0.jpg"
    path.write_bytes(path.read_bytes()[:-200])


def no_picture(data):
    (data / "dtd/images/woven/test0.jpg").write_text("<html>Not found</html>")


def png_without_end(data):
    (data / "dtd/images/woven/test0.jpg").write_bytes(picture("PNG")[:-100])


def remove(data):
    (data / "dtd/images/woven/test0.jpg").unlink()


def folder_in_its_place(data):
    remove(data)
    (data / "dtd/images/woven/test0.jpg").mkdir()


@pytest.mark.parametrize("harm, kind", [
    (cut, "unreadable"), (no_picture, "unreadable"), (png_without_end, "unreadable"), (remove, "missing"),
    (folder_in_its_place, "missing"),
])  # fmt: skip
def test_damaged_file_is_named_and_the_run_would_not_start(doctor, data, harm, kind):
    harm(data)
    code, found = doctor()
    dtd = textures(found)
    assert (code, dtd["state"], found["problems"]) == (1, "damaged", ["dtd is damaged"])
    assert dtd[kind]["count"] == 1
    assert dtd[kind]["first"][0].startswith("woven/test0.jpg")
    assert "woven/test0.jpg" in dtd["note"]
    assert found["next_commands"] == [dtd["next_command"]]
    assert run_all.main([*shlex.split(found["run_command"])[2:], "--plan"]) == 2, "a run would not start either"


def test_more_damaged_files_than_are_named_are_counted(doctor, data):
    for path in (data / "dtd/images").rglob("t*.jpg"):
        path.write_bytes(b"")
    files = textures(doctor()[1])["unreadable"]
    assert (files["count"], len(files["first"])) == (8, 5)


def test_bytes_behind_the_end_of_a_picture_are_no_damage(doctor, data):
    with open(data / "dtd/images/woven/test0.jpg", "ab") as file:
        file.write(bytes(1000))
    assert doctor()[0] == 0


@pytest.mark.parametrize("size, odd", [((31, 40), True), ((32, 40), False), ((400, 32), True), ((320, 32), False)])
def test_odd_size_is_named_and_no_fault(doctor, data, size, odd):
    (data / "dtd/images/woven/test0.jpg").write_bytes(picture(size=size))
    code, found = doctor()
    assert code == 0
    named = [f"woven/test0.jpg ({size[0]} x {size[1]})"] if odd else []
    assert textures(found)["odd"] == {"count": len(named), "first": named}


def test_deep_finds_a_picture_whose_header_and_end_are_whole(doctor, data):
    content = bytearray(picture("PNG"))
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(100)
    (data / "dtd/images/woven/test0.jpg").write_bytes(content)
    code, found = doctor()
    assert (code, textures(found)["undecoded"]) == (0, 1)
    code, found = doctor("--deep")
    assert (code, found["deep"]) == (1, True)
    assert textures(found)["unreadable"]["first"][0].startswith("woven/test0.jpg (")
    assert textures(found)["undecoded"] == 0


def test_lists_that_a_run_refuses_are_damage(doctor, data):
    path = data / "dtd/split_zhou_DescribableTextures.json"
    split = json.loads(path.read_text())
    split["test"][0][1] = 7
    path.write_text(json.dumps(split))
    code, found = doctor()
    assert (code, textures(found)["state"]) == (1, "damaged")
    assert "labels must run from 0 without gaps" in textures(found)["note"]
    path.unlink()
    assert "split_zhou_DescribableTextures.json: cannot be read" in textures(doctor()[1])["note"]


def test_link_that_leaves_the_image_folder_is_damage(doctor, data, tmp_path):
    remove(data)
    (tmp_path / "elsewhere.jpg").write_bytes(picture())
    (data / "dtd/images/woven/test0.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    code, found = doctor()
    assert (code, textures(found)["state"]) == (1, "damaged")
    assert "leaves the image folder" in textures(found)["note"]


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


def test_dataset_that_is_not_there_is_fetched_and_a_damaged_one_put_aside_before(doctor, data):
    remove(data)
    (data / "eurosat").mkdir()
    (data / "ucf101").mkdir()
    (data / "ucf101" / "notes.txt").write_text("a user's own")
    _, found = doctor(datasets=("--datasets", "dtd", "eurosat", "food101", "ucf101", "imagenet"))
    states = {dataset["name"]: (dataset["state"], dataset["next_command"]) for dataset in found["datasets"]}
    assert [state for state, _ in states.values()] == ["damaged", "missing", "missing", "missing", "missing"]
    for name, (_, line) in states.items():
        assert line.startswith("mv ") == (name in ("dtd", "ucf101")), name
        (options,) = typed(line)
        assert (options.download, options.data) == ([name], data)
    (options,) = typed(found["next_commands"][0])
    assert options.download == ["eurosat", "food101", "imagenet"], "in one command"
    assert len(found["next_commands"]) == 3


@pytest.mark.slow
def test_damaged_dataset_is_whole_again_once_the_advice_is_followed(doctor, data, tmp_path, capsys):
    shutil.make_archive(str(tmp_path / "archives" / "dtd"), "zip", data, "dtd")
    cut(data)
    code, found = doctor()
    assert code == 1
    aside, fetch = (shlex.split(part) for part in found["next_commands"][0].split(" && "))
    shutil.move(*aside[1:])
    assert run_all.main([*fetch[2:], "--from", str(tmp_path / "archives")]) == 0
    capsys.readouterr()
    assert doctor()[0] == 0
    assert (data / "dtd.damaged").is_dir()


def test_imagenet_with_a_damaged_picture_is_looked_at_again_once_its_owner_mended_it(doctor, data):
    for part in ("train", "val"):
        for synset in ("n01440764", "n01443537"):
            (data / "imagenet" / "images" / part / synset).mkdir(parents=True)
            (data / "imagenet" / "images" / part / synset / "0.JPEG").write_bytes(picture())
    (data / "imagenet" / "classnames.txt").write_text("n01440764 tench\nn01443537 goldfish\n")
    code, found = doctor(datasets=("--datasets", "imagenet"))
    assert (code, found["datasets"][0]["images"], found["datasets"][0]["catalogue_images"]) == (0, 4, 1331167)
    (data / "imagenet/images/val/n01440764/0.JPEG").write_bytes(b"")
    (options,) = typed(doctor(datasets=("--datasets", "imagenet"))[1]["next_commands"][0])
    assert (options.doctor, options.datasets, options.download) == (True, ["imagenet"], None)
    (data / "imagenet" / "classnames.txt").unlink()
    (options,) = typed(doctor(datasets=("--datasets", "imagenet"))[1]["next_commands"][0])
    assert options.download == ["imagenet"], "which says where the file is had"


@pytest.mark.slow
def test_damaged_picture_of_the_embedded_suite_is_drawn_anew_as_advised(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COPL_BENCHMARK_CACHE", str(tmp_path))
    arguments = ["--doctor", "--json", "--datasets", "synth_actions", "--out", str(tmp_path / "out")]

    def look():
        code = run_all.main(arguments)
        (dataset,) = json.loads(capsys.readouterr().out)["datasets"]
        return code, dataset

    code, dataset = look()
    assert (code, dataset["state"]) == (0, "to be drawn")
    materialise(Path(dataset["folder"]).parent, ["synth_actions"])
    code, dataset = look()
    assert (code, dataset["state"]) == (0, "present")
    next(Path(dataset["folder"]).rglob("*.png")).unlink()
    code, dataset = look()
    assert (code, dataset["state"]) == (1, "damaged")
    assert dataset["next_command"] == f"rm -r {dataset['folder']}"
    shutil.rmtree(dataset["folder"])
    assert look()[0] == 0


def test_own_dataset_is_looked_at_beside_the_catalogues(doctor, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "own" / name / f"{number}.png").write_bytes(picture("PNG"))
    own = f"own={tmp_path / 'own'}"
    code, found = doctor("--dataset", own, datasets=("--datasets", "own"))
    (dataset,) = found["datasets"]
    assert (code, dataset["state"], dataset["images"], dataset["catalogue_images"]) == (0, "present", 6, None)
    (tmp_path / "own" / "c").mkdir()
    code, found = doctor("--dataset", own, datasets=("--datasets", "own"))
    assert code == 1
    assert "holds no image" in found["datasets"][0]["note"]
    (options,) = typed(found["datasets"][0]["next_command"])
    assert (options.doctor, options.own) == (True, [own])
    code, found = doctor("--dataset", "own=nowhere", datasets=("--datasets", "own"))
    assert (code, found["datasets"][0]["state"]) == (1, "missing")


def test_backbone_that_a_run_refuses_is_a_problem_in_its_words(doctor, tmp_path):
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
def test_backbone_to_be_fetched_is_as_large_as_what_a_run_would_fetch(doctor, monkeypatch, tmp_path, files, wanted):
    monkeypatch.setattr(locate.HfApi, "model_info", lambda *given, **options: hub_files(**files))
    code, found = doctor(backbone="somebody/clip")
    assert code == 0
    assert (found["backbone"]["state"], found["backbone"]["size_bytes"]) == ("to be fetched", wanted)


def test_hub_that_does_not_answer_is_a_problem_with_a_way_around(doctor, monkeypatch):
    def silent(*given, **options):
        raise TimeoutError

    monkeypatch.setattr(locate.HfApi, "model_info", silent)
    code, found = doctor(backbone="somebody/clip")
    assert (code, found["backbone"]["state"], found["backbone"]["size_bytes"]) == (1, "to be fetched", None)
    assert "hf download somebody/clip --local-dir FOLDER" in found["problems"][0]


def test_recipe_that_a_run_refuses_is_a_problem(doctor):
    code, found = doctor("--set", "coop.epoch=2")
    assert code == 1
    assert "Did you mean 'epochs'?" in found["problems"][0]


def test_results_folder_that_cannot_be_written_is_a_problem(doctor, tmp_path):
    (tmp_path / "out").write_text("in the way")
    code, found = doctor()
    assert code == 1
    assert "give --out another folder" in found["problems"][0]


def test_full_disk_is_a_problem(doctor, monkeypatch):
    monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    code, found = doctor()
    assert code == 1
    assert "(results) cannot be written" in found["problems"][0]
    assert "less than 1 GB is free" in found["disks"][0]["note"]


def test_disk_without_room_for_the_backbone_is_a_problem(doctor, monkeypatch):
    monkeypatch.setattr(benchmark.doctor, "bytes_on_hub", lambda name, timeout: 10**18)
    code, found = doctor(backbone="somebody/clip")
    assert code == 1
    assert "has no room for the backbone" in found["problems"][0]


def test_limit_of_the_cache_that_is_no_number_is_a_problem(doctor, monkeypatch):
    monkeypatch.setenv("COPL_BENCHMARK_CACHE_GB", "much")
    code, found = doctor()
    assert code == 1
    assert "must be a number of gigabytes" in found["problems"][0]


def test_versions_are_held_against_what_the_requirements_name(monkeypatch):
    found = {package.name: package for package in surroundings.look_at_versions()}
    assert {"python", "torch", "transformers", "accelerate"} <= found.keys()
    assert [package.note for package in found.values()] == [None] * len(found), "the tests' own"
    monkeypatch.setattr(surroundings.importlib.metadata, "version", lambda name: "2.5.1")
    monkeypatch.setattr(surroundings.platform, "python_version", lambda: "3.9.2")
    found = {package.name: package for package in surroundings.look_at_versions()}
    assert "2.6 is the lowest" in found["torch"].note
    assert "3.11 to 3.13" in found["python"].note
    assert found["numpy"].note is None, "nothing is said of it"


@pytest.mark.parametrize("arguments, message", [
    (["--json"], "belongs to --doctor"),
    (["--doctor", "--data", "/nowhere"], "there is no such folder"),
    (["--doctor", "--methods", "cop"], "'cop' is not a method"),
])  # fmt: skip
def test_wrong_command_line_is_exit_code_2_as_ever(capsys, arguments, message):
    assert run_all.main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_tables_say_what_a_newcomer_needs(data, tmp_path, capsys):
    remove(data)
    arguments = ["--doctor", "--data", str(data), "--backbone", "embedded", "--out", str(tmp_path / "out")]
    assert run_all.main(arguments) == 1
    out = capsys.readouterr().out
    for text in ("dtd", "damaged", "1 of 8 listed images are not there: woven/test0.jpg", "This run would not start",
                 "disk of", "image features", "torch"):  # fmt: skip
        assert text in out
    assert not [line for line in out.splitlines() if "\r" in line]


def test_many_files_are_looked_at_in_other_processes_with_the_same_outcome(tmp_path, monkeypatch):
    monkeypatch.setitem(MANY, False, 4)
    paths = [f"{number}.jpg" for number in range(6)]
    for path in paths[:4]:
        (tmp_path / path).write_bytes(picture(size=(10, 10)))
    done = []
    one, several = (look_at_all(str(tmp_path), paths, deep=False, processes=n, advance=done.append) for n in (1, 2))
    assert one == several
    assert [finding.kind for finding in one[0]] == ["odd"] * 4 + ["missing"] * 2
    assert sum(done) == 12


@pytest.mark.golden
def test_real_photographs_are_present_as_a_subset(shared):
    survey = survey_known("caltech101", shared / "data", How())
    assert (survey.state, survey.images, survey.classes) == ("present", 1400, 100)
    assert survey.missing.count == survey.unreadable.count == survey.undecoded == 0
    assert "1400 of 8242 images" in note_on(survey)
    assert survey_known("caltech101", shared / "data", How(deep=True)).state == "present"
