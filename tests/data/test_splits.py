"""The field's few-shot samples, image by image; tests/test_properties.py has what holds for any dataset."""

import dataclasses
import hashlib
import json
import re

import pytest

from benchmark.data.catalog import Dataset, Item, load_dataset, relative_path
from benchmark.data.splits import few_shot, half
from benchmark.errors import ConfigError


def make(counts, name="toy"):
    """A dataset with counts[c] training images of class c, and six validation images."""
    names = tuple(f"class {c}" for c in range(len(counts)))
    train, val = ([Item(f"/{c}_{i}.jpg", c, names[c]) for c, count in enumerate(part) for i in range(count)]
                  for part in (counts, [6] * len(counts)))  # fmt: skip
    return Dataset(name=name, class_names=names, template="a {}.", train=train, val=val, test=[])


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
def test_class_names_counts_and_halves_equal_authors(caltech, golden):
    for which in ("all", "base", "new"):
        dataset, wanted = half(caltech, which), golden[which]
        assert list(dataset.class_names) == wanted["classnames"]
        assert all(len(getattr(dataset, part)) == wanted[part] for part in ("train", "val", "test"))
        assert {item.label for item in dataset.test} == set(range(wanted["num_classes"]))
    assert caltech.split_sha256 == golden["split_file_sha256"]


@pytest.mark.golden
def test_sample_equals_authors_for_every_shot_count_and_seed(caltech, golden):
    assert len(golden["fewshot"]) == 15
    for key, wanted in golden["fewshot"].items():
        shots, seed = (int(re.sub(r"\D", "", part)) for part in key.split("_"))
        train, val = few_shot(caltech, shots=shots, seed=seed)
        sampled = dataclasses.replace(caltech, train=train, val=val)
        for which in wanted.keys() & {"all", "base", "new"}:
            part = half(sampled, which)
            for name in ("train", "val"):
                lines = [f"{relative_path(part, item)} {item.label}" for item in getattr(part, name)]
                assert len(lines) == wanted[which][f"n_{name}"]
                assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == wanted[which][f"{name}_sha256"]


def test_imagenet_keeps_its_validation_list():
    dataset = make([20] * 5, name="imagenet")
    assert few_shot(dataset, 4, 1)[1] == dataset.val


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: few_shot(make([2, 2]), 0, 1), "shots must be 1 or more"),
        (lambda: few_shot(make([2, 2]), 1, -1), "seed 0 or more"),
        (lambda: half(make([2, 2]), "old"), "'old' is unknown"),
        (lambda: half(make([2]), "base"), "cannot be cut"),
    ],
)
def test_impossible_samples_and_halves_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
