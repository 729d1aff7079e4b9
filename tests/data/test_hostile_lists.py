"""Lists of images that nobody should have written: refused in one message, and nothing is read outside their folder."""

import json
import os
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmark.data.catalog import Dataset, load_dataset
from benchmark.data.layouts import leaves_folder
from benchmark.errors import DataError

PARTS = ("train", "val", "test")
CAFE = unicodedata.normalize("NFC", "café")


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def split_of(*paths):
    """A split file's content: two classes, and these more paths in class 0's training list."""
    split = {part: [[f"{c}/{part}.jpg", c, f"class {c}"] for c in range(2)] for part in PARTS}
    split["train"] += [[path, 0, "class 0"] for path in paths]
    return split


@pytest.fixture
def pets(tmp_path):
    """A data folder with oxford_pets in it, whole."""
    images = tmp_path / "data" / "oxford_pets" / "images"
    for entries in split_of().values():
        for entry in entries:
            put(images / entry[0])
    write_split(tmp_path / "data", split_of())
    return tmp_path / "data"


def write_split(root, split):
    content = split if isinstance(split, bytes) else json.dumps(split).encode()
    (root / "oxford_pets" / "split_zhou_OxfordPets.json").write_bytes(content)


def problems_of(root, name="oxford_pets", *, check_files=True):
    with pytest.raises(DataError) as caught:
        load_dataset(name, root, check_files=check_files)
    return str(caught.value)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../../secret.jpg", "a/../../../secret.jpg", "..\\..\\secret.jpg", "C:\\secret.jpg", "C:secret.jpg",
     "\\\\host\\share\\a.jpg", "//host/a.jpg", "", "a\0b.jpg"],
)  # fmt: skip
def test_path_that_leaves_the_image_folder_is_refused_and_never_looked_at(pets, path):
    put(pets.parent / "secret.jpg")
    write_split(pets, split_of(path))
    for check_files in (False, True):
        message = problems_of(pets, check_files=check_files)
        assert "1 problem\n" in message
        assert f"the path {path.replace(chr(92), '/')!r} leaves the image folder" in message


@pytest.mark.parametrize(
    "entry",
    [["0/train.jpg", True, "class 0"], ["0/train.jpg", 0.0, "class 0"], ["0/train.jpg", "0", "class 0"],
     [0, 0, "class 0"], ["0/train.jpg", 0, None], ["0/train.jpg", 0, " "], ["0/train.jpg", 0], "0/train.jpg", None, {}],
    ids=str,
)  # fmt: skip
def test_entry_of_another_form_is_named(pets, entry):
    write_split(pets, {**split_of(), "val": [entry]})
    assert f"val[0] is {entry!r}, not [path, label, class name]" in problems_of(pets)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"train": ' + b"9" * 5000 + b"}", b"\xff\xfe{", b"", b"\0"])
def test_content_that_no_reader_takes_is_one_error(pets, content):
    write_split(pets, content)
    assert "split_zhou_OxfordPets.json: is not JSON" in problems_of(pets)


def test_very_long_path_is_a_short_problem(pets):
    for path in ("a" * 5000 + ".jpg", "a/" * 2500 + "b.jpg"):
        write_split(pets, split_of(path))
        message = problems_of(pets)
        assert "cannot be read" in message or "is missing" in message
        assert len(message) < 500


def test_half_a_character_is_refused_and_can_be_printed(pets):
    write_split(pets, {**split_of("a\ud800/b.jpg"), "val": [["0/val.jpg", 0, "class \udfff"]]})
    message = problems_of(pets)
    assert message.count("is no text") == 2
    message.encode()


def test_control_characters_of_a_path_do_not_reach_the_terminal(pets):
    write_split(pets, split_of("\x1b[2Jgone.jpg"))
    message = problems_of(pets)
    assert r"'\x1b[2Jgone.jpg' is missing" in message
    assert "\x1b" not in message


def test_name_in_another_normal_form_is_another_file(pets):
    put(pets / "oxford_pets" / "images" / "0" / f"{CAFE}.jpg")
    write_split(pets, split_of(f"0/{CAFE}.jpg"))
    assert load_dataset("oxford_pets", pets, check_files=True).train[-1].path.endswith(f"{CAFE}.jpg")
    decomposed = unicodedata.normalize("NFD", CAFE)
    write_split(pets, split_of(f"0/{decomposed}.jpg"))
    if not (pets / "oxford_pets" / "images" / "0" / f"{decomposed}.jpg").exists():  # some systems take both for one
        assert f"'0/{decomposed}.jpg' is missing" in problems_of(pets)


def test_file_that_is_a_link_out_says_what_to_do(pets, tmp_path):
    put(tmp_path / "blobs" / "1.jpg")
    (pets / "oxford_pets" / "images" / "0" / "linked.jpg").symlink_to(tmp_path / "blobs" / "1.jpg")
    write_split(pets, split_of("0/linked.jpg"))
    message = problems_of(pets)
    assert "'0/linked.jpg' is a link that leaves the image folder" in message
    assert "link the whole image folder" in message


def test_link_within_the_image_folder_stays(pets):
    images = pets / "oxford_pets" / "images"
    (images / "0" / "linked.jpg").symlink_to("train.jpg")
    (images / "again").symlink_to("1")
    write_split(pets, split_of("0/linked.jpg", "again/train.jpg"))
    assert len(load_dataset("oxford_pets", pets, check_files=True).train) == 4


def test_class_folder_that_is_a_link_out_is_one_problem(pets, tmp_path):
    for number in range(3):
        put(tmp_path / "elsewhere" / f"{number}.jpg")
    (pets / "oxford_pets" / "images" / "more").symlink_to(tmp_path / "elsewhere")
    write_split(pets, split_of(*(f"more/{number}.jpg" for number in range(3))))
    message = problems_of(pets)
    assert message.count("leaves the image folder") == 1
    assert "the folder 'more' is a link that leaves" in message


def test_neighbour_whose_name_begins_alike_is_outside(pets):
    put(pets / "oxford_pets" / "images2" / "a.jpg")
    (pets / "oxford_pets" / "images" / "more").symlink_to(pets / "oxford_pets" / "images2")
    write_split(pets, split_of("more/a.jpg"))
    assert "the folder 'more' is a link that leaves" in problems_of(pets)


def test_image_folder_and_dataset_folder_may_be_links(pets, tmp_path):
    images = pets / "oxford_pets" / "images"
    images.rename(tmp_path / "pictures")
    images.symlink_to(tmp_path / "pictures")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "oxford_pets").symlink_to(pets / "oxford_pets")
    for root in (pets, tmp_path / "root"):
        assert len(load_dataset("oxford_pets", root, check_files=True).train) == 2
    outside = tmp_path / "secret.jpg"
    put(outside)
    (tmp_path / "pictures" / "0" / "linked.jpg").symlink_to(outside)
    write_split(pets, split_of("0/linked.jpg"))
    assert "'0/linked.jpg' is a link that leaves" in problems_of(pets)


@pytest.fixture
def imagenet(tmp_path):
    """ImageNet as CoOp's preparation says: images/train and images/val link to where it lies already."""
    for part in ("train", "val"):
        for synset in ("n01", "n02"):
            put(tmp_path / "mounted" / part / synset / "a.jpg")
    folder = tmp_path / "data" / "imagenet"
    (folder / "images").mkdir(parents=True)
    (folder / "classnames.txt").write_text("n01 crane\nn02 wolf\n")
    for part in ("train", "val"):
        (folder / "images" / part).symlink_to(tmp_path / "mounted" / part)
    return tmp_path / "data"


def test_train_and_val_of_imagenet_may_be_links_and_what_is_in_them_may_not(imagenet, tmp_path):
    assert len(load_dataset("imagenet", imagenet, check_files=True).test) == 2
    put(tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "mounted" / "train" / "n01" / "b.jpg").symlink_to(tmp_path / "elsewhere" / "b.jpg")
    assert "'train/n01/b.jpg' is a link that leaves" in problems_of(imagenet, "imagenet")
    (tmp_path / "mounted" / "train" / "n01" / "b.jpg").unlink()
    (tmp_path / "mounted" / "val" / "n01" / "a.jpg").unlink()
    (tmp_path / "mounted" / "val" / "n01").rmdir()
    (tmp_path / "mounted" / "val" / "n01").symlink_to(tmp_path / "elsewhere")
    assert "the folder 'val/n01' is a link that leaves" in problems_of(imagenet, "imagenet")


def test_picture_folders_of_a_dataset_without_an_image_folder_may_be_links(tmp_path):
    folder = tmp_path / "data" / "stanford_cars"
    folder.mkdir(parents=True)
    split = {part: [[f"cars_{part}/{c}.jpg", c, f"class {c}"] for c in range(2)] for part in PARTS}
    for part in PARTS:
        for c in range(2):
            put(tmp_path / "mounted" / part / f"{c}.jpg")
        (folder / f"cars_{part}").symlink_to(tmp_path / "mounted" / part)
    path = folder / "split_zhou_StanfordCars.json"
    path.write_text(json.dumps(split))
    assert len(load_dataset("stanford_cars", tmp_path / "data", check_files=True).train) == 2
    put(tmp_path / "secret.jpg")
    (folder / "top.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "mounted" / "train" / "in.jpg").symlink_to(tmp_path / "secret.jpg")
    split["train"] += [["top.jpg", 0, "class 0"], ["cars_train/in.jpg", 0, "class 0"]]
    path.write_text(json.dumps(split))
    assert problems_of(tmp_path / "data", "stanford_cars").count("is a link that leaves") == 2


def test_link_loops_are_problems_like_others(pets, imagenet):
    (pets / "oxford_pets" / "images" / "0" / "loop.jpg").symlink_to("loop.jpg")
    (pets / "oxford_pets" / "images" / "round").symlink_to("round")
    write_split(pets, split_of("0/loop.jpg", "round/a.jpg"))
    message = problems_of(pets)
    assert "'0/loop.jpg' is missing" in message
    assert "'round/a.jpg' is missing" in message
    (imagenet / "imagenet" / "images" / "train").unlink()
    (imagenet / "imagenet" / "images" / "train").symlink_to("train")
    assert "cannot be listed" in problems_of(imagenet, "imagenet")


def test_pipe_is_no_picture_and_nobody_waits_for_it(pets):
    os.mkfifo(pets / "oxford_pets" / "images" / "0" / "pipe.jpg")
    write_split(pets, split_of("0/pipe.jpg"))
    assert "'0/pipe.jpg' is missing" in problems_of(pets)


def test_file_name_that_is_no_text_is_refused(imagenet, tmp_path):
    try:
        (tmp_path / "mounted" / "train" / "n01" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes text alone")
    assert "is no text" in problems_of(imagenet, "imagenet")


TEXT = st.text(st.sampled_from("ab/.\\\0é\ud800"), max_size=6)
VALUES = st.sampled_from([None, True, 0, 1.5, float("nan"), 10**30, "a", [], ["0/train.jpg", 0], {}, {"train": []}])
PATHS = st.sampled_from([entry[0] for entries in split_of().values() for entry in entries]) | TEXT
ENTRIES = st.tuples(PATHS, st.integers(-1, 2) | VALUES, st.sampled_from(["class 0", "class 1"]) | TEXT)
SPLITS = st.fixed_dictionaries({part: st.lists(ENTRIES | VALUES, max_size=4) | VALUES for part in PARTS})


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """A data folder that the examples of one test share; they write its split file alone."""
    root = tmp_path_factory.mktemp("data")
    for entries in split_of().values():
        for entry in entries:
            put(root / "oxford_pets" / "images" / entry[0])
    return root


def read(root):
    """The dataset, or None where it is refused; whatever else is raised fails a test."""
    try:
        return load_dataset("oxford_pets", root, check_files=True)
    except DataError as error:
        assert str(error)
        return None


def assert_sound(dataset: Dataset, root) -> None:
    inside = os.path.realpath(root / "oxford_pets" / "images")
    for part in PARTS:
        for item in getattr(dataset, part):
            assert os.path.realpath(item.path).startswith(inside + os.sep)
            assert os.path.isfile(item.path)
            assert item.class_name == dataset.class_names[item.label]
    labels = {item.label for item in dataset.test}
    assert labels == set(range(len(dataset.class_names)))


@given(split=SPLITS | VALUES)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_json_is_a_sound_dataset_or_one_error(fuzzed, split):
    write_split(fuzzed, split)
    dataset = read(fuzzed)
    if dataset is not None:
        assert_sound(dataset, fuzzed)


@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_change_of_a_sound_split_file_is_a_sound_dataset_or_one_error(fuzzed, data):
    content = bytearray(json.dumps(split_of()).encode())
    start = data.draw(st.integers(0, len(content)))
    content[start : start + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    write_split(fuzzed, bytes(content))
    dataset = read(fuzzed)
    if dataset is not None:
        assert_sound(dataset, fuzzed)


@given(path=st.text(st.sampled_from("ab./\\:C~\0"), max_size=10))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_path_that_does_not_leave_lies_below_on_this_system(path):
    if not leaves_folder(path):
        assert os.path.normpath(f"/images/{path}").startswith("/images")
        assert not os.path.normpath(f"/images/{path}").startswith("/images/..")
