"""Reading datasets: every layout, and every kind of damage in one message."""

import json

import pytest
from PIL import Image

from benchmark.data.catalog import load_catalog, load_dataset
from benchmark.data.layouts import leaves_folder
from benchmark.errors import ConfigError, DataError

PARTS = ("train", "val", "test")


def write_images(folder, paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / path)


def good_split():
    return {part: [[f"{c}/{part}_{i}.jpg", c, f"class {c}"] for c in range(3) for i in range(2)] for part in PARTS}


@pytest.fixture
def pets(tmp_path):
    """pets(split): a folder with oxford_pets in it, whose split file is that; the images of a good one are there."""

    def make(split):
        folder = tmp_path / "oxford_pets"
        write_images(folder / "images", [entry[0] for entries in good_split().values() for entry in entries])
        content = split if isinstance(split, str) else json.dumps(split)
        (folder / "split_zhou_OxfordPets.json").write_text(content)
        return tmp_path

    return make


def problems_of(root, name="oxford_pets", **options):
    with pytest.raises(DataError) as caught:
        load_dataset(name, root, **options)
    return str(caught.value)


def test_split_file_is_read_in_its_order(pets):
    dataset = load_dataset("oxford_pets", pets(good_split()), check_files=True)
    assert dataset.class_names == ("class 0", "class 1", "class 2")
    assert [item.label for item in dataset.train] == [0, 0, 1, 1, 2, 2]
    assert dataset.train[0].path.endswith("oxford_pets/images/0/train_0.jpg")
    assert dataset.template == "a photo of a {}, a type of pet."


def test_backslashes_of_windows_split_files_are_paths(pets):
    split = good_split()
    split["train"][0][0] = split["train"][0][0].replace("/", "\\")
    assert load_dataset("oxford_pets", pets(split), check_files=True).train[0].path.endswith("/0/train_0.jpg")


def test_data_folder_is_left_as_it_was(pets):
    root = pets(good_split())
    before = sorted((p, p.stat().st_mtime_ns) for p in root.rglob("*"))
    load_dataset("oxford_pets", root, check_files=True)
    assert sorted((p, p.stat().st_mtime_ns) for p in root.rglob("*")) == before


def test_all_problems_of_a_split_file_come_in_one_message(pets):
    split = good_split()
    split["train"][0][0] = "../../etc/passwd"
    split["train"][1][1] = -1
    split["val"][0][2] = "another name"
    split["test"].append(["3/a.jpg", 5, "class 5"])
    split["test"].append(split["test"][0])
    split["test"].append(["only a path"])
    message = problems_of(pets(split))
    for part in (
        "leaves the image folder",
        "label -1 is below 0",
        "label 0 is called 'another name'",
        "labels must run from 0 without gaps; 3, 4 are missing",
        "is listed in test already",
        "not [path, label, class name]",
        "class 5 ('class 5') has no image in train",
        "Fetch the dataset or its split file again",
    ):
        assert part in message


def test_image_in_train_and_test_is_a_problem(pets):
    split = good_split()
    split["test"][0] = split["train"][0]
    assert "'0/train_0.jpg' is listed in train already" in problems_of(pets(split))


@pytest.mark.parametrize(
    "content, reason", [("{", "is not JSON"), ("[]", "must hold"), ('{"train": []}', "no list 'val'")]
)
def test_split_file_of_another_form_is_refused(pets, content, reason):
    assert reason in problems_of(pets(content))


def test_missing_damaged_and_empty_files_are_listed_together(pets):
    root = pets(good_split())
    images = root / "oxford_pets" / "images"
    (images / "0" / "train_0.jpg").unlink()
    (images / "1" / "test_0.jpg").write_bytes(b"")
    (images / "2" / "val_1.jpg").write_text("no picture")
    load_dataset("oxford_pets", root)
    message = problems_of(root, check_files=True)
    assert "3 problems" in message
    for part in ("'0/train_0.jpg' is missing", "'1/test_0.jpg' cannot be read", "'2/val_1.jpg' cannot be read"):
        assert part in message


def test_picture_that_was_cut_off_is_a_problem_and_one_with_something_behind_it_is_none(pets):
    root = pets(good_split())
    images = root / "oxford_pets" / "images"
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    for name, suffix in (("0/train_0.jpg", "JPEG"), ("1/train_0.jpg", "PNG"), ("2/train_0.jpg", "JPEG")):
        noise.save(images / name, suffix)
    for name in ("0/train_0.jpg", "1/train_0.jpg"):
        content = (images / name).read_bytes()
        (images / name).write_bytes(content[: len(content) // 2])
    whole = (images / "2" / "train_0.jpg").read_bytes()
    (images / "2" / "train_0.jpg").write_bytes(whole + b"\0" * 100)
    message = problems_of(root, check_files=True)
    assert "2 problems" in message
    assert "'0/train_0.jpg' cannot be read" in message
    assert "'1/train_0.jpg' cannot be read" in message


def test_damage_of_lists_and_of_files_comes_in_one_message(pets):
    split = good_split()
    split["train"][0][1] = 7
    root = pets(split)
    (root / "oxford_pets" / "images" / "2" / "test_1.jpg").unlink()
    message = problems_of(root, check_files=True)
    assert "labels must run from 0 without gaps" in message
    assert "'2/test_1.jpg' is missing" in message


def test_link_out_of_the_image_folder_is_refused(pets, tmp_path):
    root = pets(good_split())
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.jpg")
    inside = root / "oxford_pets" / "images" / "0" / "train_0.jpg"
    inside.unlink()
    inside.symlink_to(tmp_path / "outside.jpg")
    assert "leaves the image folder" in problems_of(root, check_files=True)


def test_many_problems_are_counted_not_all_shown(pets):
    split = good_split()
    split["train"] = [[f"../{i}.jpg", 0, "class 0"] for i in range(500)]
    message = problems_of(pets(split))
    assert len(message.splitlines()) < 70
    assert "more" in message


def test_dataset_given_as_the_data_folder_is_told_the_folder_above(pets):
    root = pets(good_split())
    assert f"give {root}." in problems_of(root / "oxford_pets")


def test_missing_folder_and_split_file_say_where_they_belong(tmp_path, pets):
    assert "there is no folder" in problems_of(tmp_path / "nowhere")
    root = pets(good_split())
    (root / "oxford_pets" / "split_zhou_OxfordPets.json").unlink()
    assert "split_zhou_OxfordPets.json: cannot be read" in problems_of(root)


def test_unknown_dataset_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'oxford_pets'"):
        load_dataset("oxford_pet", tmp_path)


@pytest.mark.parametrize(
    "path", ["../a.jpg", "a/../../b.jpg", "/etc/passwd", "C:\\a.jpg", "\\\\host\\a.jpg", "C:a.jpg", "", "a\0b.jpg"]
)
def test_paths_that_could_leave_are_recognised(path):
    assert leaves_folder(path)


def test_ordinary_paths_stay():
    assert not any(leaves_folder(path) for path in ("a.jpg", "a/b.jpg", "a b/c..d.jpg", "...jpg"))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_paths_labels_and_pictures_beyond_all_bounds_are_problems_like_others(pets, monkeypatch):
    split = good_split()
    split["train"][0][0] = "a" * 300 + ".jpg"
    split["train"][1][1] = 10**12
    root = pets(split)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # those of the fixture have 8 x 8
    message = problems_of(root, check_files=True)
    assert "aaa.jpg' cannot be read" in message
    assert "are missing" in message
    assert "has too many pixels (8 x 8)" in message


def test_all_missing_aircraft_lists_are_named_and_text_must_be_utf8(tmp_path):
    folder = tmp_path / "fgvc_aircraft"
    (folder / "images").mkdir(parents=True)
    (folder / "variants.txt").write_bytes("Airbus Caf\xe9\n".encode("latin-1"))
    assert "images_variant_train.txt, images_variant_val.txt, images_variant_test.txt missing" in problems_of(
        tmp_path, "fgvc_aircraft"
    )
    for part in ("train", "val", "test"):
        (folder / f"images_variant_{part}.txt").write_text("")
    assert "variants.txt: is not UTF-8 text (byte 10)" in problems_of(tmp_path, "fgvc_aircraft")


def test_aircraft_lists_are_read(tmp_path):
    folder = tmp_path / "fgvc_aircraft"
    write_images(folder / "images", [f"{i:07d}.jpg" for i in range(6)])
    (folder / "variants.txt").write_text("707-320\n727-200\n")
    for number, part in enumerate(PARTS):
        (folder / f"images_variant_{part}.txt").write_text(f"{2 * number:07d} 707-320\n{2 * number + 1:07d} 727-200\n")
    dataset = load_dataset("fgvc_aircraft", tmp_path, check_files=True)
    assert dataset.class_names == ("707-320", "727-200")
    assert [(len(getattr(dataset, part)), getattr(dataset, part)[1].label) for part in PARTS] == [(2, 1)] * 3
    (folder / "images_variant_val.txt").write_text("0000002 Concorde\n")
    assert "'Concorde' is not in variants.txt" in problems_of(tmp_path, "fgvc_aircraft")


@pytest.fixture
def imagenet(tmp_path):
    synsets = ["n01", "n02", "n03"]
    folder = tmp_path / "imagenet"
    for part in ("train", "val"):
        write_images(folder / "images" / part, [f"{s}/{s}_{i}.JPEG" for s in synsets for i in range(3)])
    (folder / "classnames.txt").write_text("n01 crane\nn02 crane\nn03 white wolf\n")
    return tmp_path


def test_imagenet_is_listed_in_sorted_order_and_scored_on_val(imagenet):
    dataset = load_dataset("imagenet", imagenet, check_files=True)
    assert dataset.class_names == ("crane", "crane", "white wolf")
    assert [item.label for item in dataset.train] == [0] * 3 + [1] * 3 + [2] * 3
    assert dataset.test == dataset.val
    assert "/images/val/n01/" in dataset.test[0].path


def test_shifted_imagenet_numbers_the_classes_it_has(imagenet):
    write_images(imagenet / "imagenet-adversarial" / "imagenet-a", ["n03/a.jpg", "n01/b.jpg"])
    dataset = load_dataset("imagenet_a", imagenet, check_files=True)
    assert dataset.class_names == ("crane", "white wolf")
    assert (dataset.train, [item.label for item in dataset.test]) == ([], [0, 1])


def test_imagenetv2_folders_are_lines_of_the_class_list(imagenet):
    folder = imagenet / "imagenetv2" / "imagenetv2-matched-frequency-format-val"
    write_images(folder, ["0/a.jpg", "1/b.jpg", "2/c.jpg"])
    assert [item.class_name for item in load_dataset("imagenetv2", imagenet).test] == ["crane", "crane", "white wolf"]
    write_images(folder, ["7/d.jpg"])
    assert "folder '7' is no line of classnames.txt" in problems_of(imagenet, "imagenetv2")


def test_folder_without_a_name_and_missing_class_list_are_refused(imagenet):
    write_images(imagenet / "imagenet" / "images" / "val", ["n04/x.jpg"])
    assert "folder 'n04' is not in classnames.txt" in problems_of(imagenet, "imagenet")
    (imagenet / "imagenet" / "classnames.txt").unlink()
    assert "classnames.txt: is missing. It is part" in problems_of(imagenet, "imagenet")


def test_catalogue_holds_the_papers_datasets_and_a_mirror_of_each():
    catalog = load_catalog()
    real = {name for name, entry in catalog.items() if entry.mirrors is None}
    mirrors = [entry.mirrors for entry in catalog.values() if entry.mirrors]
    assert len(real) == 15
    assert len(mirrors) == len(set(mirrors)) == 15
    assert set(mirrors) == real
    assert all(entry.template.count("{}") == 1 for entry in catalog.values())


@pytest.mark.golden
def test_real_split_files_are_sound_and_counted_as_the_catalogue_says(shared, tmp_path):
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
    dataset = load_dataset("caltech101", shared / "data", check_files=True)
    assert len(dataset.class_names) == 100
    assert len(load_dataset("imagenet", shared / "data", check_files=True).class_names) == 40
