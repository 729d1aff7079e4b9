"""The doctor finds listed files that are missing, truncated, no images, or of odd size."""

import json
import shlex

import pytest

import run_all
from tests.cli.doctor.conftest import cut, image_bytes, remove, textures


def no_image(data):
    (data / "dtd/images/woven/test0.jpg").write_text("<html>Not found</html>")


def png_without_end(data):
    (data / "dtd/images/woven/test0.jpg").write_bytes(image_bytes("PNG")[:-100])


def folder_with_name_of_image(data):
    remove(data)
    (data / "dtd/images/woven/test0.jpg").mkdir()


def link_to_outside(data):
    path = data / "dtd/images/woven/test0.jpg"
    path.rename(data / "outside.jpg")
    path.symlink_to(data / "outside.jpg")


def test_link_that_leaves_the_image_folder_is_damage_and_bytes_after_an_image_are_not(doctor, data):
    with open(data / "dtd/images/woven/test0.jpg", "ab") as file:
        file.write(bytes(1000))
    assert doctor()[0] == 0
    link_to_outside(data)
    assert "leaves the image folder" in textures(doctor()[1])["note"]


@pytest.mark.parametrize("harm, kind", [
    (cut, "unreadable"), (no_image, "unreadable"), (png_without_end, "unreadable"), (remove, "missing"),
    (folder_with_name_of_image, "missing"),
])  # fmt: skip
def test_damaged_file_is_named_and_run_would_not_start(doctor, data, harm, kind):
    harm(data)
    code, found = doctor()
    dtd = textures(found)
    assert (code, dtd["state"], found["problems"]) == (1, "damaged", ["dtd is damaged"])
    assert dtd[kind]["count"] == 1
    assert dtd[kind]["first"][0].startswith("woven/test0.jpg")
    assert "woven/test0.jpg" in dtd["note"]
    assert found["next_commands"] == [dtd["next_command"]]
    assert run_all.main([*shlex.split(found["run_command"])[2:], "--plan"]) == 2, "a run would not start either"


@pytest.mark.parametrize("deep", [(), ("--deep",)])
def test_png_whose_pixels_are_all_there_is_complete_for_doctor_and_run(doctor, data, deep):
    (data / "dtd/images/woven/test0.jpg").write_bytes(image_bytes("PNG")[:-12])  # without IEND
    code, found = doctor(*deep)
    assert (code, textures(found)["unreadable"]["count"]) == (0, 0)
    assert run_all.main([*shlex.split(found["run_command"])[2:], "--plan"]) == 0


@pytest.mark.parametrize("size, odd", [((31, 40), True), ((32, 40), False), ((400, 32), True), ((320, 32), False)])
def test_odd_size_is_reported_and_no_problem(doctor, data, size, odd):
    (data / "dtd/images/woven/test0.jpg").write_bytes(image_bytes(size=size))
    code, found = doctor()
    assert code == 0
    named = [f"woven/test0.jpg ({size[0]} x {size[1]})"] if odd else []
    assert textures(found)["odd"] == {"count": len(named), "first": named}


def test_deep_finds_damage_between_header_and_end(doctor, data):
    content = bytearray(image_bytes("PNG"))
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(100)
    (data / "dtd/images/woven/test0.jpg").write_bytes(content)
    code, found = doctor()
    assert (code, textures(found)["undecoded"]) == (0, 1)
    code, found = doctor("--deep")
    assert (code, found["deep"]) == (1, True)
    assert textures(found)["unreadable"]["first"][0].startswith("woven/test0.jpg (")
    assert textures(found)["undecoded"] == 0


def test_refused_lists_are_damage(doctor, data):
    path = data / "dtd/split_zhou_DescribableTextures.json"
    split = json.loads(path.read_text())
    split["test"][0][1] = 7
    path.write_text(json.dumps(split))
    code, found = doctor()
    assert (code, textures(found)["state"]) == (1, "damaged")
    assert "labels must run from 0 without gaps" in textures(found)["note"]
    path.unlink()
    assert "split_zhou_DescribableTextures.json: cannot be read" in textures(doctor()[1])["note"]
