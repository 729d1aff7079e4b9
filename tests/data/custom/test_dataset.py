"""Own datasets: trees and split files are read, and everything that is wrong with one comes in one message."""

import json
import os
import unicodedata

import pytest
from PIL import Image

from benchmark.data.custom.dataset import load_own, name_problems
from benchmark.data.splits import few_shot, half
from benchmark.errors import ConfigError, DataError

PARTS = ("train", "val", "test")


def split_tree(classes=("cat", "dog"), parts=PARTS, count=2):
    return [f"{part}/{name}/{number}.png" for part in parts for name in classes for number in range(count)]


def one_tree(classes=("cat", "dog"), count=10):
    return [f"{name}/{number}.png" for name in classes for number in range(count)]


def relative(items, folder):
    return [os.path.relpath(item.path, folder) for item in items]


def problems_of(path, error=DataError):
    with pytest.raises(error) as caught:
        load_own("pets", path, check_files=True)
    return str(caught.value)


def test_split_tree_is_read_with_labels_in_the_order_of_folder_names(tree):
    folder = tree(*split_tree(("dog", "cat", "10", "9")))
    dataset = load_own("pets", folder, check_files=True)
    assert dataset.class_names == ("10", "9", "cat", "dog"), "as text"
    assert dataset.template == "a photo of a {}."
    assert relative(dataset.train, folder)[:3] == ["train/10/0.png", "train/10/1.png", "train/9/0.png"]
    assert [item.label for item in dataset.val] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (dataset.name, dataset.image_root) == ("pets", str(folder))


def test_split_tree_needs_no_val_and_may_be_a_test_alone(tree):
    dataset = load_own("pets", tree(*split_tree(parts=("train", "test"))))
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (4, 0, 4)
    shifted = load_own("pets", tree(*split_tree(parts=("test",)), below="shifted"))
    assert (len(shifted.train), len(shifted.val), len(shifted.test)) == (0, 0, 4)


def test_one_tree_is_cut_by_class_into_shares(tree):
    dataset = load_own("pets", tree(*one_tree(count=10)))
    counts = [[[item.label for item in getattr(dataset, part)].count(label) for label in (0, 1)] for part in PARTS]
    assert counts == [[5, 5], [2, 2], [3, 3]]
    paths = [item.path for part in PARTS for item in getattr(dataset, part)]
    assert len(set(paths)) == 20


@pytest.mark.parametrize(("count", "wanted"), [(2, [1, 0, 1]), (3, [1, 0, 2]), (4, [2, 0, 2]), (5, [2, 1, 2])])
def test_small_classes_keep_an_image_to_train_and_one_to_test(tree, count, wanted):
    dataset = load_own("pets", tree(*one_tree(count=count)))
    assert [len(getattr(dataset, part)) // 2 for part in PARTS] == wanted


def test_small_shares_leave_an_image_to_train_on_all_the_same(tree):
    folder = tree(*one_tree(count=3), "dataset.yaml")
    (folder / "dataset.yaml").write_text("split: {train: 0.1, val: 0.8}")
    assert [len(getattr(load_own("pets", folder), part)) // 2 for part in PARTS] == [1, 1, 1]


def test_cut_depends_on_the_seed_and_hardly_on_one_image_more(tree):
    folder = tree(*one_tree(count=20))
    first, again = (load_own("pets", folder) for _ in range(2))
    assert first == again
    tree("cat/new.png")
    wider = load_own("pets", folder)
    moved = {item.path for item in first.train} - {item.path for item in wider.train}
    assert len(moved) <= 1
    (folder / "dataset.yaml").write_text("split: {seed: 2}")
    other = load_own("pets", folder)
    assert len({item.path for item in wider.train} - {item.path for item in other.train}) > 3


def test_shares_of_the_yaml_are_in_force(tree):
    folder = tree(*one_tree(count=100), "dataset.yaml")
    (folder / "dataset.yaml").write_text("split: {train: 0.29, val: 0}")
    dataset = load_own("pets", folder)
    assert [len(getattr(dataset, part)) for part in PARTS] == [58, 0, 142]


def test_hidden_files_other_files_and_capitals_of_suffixes(tree):
    folder = tree(*one_tree(count=2), ".git/x.png", "cat/.hidden.png", "cat/notes.txt", "readme.md", "cat/C.PNG")
    dataset = load_own("pets", folder, check_files=True)
    names = {os.path.basename(item.path) for part in PARTS for item in getattr(dataset, part)}
    assert names == {"0.png", "1.png", "C.PNG"}
    assert dataset.class_names == ("cat", "dog")


def test_blanks_quotes_and_letters_of_any_script_are_names(tree):
    names = ["hot dog", "O'Neill & <sons>", "große Straße", "犬"]
    dataset = load_own("pets", tree(*split_tree(names)), check_files=True)
    assert sorted(dataset.class_names) == sorted(names)


def test_accents_in_two_spellings_are_one_class(tree):
    composed, split = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    folder = tree(f"train/{composed}/0.png", f"test/{split}/0.png")
    assert load_own("pets", folder, check_files=True).class_names == (composed,)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("0.png",), "holds no folder. Put the images of each class into a folder"),
        (("train/cat/0.png", "dog/0.png"), "holds dog, train. Allowed are train and test, these and val, test alone"),
        (("train/cat/0.png",), "holds train. Allowed are"),
        (("val/cat/0.png", "test/cat/0.png"), "holds test, val. Allowed are"),
        (("Train/cat/0.png", "Test/cat/0.png"), "holds Test, Train. Allowed are"),
        (("bus/0.png", "train/0.png"), "'classes' of the YAML gives its name"),
        ((*one_tree(), "cow/notes.txt"), "the class folder 'cow' holds no image; fill it or remove it"),
        ((*one_tree(), "cow/0.png"), "class 'cow' has 1 image; 2 are needed, one to train on and one to test"),
        ((*one_tree(), "cow/old/0.png"), "the class folder 'cow' holds the folder 'old'; images lie directly in"),
        ((*split_tree(), "test/cow/0.png"), "class 1 ('cow') has no image in train"),
        ((*split_tree(), "train/cow/0.png"), "class 1 ('cow') has no image in test"),
    ],
)
def test_tree_of_another_form_is_refused_and_told_what_is_allowed(tree, paths, message):
    assert message in problems_of(tree(*paths))


def test_class_folder_that_is_empty_everywhere_is_one_problem(tree):
    message = problems_of(tree(*split_tree(), "train/bat/notes.txt"))
    assert "1 problem\n" in message
    assert "the class folder 'train/bat' holds no image" in message


def test_problems_of_the_tree_the_yaml_and_the_pictures_come_together(tree):
    folder = tree(*one_tree(), "cow/0.png")
    (folder / "cat" / "3.png").write_bytes(b"")
    (folder / "dataset.yaml").write_text("classes: {cta: feline}")
    message = problems_of(folder)
    for part in ("3 problems", "class 'cow' has 1", "'cat/3.png' cannot be read", "did you mean 'cat'?",
                 "docs/your-own-data.md"):  # fmt: skip
        assert part in message


def test_name_that_is_no_text_is_refused(tree):
    folder = tree(*split_tree())
    os.rename(folder / "train" / "cat" / "0.png", os.fsencode(folder) + b"/train/cat/\xff.png")
    assert r"train[1]: 'train/cat/\udcff.png' is no UTF-8 name; rename it" in problems_of(folder)


def test_coop_split_file_is_read_with_its_image_folder(tree, tmp_path):
    folder = tree("jpg/a/0.png", "jpg/a/1.png")
    split = {"train": [["a/0.png", 0, "cat"]], "val": [], "test": [["a\\1.png", 0, "cat"]]}
    (folder / "split.json").write_text(json.dumps(split))
    (folder / "split.yaml").write_text("images: jpg\ntemplate: '{} up close.'")
    dataset = load_own("pets", folder / "split.json", check_files=True)
    assert dataset.template == "{} up close."
    assert relative(dataset.test, folder) == ["jpg/a/1.png"]


def test_link_out_of_an_own_folder_is_refused(tree, tmp_path):
    folder = tree(*split_tree())
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    (folder / "train" / "cat" / "2.png").symlink_to(tmp_path / "outside.png")
    assert "'train/cat/2.png' is a link that leaves the image folder" in problems_of(folder)


def test_corrected_names_stand_in_prompts_and_labels_stay(tree):
    folder = tree(*split_tree(("bulldog", "poodle", "train_")))
    (folder / "dataset.yaml").write_text("classes: {bulldog: dog, poodle: dog, train_: ' train '}")
    dataset = load_own("pets", folder)
    assert dataset.class_names == ("dog", "dog", "train"), "names may repeat, labels identify classes"
    assert {item.class_name for item in half(dataset, "new").test} == {"train"}


def test_hash_of_the_split_changes_with_all_that_decides_lists_and_names_and_nothing_else(tree, tmp_path):
    folder = tree(*one_tree(count=6))

    def digest(yaml=""):
        (folder / "dataset.yaml").write_text(yaml)
        return load_own("pets", folder).split_sha256

    plain = digest()
    assert digest("template: 'a {}.'") == plain, "the template stands in the spec"
    assert digest("classes: {cat: feline}") != plain
    assert digest("split: {seed: 2}") != plain
    (folder / "cat" / "9.png").write_bytes((folder / "cat" / "0.png").read_bytes())
    assert digest() != plain
    (folder / "cat" / "9.png").unlink()
    folder.rename(tmp_path / "moved")
    assert load_own("pets", tmp_path / "moved").split_sha256 == plain


def test_user_folder_is_left_as_it_was(tree):
    folder = tree(*split_tree(), "dataset.yaml")
    (folder / "dataset.yaml").write_text("template: 'a {}.'")
    before = sorted((p, p.stat().st_mtime_ns) for p in (folder, *folder.rglob("*")))
    load_own("pets", folder, check_files=True)
    assert sorted((p, p.stat().st_mtime_ns) for p in (folder, *folder.rglob("*"))) == before


def test_sample_of_an_own_dataset_is_drawn_as_of_any_other(tree):
    dataset = load_own("pets", tree(*one_tree(count=10)))
    train, val = few_shot(dataset, shots=3, seed=1)
    assert [item.label for item in train] == [0, 0, 0, 1, 1, 1]
    assert [item.label for item in val] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["dtd"], "--dataset dtd: the tables know something of this name already; choose another"),
        (["DTD"], "--dataset DTD: the tables know"),
        (["Objects"], "--dataset Objects: the tables know"),
        (["Average"], "--dataset Average: the tables know"),
        (["my pets"], "--dataset 'my pets' cannot name a folder"),
        (["../pets"], "cannot name a folder"),
        (["failed"], "do not call it 'failed'"),
        (["pets", "Pets2", "PETS"], "--dataset PETS: differs from pets in capitals alone"),
    ],
)
def test_name_that_something_else_has_is_refused(names, message):
    assert message in "\n".join(name_problems(names))


def test_ordinary_names_are_taken():
    assert name_problems(["pets", "flowers-2024", "objects", "my.data_1"]) == []


def test_yaml_with_wrong_values_is_one_message(tree):
    folder = tree(*one_tree())
    (folder / "dataset.yaml").write_text("template: a photo\nclasses: {cat: ' '}\n")
    message = problems_of(folder, ConfigError)
    assert "'template' must hold {} once" in message
    assert "'classes.cat' is empty" in message
