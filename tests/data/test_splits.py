"""The field's sample, to the image; and the halves."""

import dataclasses
import hashlib
import json
import re

import pytest

from benchmark.data.catalog import Dataset, Item, load_dataset, relative_path
from benchmark.data.splits import few_shot, half
from benchmark.errors import ConfigError


def make(counts, name="toy"):
    """A dataset with counts[c] training images of class c, as many test images and six validation images."""

    def items(part, many):
        return [
            Item(f"/images/{part}/{c}_{i}.jpg", c, f"class {c}") for c in range(len(counts)) for i in range(many(c))
        ]

    names = tuple(f"class {c}" for c in range(len(counts)))
    return Dataset(
        name=name, class_names=names, template="a {}.", image_root="/images",
        train=items("train", lambda c: counts[c]), val=items("val", lambda c: 6),
        test=items("test", lambda c: counts[c]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def caltech(shared, tmp_path_factory):
    """The real Caltech101 split file, without its images."""
    root = tmp_path_factory.mktemp("data")
    (root / "caltech-101" / "101_ObjectCategories").mkdir(parents=True)
    split = (shared / "data" / "splits" / "split_zhou_Caltech101.json").read_bytes()
    (root / "caltech-101" / "split_zhou_Caltech101.json").write_bytes(split)
    return load_dataset("caltech101", root)


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "goldens" / "data" / "Caltech101.json").read_text())


@pytest.mark.golden
def test_class_list_counts_and_halves_equal_authors(caltech, golden):
    for which, dataset in (("all", caltech), ("base", half(caltech, "base")), ("new", half(caltech, "new"))):
        wanted = golden[which]
        assert list(dataset.class_names) == wanted["classnames"]
        assert [len(x) for x in (dataset.train, dataset.val, dataset.test)] == [
            wanted[p] for p in ("train", "val", "test")
        ]
        assert {item.label for item in dataset.test} == set(range(wanted["num_classes"]))
    assert caltech.split_sha256 == golden["split_file_sha256"]


@pytest.mark.golden
def test_sample_equals_authors_for_every_shot_count_and_seed(caltech, golden):
    assert len(golden["fewshot"]) == 15
    for key, wanted in golden["fewshot"].items():
        shots, seed = (int(re.sub(r"\D", "", part)) for part in key.split("_"))
        train, val = few_shot(caltech, shots=shots, seed=seed)
        sampled = dataclasses.replace(caltech, train=train, val=val)
        for which in ("all", "base", "new"):
            if which not in wanted:
                continue
            part = half(sampled, which)
            for name in ("train", "val"):
                items = getattr(part, name)
                lines = [f"{relative_path(part, item)} {item.label}" for item in items]
                assert len(items) == wanted[which][f"n_{name}"]
                assert lines[:5] == wanted[which][f"{name}_first5"]
                assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == wanted[which][f"{name}_sha256"]


def test_sample_is_the_same_for_the_same_seed_and_another_for_another():
    dataset = make([20] * 5)
    assert few_shot(dataset, 4, 1) == few_shot(dataset, 4, 1)
    assert few_shot(dataset, 4, 1) != few_shot(dataset, 4, 2)
    assert few_shot(dataset, 4, 0) != few_shot(dataset, 4, 1)


def test_class_with_fewer_images_than_shots_gives_all_of_them():
    train, val = few_shot(make([3, 20, 1]), 16, 1)
    assert [sum(i.label == c for i in train) for c in range(3)] == [3, 16, 1]
    assert [sum(i.label == c for i in val) for c in range(3)] == [4, 4, 4]


def test_imagenet_keeps_its_validation_list_whole():
    dataset = make([20] * 3, name="imagenet")
    assert few_shot(dataset, 4, 1)[1] == dataset.val


@pytest.mark.parametrize("count, base", [(2, 1), (3, 2), (10, 5), (47, 24), (1000, 500)])
def test_base_half_is_the_larger_one_and_labels_start_at_zero(count, base):
    dataset = make([1] * count)
    first, second = half(dataset, "base"), half(dataset, "new")
    assert (len(first.class_names), len(second.class_names)) == (base, count - base)
    assert [i.label for i in second.train] == list(range(count - base))
    assert first.class_names + second.class_names == dataset.class_names
    assert len(first.test) + len(second.test) == len(dataset.test)
    assert half(dataset, "all") is dataset


def test_what_cannot_be_drawn_or_cut_is_refused():
    with pytest.raises(ConfigError, match="shots must be 1 or more"):
        few_shot(make([2, 2]), 0, 1)
    with pytest.raises(ConfigError, match="seed 0 or more"):
        few_shot(make([2, 2]), 1, -1)
    with pytest.raises(ConfigError, match="'old' is unknown"):
        half(make([2, 2]), "old")
    with pytest.raises(ConfigError, match="cannot be cut"):
        half(make([2]), "base")
