"""Custom datasets: class folders and split files, their splits, and one message for all problems."""

import json
import os
import re
import unicodedata
from pathlib import PurePath

import pytest
from PIL import Image, features

from benchmark.data.custom.dataset import load_custom, name_problems
from benchmark.data.splits import few_shot, half
from benchmark.errors import DataError
from benchmark.method import clean_class_names
from tests.data.conftest import PARTS
from tests.data.custom.conftest import problems_of, relative


def split_tree(classes=("cat", "dog"), parts=PARTS, count=2):
    return [f"{part}/{name}/{number}.png" for part in parts for name in classes for number in range(count)]


def one_tree(classes=("cat", "dog"), count=10):
    return [f"{name}/{number}.png" for name in classes for number in range(count)]


def sizes(dataset):
    return [len(getattr(dataset, part)) for part in PARTS]


def test_split_folders_are_read_with_labels_in_the_order_of_class_names(tree):
    folder = tree(*split_tree(("dog", "cat", "10", "9")), "train/cat/.hidden.png", "train/cat/notes.txt", "readme.md")
    dataset = load_custom("pets", folder, check_files=True)
    assert dataset.class_names == ("10", "9", "cat", "dog"), "as text"
    assert dataset.template == "a photo of a {}."
    assert relative(dataset.train, folder)[:3] == ["train/10/0.png", "train/10/1.png", "train/9/0.png"]
    assert [item.label for item in dataset.train] == [item.label for item in dataset.val] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (dataset.name, dataset.image_root) == ("pets", str(folder))


def test_val_may_be_missing_and_so_may_train(tree):
    assert sizes(load_custom("pets", tree(*split_tree(parts=("train", "test"))))) == [4, 0, 4]
    assert sizes(load_custom("pets", tree(*split_tree(parts=("test",)), folder="shifted"))) == [0, 0, 4]


@pytest.mark.parametrize(
    ("count", "yaml", "wanted"),
    [
        (2, "", [1, 0, 1]),
        (3, "", [1, 0, 2]),
        (5, "", [2, 1, 2]),
        (3, "split: {train: 0.1, val: 0.8}", [1, 1, 1]),
        (100, "split: {train: 0.29, val: 0}", [29, 0, 71]),
    ],
)
def test_class_folders_are_split_by_class(tree, count, yaml, wanted):
    folder = tree(*one_tree(count=count), "dataset.yaml")
    (folder / "dataset.yaml").write_text(yaml or "template: '{}.'")
    dataset = load_custom("pets", folder)
    labels = [[item.label for item in getattr(dataset, part)] for part in PARTS]
    assert [[part.count(label) for part in labels] for label in (0, 1)] == [wanted] * 2
    assert len({item.path for part in PARTS for item in getattr(dataset, part)}) == 2 * count


def test_split_depends_on_the_seed_and_hardly_on_one_more_image(tree):
    folder = tree(*one_tree(count=20))
    first, again = (load_custom("pets", folder) for _ in range(2))
    assert first == again
    tree("cat/new.png")
    more = load_custom("pets", folder)
    (folder / "dataset.yaml").write_text("split: {seed: 2}")
    moved = [len(set(one.train) - set(load_custom("pets", folder).train)) for one in (first, more)]
    assert len(set(first.train) - set(more.train)) <= 1 and min(moved) > 3


def test_class_names_may_be_of_any_script_and_accents_have_one_spelling(tree):
    names = ["hot dog", "O'Neill & <sons>", "große Straße", "犬"]
    assert sorted(load_custom("pets", tree(*split_tree(names)), check_files=True).class_names) == sorted(names)
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    folder = tree(f"train/{composed}/0.png", f"test/{decomposed}/0.png", folder="accents")
    assert load_custom("pets", folder, check_files=True).class_names == (composed,)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("0.png",), "contains no folder. Put the images of each class into a folder"),
        (("train/cat/0.png", "dog/0.png"), "contains dog, train. Allowed are train and test, these and val, test only"),
        (("bus/0.png", "train/0.png"), "set its name with 'classes' in the YAML"),
        ((*one_tree(), "cow/a.heic"), "'cow' contains no image; fill it or remove it (only 1 .heic)"),
        ((*split_tree(), "train/bat/a.txt"), "1 problem\n  - the class folder 'train/bat' contains no image"),
        ((*one_tree(), "cow/0.png"), "class 'cow' has 1 image; 2 are needed, one to train on and one to test"),
        ((*one_tree(), "cow/old/0.png"), "the class folder 'cow' contains the folder 'old'; put images directly in"),
    ],
)
def test_other_folders_are_refused_with_what_is_allowed(tree, paths, message):
    assert message in problems_of(tree(*paths))


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        (("Train", "Test"), ("train", "test")),
        (("train", "valid", "test"), PARTS),
        (("training", "Validation", "testing"), PARTS),
        (("train", "val"), ("train", "test")),
        (("TRAIN", "dev"), ("train", "test")),
    ],
)
def test_advice_to_rename_folders_makes_the_tree_valid(tree, parts, wanted):
    folder = tree(*split_tree(parts=parts))
    changes = re.findall(r"'(\w+)' to '(\w+)'", problems_of(folder))
    assert changes
    for old, new in changes:
        (folder / old).rename(folder / new)
    assert {path.name for path in folder.iterdir()} == {*wanted}
    assert sizes(load_custom("pets", folder, check_files=True)) == [4, 4 * ("val" in wanted), 4]


def test_what_pillow_reads_is_used_and_other_files_are_counted_by_suffix(tree):
    images = ["cat/a.jfif", "cat/b.JPE", "cat/c.pgm", *["cat/d.avif"] * features.check("avif")]
    others = ["cat/a.heic", "dog/b.HEIC", "dog/.hidden.png", "dog/none", "dog/a.jxl"]
    dataset = load_custom("pets", tree(*one_tree(), *images, *others, "flat.png"), check_files=True)
    assert {f"cat/{PurePath(item.path).name}" for part in PARTS for item in getattr(dataset, part)} > {*images}
    assert "5 files of class folders left out: 2 .heic, 1 hidden, 1 without suffix, 1 .jxl; convert" in dataset.notes[1]
    assert "1 image in no class folder left out, the first is flat.png" in dataset.notes[0]


def test_labels_with_one_name_in_prompts_are_noted(tree):
    names = ("hot_dog", "Hot Dog", "dog", "hot  dog")
    notes = load_custom("pets", tree(*split_tree(names))).notes
    assert notes == ("labels with one name, which prompts cannot tell apart: 'hot dog' (0, 2, 3)",)


def test_class_that_a_list_spells_in_another_way_is_named(tree):
    folder = tree(*split_tree(("red_circle", "dog"), ("train",)), *split_tree(("Red-Circle", "dog"), ("test",)))
    wanted = r"class 0 \('Red-Circle'\) has no image in train; class 2 \('red_circle'\) is another spelling"
    with pytest.raises(DataError, match=wanted):
        load_custom("pets", folder)


def test_names_that_programs_write_for_a_missing_value_are_noted(tree):
    notes = load_custom("pets", tree(*split_tree(("cat", "NaN", "banana", "<NA>")))).notes
    assert notes == ("class names that programs write for a missing value: '<NA>' (0), 'NaN' (1)",)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("big cat", "big\u00a0cat"), ("STRASSE", "strasse"), ("Stra\u00dfe", "strasse"), ("t-shirt", "t_shirt"),
        ("cat", "cat."), ("\u2167", "viii"), ("cat", "c\u00adat"), ("\u00c9tag\u00e8re", "\u00e9tag\u00e8re"),
        ("level1", "level_1"), ("boeing 737", "boeing737"), ("t-shirt", "t - shirt"), ("cat's", "cat 's"),
        ("cat's", "cat ' s"), ("ab", "a b"), ("1 2", "12"), ("a.-b", "a. -b"),
    ],
)  # fmt: skip
def test_names_are_noted_as_one_exactly_if_their_prompts_have_the_same_tokens(tree, clip, one, other):
    notes = load_custom("pets", tree(*split_tree((one, other)))).notes
    prompts = clip.tokenize([f"a photo of a {name}." for name in clean_class_names([one, other], "{}")])
    assert any("labels with one name" in note for note in notes) == (prompts[0] == prompts[1])


def test_invisible_characters_of_names_are_noted(tree):
    (note,) = load_custom("pets", tree(*split_tree(("cat", "dog\u200b")))).notes
    assert note == "class names with invisible characters, which change their prompts: 'dog\\u200b' (1)"


def test_images_beside_and_hidden_above_classes_are_noted(tree):
    folder = tree(*split_tree(), "cover.png", "train/.net/a.png", "train/.git/config", "test/loose.png")
    assert load_custom("pets", folder, check_files=True).notes == (
        "1 image in no class folder left out, the first is cover.png; move each into the folder of its class",
        "1 hidden folder with images left out, the first is train/.net; rename it and set its name with 'classes' in "
        "the YAML if it is a class",
        "1 image in no class folder left out, the first is test/loose.png; move each into the folder of its class",
    )


def test_problems_of_folders_yaml_and_images_come_together(tree, tmp_path):
    folder = tree(*one_tree(), "cow/0.png")
    (folder / "cat" / "3.png").write_bytes(b"")
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    (folder / "cat" / "linked.png").symlink_to(tmp_path / "outside.png")
    os.rename(folder / "dog" / "0.png", os.fsencode(folder) + b"/dog/\xff.png")
    (folder / "dataset.yaml").write_text("classes: {cta: feline}")
    message = problems_of(folder)
    for part in (
        "class 'cow' has 1",
        "'cat/3.png' cannot be read",
        "'cat/linked.png' is a link that leaves the image folder",
        r"\udcff.png' is not a UTF-8 name; rename it",
        "did you mean 'cat'?",
        "docs/your-own-data.md",
    ):
        assert part in message


def test_coop_split_file_is_read_with_its_image_folder(tree):
    folder = tree("jpg/a/0.png", "jpg/a/1.png")
    split = {"train": [["a/0.png", 0, "cat"]], "val": [], "test": [["a\\1.png", 0, "cat"]]}
    (folder / "split.json").write_text(json.dumps(split))
    (folder / "split.yaml").write_text("images: jpg\ntemplate: '{} up close.'")
    dataset = load_custom("pets", folder / "split.json", check_files=True)
    assert dataset.template == "{} up close."
    assert relative(dataset.test, folder) == ["jpg/a/1.png"]


def test_names_of_the_yaml_replace_class_names_and_labels_stay(tree):
    folder = tree(*split_tree(("bulldog", "poodle", "train_")))
    (folder / "dataset.yaml").write_text("classes: {bulldog: dog, poodle: dog, train_: ' train '}")
    dataset = load_custom("pets", folder)
    assert dataset.class_names == ("dog", "dog", "train"), "names may repeat, labels identify classes"
    assert {item.class_name for item in half(dataset, "new").test} == {"train"}


def test_split_hash_changes_with_lists_and_names_only(tree, tmp_path):
    folder = tree(*one_tree(count=6))

    def digest(yaml=""):
        (folder / "dataset.yaml").write_text(yaml)
        return load_custom("pets", folder).split_sha256

    plain = digest()
    assert digest("template: 'a {}.'") == plain, "the template is part of the spec"
    assert digest("classes: {cat: feline}") != plain
    assert digest("split: {seed: 2}") != plain
    (folder / "cat" / "9.png").write_bytes((folder / "cat" / "0.png").read_bytes())
    assert digest() != plain
    (folder / "cat" / "9.png").unlink()
    folder.rename(tmp_path / "moved")
    assert load_custom("pets", tmp_path / "moved").split_sha256 == plain


def test_sample_has_its_shots_and_the_users_folder_is_not_written(tree):
    folder = tree(*one_tree(count=10))
    before = sorted((path, path.stat().st_mtime_ns) for path in (folder, *folder.rglob("*")))
    train, val = few_shot(load_custom("pets", folder, check_files=True), shots=3, seed=1)
    assert [[item.label for item in sample] for sample in (train, val)] == [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1]]
    assert sorted((path, path.stat().st_mtime_ns) for path in (folder, *folder.rglob("*"))) == before


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["dtd"], "--dataset dtd: this name is taken already; choose another"),
        (["Objects"], "--dataset Objects: this name is taken"),
        (["../pets"], "--dataset '../pets' cannot name a folder"),
        (["failed"], "do not call it 'failed'"),
        (["pets", "Pets2", "PETS"], "--dataset PETS: differs from pets in capitals only"),
        (["pets", "flowers-2024", "objects", "my.data_1"], ""),
    ],
)
def test_names_that_are_taken_or_invalid_are_refused(names, message):
    problems = name_problems(names)
    assert message in "\n".join(problems)
    assert bool(problems) == bool(message)
