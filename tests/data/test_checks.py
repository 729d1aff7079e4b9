"""Damaged and hostile lists: refused in one message, and no file outside the image folder is read."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmark.data.catalog import load_dataset
from benchmark.data.layouts import leaves_folder
from benchmark.errors import DataError
from tests.data.conftest import PARTS, problems_of, split_of, write_image, write_pets, write_split

LEAVING = ("/etc/passwd", "../../secret.jpg", "a/../../../secret.jpg", "..\\..\\secret.jpg", "C:\\secret.jpg",
           "C:secret.jpg", "\\\\host\\share\\a.jpg", "//host/a.jpg", "", "a\0b.jpg")  # fmt: skip


def test_all_problems_of_lists_and_files_come_in_one_message(pets):
    split = split_of("gone.jpg", "../../secret.jpg")
    split["train"][0][1] = -1
    split["val"][0][2] = "another name"
    split["test"] += [["3/a.jpg", 4, "class 4"], split["test"][0], split["train"][1], ["only a path"]]
    write_split(pets, split)
    message = problems_of(pets)
    for part in (
        "leaves the image folder",
        "label -1 is below 0",
        "label 0 is called 'another name', and 'class 0' elsewhere",
        "labels must run from 0 without gaps; missing: 2, 3",
        "'0/test.jpg' is listed in test already",
        "'1/train.jpg' is listed in train already",
        "test[5] is ['only a path'], not [path, label as a whole number, class name]",
        "class 4 ('class 4') has no image in train",
        "'gone.jpg' is missing",
        "Fetch the dataset or its split file again",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 99_999, "is not JSON"),
        (b"[]", "must hold"),
        (b'{"train": []}', "no list 'val'"),
        (b'{"train": [], "val": [], "test": [], "test": []}', "the key 'test' is there twice"),
    ],
    ids=["depth", "list", "keys", "repeated"],
)
def test_split_file_of_another_form_is_refused(pets, content, reason):
    write_split(pets, content)
    assert reason in problems_of(pets)


@pytest.mark.parametrize("path", LEAVING)
def test_path_that_leaves_the_image_folder_is_refused_and_never_opened(pets, path):
    write_image(pets.parent / "secret.jpg")
    write_split(pets, split_of(path))
    for check_files in (False, True):
        message = problems_of(pets, check_files=check_files)
        assert "1 problem\n" in message
        assert f"the path {path.replace(chr(92), '/')!r} leaves the image folder" in message
    assert leaves_folder(path)
    assert not any(leaves_folder(ordinary) for ordinary in ("a.jpg", "a b/c..d.jpg", "...jpg"))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_missing_truncated_and_oversized_images_are_listed_together(pets, monkeypatch):
    images = pets / "oxford_pets" / "images"
    noise = Image.effect_noise((16, 16), 80).convert("RGB")
    for path, suffix in (("0/train.jpg", "JPEG"), ("1/train.jpg", "PNG"), ("0/val.jpg", "JPEG")):
        noise.save(images / path, suffix)
    for path in ("0/train.jpg", "1/train.jpg"):
        content = (images / path).read_bytes()
        (images / path).write_bytes(content[: len(content) // 2])
    (images / "0" / "val.jpg").write_bytes((images / "0" / "val.jpg").read_bytes() + b"\0" * 100)  # still complete
    (images / "0" / "test.jpg").write_bytes(b"")
    (images / "1" / "test.jpg").unlink()
    Image.new("RGB", (32, 32)).save(images / "1" / "val.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    load_dataset("oxford_pets", pets)
    message = problems_of(pets)
    assert "5 problems" in message
    for path in ("0/train.jpg", "1/train.jpg", "0/test.jpg"):
        assert f"'{path}' cannot be read as an image" in message
    assert "'1/test.jpg' is missing" in message
    assert "'1/val.jpg' has too many pixels (32 x 32)" in message


def test_message_is_short_and_printable_whatever_the_lists_contain(pets):
    split = split_of(*(f"../{number}.jpg" for number in range(500)), "a" * 5000 + ".jpg")
    split["train"][0] = ["a\ud800/\x1b[2J.jpg", 10**12, "class \udfff"]
    write_split(pets, split)
    message = problems_of(pets)
    assert len(message) < 6000
    assert "more\n" in message
    assert "is not valid text" in message
    assert "\x1b" not in message
    message.encode()


def test_links_within_the_image_folder_and_links_to_the_folders_are_allowed(pets, tmp_path):
    images = pets / "oxford_pets" / "images"
    (images / "0" / "linked.jpg").symlink_to("train.jpg")
    (images / "again").symlink_to("1")
    write_split(pets, split_of("0/linked.jpg", "again/train.jpg"))
    images.rename(tmp_path / "elsewhere")
    images.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "oxford_pets").symlink_to(pets / "oxford_pets")
    for root in (pets, tmp_path / "root"):
        assert len(load_dataset("oxford_pets", root, check_files=True).train) == 4


def test_links_out_of_the_image_folder_are_refused(pets, tmp_path):
    images = pets / "oxford_pets" / "images"
    write_image(tmp_path / "elsewhere" / "1.jpg")
    write_image(tmp_path / "elsewhere" / "2.jpg")
    write_image(pets / "oxford_pets" / "images2" / "a.jpg")
    (images / "0" / "linked.jpg").symlink_to(tmp_path / "elsewhere" / "1.jpg")
    (images / "more").symlink_to(tmp_path / "elsewhere")
    (images / "neighbor").symlink_to(pets / "oxford_pets" / "images2")  # a name that begins as the image folder's
    write_split(pets, split_of("0/linked.jpg", "more/1.jpg", "more/2.jpg", "neighbor/a.jpg"))
    message = problems_of(pets)
    assert "3 problems" in message
    assert "'0/linked.jpg' is a link that leaves the image folder" in message
    assert "link the whole image folder" in message
    assert "the folder 'more' is a link that leaves" in message
    assert "the folder 'neighbor' is a link that leaves" in message


def test_link_loops_and_pipes_are_missing_files(pets, imagenet):
    images = pets / "oxford_pets" / "images"
    (images / "0" / "loop.jpg").symlink_to("loop.jpg")
    (images / "round").symlink_to("round")
    os.mkfifo(images / "0" / "pipe.jpg")
    paths = ("0/loop.jpg", "round/a.jpg", "0/pipe.jpg")
    write_split(pets, split_of(*paths))
    message = problems_of(pets)
    assert all(f"'{path}' is missing" in message for path in paths)
    (imagenet / "imagenet" / "images" / "train").unlink()
    (imagenet / "imagenet" / "images" / "train").symlink_to("train")
    assert "cannot be listed" in problems_of(imagenet, "imagenet")


TEXT = st.text(st.sampled_from("ab/.\\\0é\ud800"), max_size=6)
VALUES = st.sampled_from([None, True, 0, 1.5, float("nan"), 10**30, "a", [], ["0/train.jpg", 0], {}, {"train": []}])
PATHS = st.sampled_from([entry[0] for entries in split_of().values() for entry in entries]) | TEXT
ENTRIES = st.tuples(PATHS, st.integers(-1, 2) | VALUES, st.sampled_from(["class 0", "class 1"]) | TEXT)
SPLITS = st.fixed_dictionaries({part: st.lists(ENTRIES | VALUES, max_size=4) | VALUES for part in PARTS})


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """A data folder shared by the examples of a test, which change its split file only."""
    return write_pets(tmp_path_factory.mktemp("data"))


def assert_valid_or_refused(root):
    try:
        dataset = load_dataset("oxford_pets", root, check_files=True)
    except DataError as error:
        assert str(error)
        return
    inside = os.path.realpath(root / "oxford_pets" / "images")
    for item in (item for part in PARTS for item in getattr(dataset, part)):
        assert os.path.realpath(item.path).startswith(inside + os.sep)
        assert os.path.isfile(item.path)
        assert item.class_name == dataset.class_names[item.label]
    assert {item.label for item in dataset.test} == set(range(len(dataset.class_names)))


@given(split=SPLITS | VALUES)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_json_is_a_valid_dataset_or_one_error(fuzzed, split):
    write_split(fuzzed, split)
    assert_valid_or_refused(fuzzed)


@given(path=st.text(st.sampled_from("ab./\\:C~\0"), max_size=10))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_path_that_does_not_leave_is_below_the_folder(path):
    if not leaves_folder(path):
        assert f"{os.path.normpath(f'/images/{path}')}/".startswith("/images/")


def test_folders_of_cars_and_imagenet_may_be_links_and_files_in_them_must_not(imagenet, tmp_path):
    folder = tmp_path / "data" / "stanford_cars"
    folder.mkdir()
    split = {part: [[f"cars_{part}/{c}.jpg", c, f"class {c}"] for c in range(2)] for part in PARTS}
    for part in PARTS:
        for path, _, _ in split[part]:
            write_image(tmp_path / "mounted" / path)
        (folder / f"cars_{part}").symlink_to(tmp_path / "mounted" / f"cars_{part}")
    (folder / "split_zhou_StanfordCars.json").write_text(json.dumps(split))
    for name, linked in (("stanford_cars", "cars_train/0.jpg"), ("imagenet", "train/n01/a.JPEG")):
        load_dataset(name, tmp_path / "data", check_files=True)
        write_image(tmp_path / "secret.jpg")
        (tmp_path / "mounted" / linked).unlink()
        (tmp_path / "mounted" / linked).symlink_to(tmp_path / "secret.jpg")
        assert f"'{linked}' is a link that leaves the image folder" in problems_of(tmp_path / "data", name)


def test_file_name_that_is_not_utf8_is_refused(imagenet, tmp_path):
    (tmp_path / "mounted" / "train" / "n01" / os.fsdecode(b"caf\xe9.jpg")).touch()
    assert "is not valid text" in problems_of(imagenet, "imagenet")
