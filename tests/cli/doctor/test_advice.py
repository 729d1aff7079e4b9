"""The commands that the doctor suggests are valid and repair what it found."""

import shlex
import shutil

import benchmark.__main__
import run_all
from tests.cli.doctor.conftest import cut, image_bytes, remove, textures, typed

BY_HAND = ": correct what its note names, then run the same command again"


def test_missing_dataset_is_downloaded_and_damaged_one_is_moved_first(doctor, data):
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


def test_damaged_imagenet_is_repaired_by_hand(doctor, data):
    for part in ("train", "val"):
        for synset in ("n01440764", "n01443537"):
            (data / "imagenet" / "images" / part / synset).mkdir(parents=True)
            (data / "imagenet" / "images" / part / synset / "0.JPEG").write_bytes(image_bytes())
    (data / "imagenet" / "classnames.txt").write_text("n01440764 tench\nn01443537 goldfish\n")
    code, found = doctor(datasets=("--datasets", "imagenet"))
    assert (code, found["datasets"][0]["images"], found["datasets"][0]["catalogue_images"]) == (0, 4, 1331167)
    (data / "imagenet/images/val/n01440764/0.JPEG").write_bytes(b"")
    _, found = doctor(datasets=("--datasets", "imagenet"))
    assert found["next_commands"] == [] and BY_HAND in found["problems"][0]
    (data / "imagenet" / "classnames.txt").unlink()
    (options,) = typed(doctor(datasets=("--datasets", "imagenet"))[1]["next_commands"][0])
    assert options.download == ["imagenet"], "which prints where to get the file"


def test_custom_dataset_is_checked_and_its_owner_told_what_to_change(doctor, tmp_path, capsys):
    for name in ("a", "A"):
        (tmp_path / "own" / name).mkdir(parents=True)
        (tmp_path / "own" / name / "left.heic").touch()
        for number in range(3):
            (tmp_path / "own" / name / f"{number}.png").write_bytes(image_bytes("PNG"))
    own = f"own={tmp_path / 'own'}"
    code, found = doctor("--dataset", own, datasets=("--datasets", "own"))
    (dataset,) = found["datasets"]
    assert (code, dataset["state"], dataset["images"], dataset["catalogue_images"]) == (0, "present", 6, None)
    notes = [
        "left out: 2 .heic",
        "which prompts cannot tell apart: 'a' (0, 1)",
        "4 of 4 test images have the same bytes",
    ]
    for said in ("; ".join(dataset["warnings"]), dataset["note"], "".join(found["notes"])):
        assert [note in said for note in notes] == [True] * 3, "the doctor"
    assert run_all.main(["--plan", "--dataset", own, "--backbone", "embedded", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert [note in said for note in notes] == [True] * 3, "the plan"
    (tmp_path / "own" / "c").mkdir()
    code, found = doctor("--dataset", own, datasets=("--datasets", "own"))
    assert code == 1
    assert "contains no image; fill it or remove it" in found["datasets"][0]["note"]
    assert found["next_commands"] == [] and found["problems"] == [f"own is damaged{BY_HAND}"]
    (tmp_path / "own" / "c").rmdir()
    assert doctor("--dataset", own, datasets=("--datasets", "own"))[0] == 0
    code, found = doctor("--dataset", "own=nowhere", datasets=("--datasets", "own"))
    assert (code, found["datasets"][0]["state"]) == (1, "missing")


def test_advice_for_a_damaged_dataset_is_followed_and_works(doctor, data, tmp_path, capsys):
    shutil.make_archive(str(tmp_path / "archives" / "dtd"), "zip", data, "dtd")
    cut(data)
    aside, fetch = (shlex.split(part) for part in doctor()[1]["next_commands"][0].split(" && "))
    shutil.move(*aside[1:])
    assert benchmark.__main__.main([*fetch[3:], "--from", str(tmp_path / "archives")]) == 0
    capsys.readouterr()
    assert doctor()[0] == 0
    shutil.rmtree(data / "dtd" / "images")
    code, found = doctor()
    assert (code, textures(found)["state"]) == (1, "missing")
    assert "mv " not in found["next_commands"][0], "the split file waits for its images"
