"""Loading datasets in each layout."""

import re
import subprocess

import pytest

from benchmark.data.catalog import load_catalog, load_dataset
from benchmark.errors import ConfigError
from tests.data.conftest import PARTS, problems_of, split_of, write_image, write_split


def test_split_file_is_read_in_its_order_and_nothing_is_written(pets):
    split = split_of("1\\train.jpg")  # a split file from Windows
    split["train"][1] = split["train"].pop()
    split["train"][1][1:] = [1, "class 1"]
    write_split(pets, split)
    before = sorted((path, path.stat().st_mtime_ns) for path in pets.rglob("*"))
    dataset = load_dataset("oxford_pets", pets, check_files=True)
    assert dataset.class_names == ("class 0", "class 1")
    assert [(item.path, item.label) for item in dataset.train] == [
        (f"{pets}/oxford_pets/images/{label}/train.jpg", label) for label in (0, 1)
    ]
    assert dataset.template == "a photo of a {}, a type of pet."
    assert sorted((path, path.stat().st_mtime_ns) for path in pets.rglob("*")) == before


@pytest.mark.parametrize("keys", [("train", "val"), ("Train", "Test"), ("train", "valid", "test"), ("test",)])
def test_advice_for_a_split_file_makes_it_valid(pets, keys):
    split = dict(zip(keys, (split_of()[part] for part in ("train", "val", "test")[-len(keys) :]), strict=True))
    write_split(pets, split)
    message = problems_of(pets)
    for old, new in re.findall(r"'(\w+)' to '(\w+)'", message):
        split[new] = split.pop(old)
    write_split(pets, split | {part: [] for part in re.findall(r'add "(\w+)": \[\]', message)})
    assert len(load_dataset("oxford_pets", pets, check_files=True).test) == 2
    write_split(pets, split_of() | {"extra": []})
    assert "'extra'; only train, val and test are used" in load_dataset("oxford_pets", pets).notes[0]


def test_missing_folders_and_files_are_named(pets, tmp_path):
    assert "there is no folder" in problems_of(tmp_path / "nowhere")
    assert f"give {pets}." in problems_of(pets / "oxford_pets"), "the dataset is given as the data folder"
    with pytest.raises(ConfigError, match="Did you mean 'oxford_pets'"):
        load_dataset("oxford_pet", pets)
    (pets / "oxford_pets" / "split_zhou_OxfordPets.json").unlink()
    assert "split_zhou_OxfordPets.json: cannot be read" in problems_of(pets)


def test_aircraft_lists_are_read_and_their_problems_named(tmp_path):
    folder = tmp_path / "fgvc_aircraft"
    for number in range(6):
        write_image(folder / "images" / f"{number:07d}.jpg")
    (folder / "variants.txt").write_bytes("Airbus Caf\xe9\n".encode("latin-1"))
    message = "images_variant_train.txt, images_variant_val.txt, images_variant_test.txt missing"
    assert message in problems_of(tmp_path, "fgvc_aircraft")
    for number, part in enumerate(PARTS):
        (folder / f"images_variant_{part}.txt").write_text(f"{2 * number:07d} 707-320\n{2 * number + 1:07d} 727-200\n")
    assert "variants.txt: is not UTF-8 text (byte 10)" in problems_of(tmp_path, "fgvc_aircraft")
    (folder / "variants.txt").write_text("\ufeff707-320\n727-200\n")
    dataset = load_dataset("fgvc_aircraft", tmp_path, check_files=True)
    assert dataset.class_names == ("707-320", "727-200")
    assert [[item.label for item in getattr(dataset, part)] for part in PARTS] == [[0, 1]] * 3
    (folder / "images_variant_val.txt").write_text("0000002 Concorde\n")
    assert "'Concorde' is not in variants.txt" in problems_of(tmp_path, "fgvc_aircraft")


def test_imagenet_as_its_archives_unpack_is_refused_and_the_advice_helps(imagenet):
    """Images lie flat in val/, train/ holds an archive for each class; a Windows editor wrote the class names."""
    names = imagenet / "imagenet" / "classnames.txt"
    names.write_text("\ufeff" + names.read_text())
    images = imagenet / "imagenet" / "images"
    whole = load_dataset("imagenet", imagenet, check_files=True)
    for part in ("n01", "n02"):
        (images / "val" / part / "a.JPEG").rename(images / "val" / f"{part}.JPEG")
        subprocess.run(
            ["tar", "-cf", f"../{part}.tar", "--remove-files", "a.JPEG"], cwd=images / "train" / part, check=True
        )
    message = problems_of(imagenet, "imagenet")
    assert "images/val has 2 images in no class folder, the first is 'n01.JPEG'; move each into" in message
    assert "docs/data.md" in message and "Fetch" not in message
    assert "images/train has 2 archives, the first is 'n01.tar'" in message
    subprocess.run(["bash", "-c", re.search("`(.*)`", message)[1]], cwd=images / "train", check=True)
    for part in ("n01", "n02"):  # as valprep.sh does
        (images / "val" / f"{part}.JPEG").rename(images / "val" / part / "a.JPEG")
    assert load_dataset("imagenet", imagenet, check_files=True) == whole
    (images / "val").rename(images / "Validation")
    assert f"{images}: has no folder 'val'. Rename 'Validation' to 'val'" in problems_of(imagenet, "imagenet")


def test_imagenet_is_listed_in_sorted_order_and_scored_on_val(imagenet):
    dataset = load_dataset("imagenet", imagenet, check_files=True)
    assert dataset.class_names == ("crane", "crane", "white wolf")
    assert [item.label for item in dataset.train] == [0, 1, 2]
    assert dataset.test == dataset.val
    assert "/images/val/n01/" in dataset.test[0].path


def test_shifted_imagenets_use_its_class_names(imagenet):
    for path in ("imagenet-adversarial/imagenet-a/n03/a.jpg", "imagenet-adversarial/imagenet-a/n01/b.jpg"):
        write_image(imagenet / path)
    dataset = load_dataset("imagenet_a", imagenet, check_files=True)
    assert dataset.class_names == ("crane", "white wolf"), "the classes that it has"
    assert (dataset.train, [item.label for item in dataset.test]) == ([], [0, 1])
    numbered = imagenet / "imagenetv2" / "imagenetv2-matched-frequency-format-val"
    for line in range(3):
        write_image(numbered / str(line) / "a.jpg")
    assert load_dataset("imagenetv2", imagenet).class_names == ("crane", "crane", "white wolf")
    write_image(numbered / "7" / "d.jpg")
    assert "folder '7' is not a line of classnames.txt" in problems_of(imagenet, "imagenetv2")
    (imagenet / "imagenet" / "classnames.txt").write_text("n01 crane\n")
    assert "folder 'n03' is not in classnames.txt" in problems_of(imagenet, "imagenet_a")
    (imagenet / "imagenet" / "classnames.txt").unlink()
    assert "classnames.txt: is missing (nor is it in" in problems_of(imagenet, "imagenet_a")


@pytest.mark.golden
def test_real_split_files_are_valid_and_counted_as_the_catalog_says(shared, tmp_path):
    checked = 0
    for name, entry in load_catalog().items():
        source = shared / "data" / "splits" / entry.split
        if not entry.split or not source.is_file():
            continue
        folder = tmp_path / entry.folder
        (folder / entry.images).mkdir(parents=True)
        (folder / entry.split).write_bytes(source.read_bytes())
        dataset = load_dataset(name, tmp_path)
        counts = {part: len(getattr(dataset, part)) for part in PARTS}
        assert (name, counts, len(dataset.class_names)) == (name, entry.counts, entry.classes)
        checked += 1
    assert checked == 7


@pytest.mark.golden
def test_real_photographs_are_read_and_checked(shared):
    assert len(load_dataset("caltech101", shared / "data", check_files=True).class_names) == 100
    assert len(load_dataset("imagenet", shared / "data", check_files=True).class_names) == 40
