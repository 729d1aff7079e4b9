"""Images that are in two lists under two names: refused if it is one file, noted if it is a copy."""

import os
import shutil

import pytest
from tqdm import tqdm

from benchmark.cli.doctor.datasets import SurveyOptions, survey_known
from benchmark.common.provenance import sha256_file
from benchmark.data import duplicates
from benchmark.data.catalog import load_dataset
from tests.data.conftest import problems_of, split_of, write_split


@pytest.mark.parametrize("spelling", ["./0/test.jpg", "0//test.jpg", "0/./test.jpg", ".\\0\\test.jpg"])
def test_spelling_does_not_hide_a_path(pets, spelling):
    write_split(pets, split_of(spelling))
    message = problems_of(pets, check_files=False)
    assert "'0/test.jpg' is listed in train already as" in message and "1 problem\n" in message


def symbolic(images):
    (images / "0/same.jpg").symlink_to("test.jpg")


def hard(images):
    os.link(images / "0/test.jpg", images / "0/same.jpg")


def linked_folder(images):
    (images / "same").symlink_to("0")


@pytest.mark.parametrize(
    ("link", "path"), [(symbolic, "0/same.jpg"), (hard, "0/same.jpg"), (linked_folder, "same/test.jpg")]
)
def test_links_do_not_hide_a_file(pets, link, path):
    link(pets / "oxford_pets" / "images")
    write_split(pets, split_of(path))
    assert f"test[0]: '0/test.jpg' is the same file as '{path}', listed in train" in problems_of(pets)
    split = split_of()
    split["test"].append([path, 0, "class 0"])
    write_split(pets, split)
    notes = load_dataset("oxford_pets", pets, check_files=True).notes
    assert (
        f"1 file listed twice in one list under two names, the first is '{path}' in test, which is '0/test.jpg'"
        in notes
    )


def test_copies_are_noted_and_only_probable_copies_are_read_whole(pets, monkeypatch):
    read = []
    monkeypatch.setattr(duplicates, "sha256_file", lambda file: read.append(file) or sha256_file(file))
    images = pets / "oxford_pets" / "images"
    for file in images.rglob("*.jpg"):
        file.write_bytes(file.read_bytes().ljust(2000, b"\0"))  # of one size, with other bytes
    assert load_dataset("oxford_pets", pets, check_files=True).notes == () and read == []
    shutil.copy(images / "1/val.jpg", images / "1/test.jpg")
    shutil.copy(images / "0/train.jpg", images / "0/test.jpg")
    (note,) = load_dataset("oxford_pets", pets, check_files=True).notes
    assert note.startswith(
        "2 of 2 test images have the same bytes as an image of train or val, the first is '0/test.jpg'"
    )
    assert "a copy of '0/train.jpg'" in note and len(read) == 4


def test_same_bytes_with_two_labels_in_one_list_are_noted_by_plan_and_doctor(pets):
    images = pets / "oxford_pets" / "images"
    shutil.copy(images / "0/test.jpg", images / "0/again.jpg")
    shutil.copy(images / "1/train.jpg", images / "1/again.jpg")
    split = split_of()
    split["test"].append(["0/again.jpg", 0, "class 0"])
    split["train"].append(["1/again.jpg", 1, "class 1"])
    write_split(pets, split)
    assert load_dataset("oxford_pets", pets, check_files=True).notes == (), "copies of one label"
    shutil.copy(images / "0/test.jpg", images / "1/test.jpg")
    note = (
        "3 images of test have the same bytes as one of it with another label, the first are '0/test.jpg' (label 0) "
        "and '1/test.jpg' (label 1); keep one"
    )
    assert load_dataset("oxford_pets", pets, check_files=True).notes == (note,)
    with tqdm(disable=True) as bar:
        found = survey_known("oxford_pets", pets, SurveyOptions(deep=False, processes=1, bar=bar))
    assert found.warnings == (note,)
