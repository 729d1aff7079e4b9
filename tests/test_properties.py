"""Properties of samples, specs, records and configurations for arbitrary values."""

import dataclasses
import json
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.common.config import RunSpec, Suite, Training
from benchmark.common.validation import build
from benchmark.common.yaml import parse_scalar
from benchmark.data.catalog import Dataset, Item
from benchmark.data.splits import few_shot, half
from benchmark.errors import ConfigError
from benchmark.records.record import RunRecord, Score

FEW = settings(max_examples=25, deadline=None, derandomize=True)
TEXT = st.text(st.sampled_from("aB_.- {}é中🦊\"'\\/\n"), max_size=8)
NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True).filter(lambda name: name.lower() != "failed")
SCALAR = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
VALUE = SCALAR | TEXT | st.lists(SCALAR | TEXT, max_size=3) | st.dictionaries(TEXT, SCALAR, max_size=2)
TRAINING = st.builds(Training, epochs=st.integers(1, 300), batch_size=st.integers(1, 99),
                     learning_rate=st.floats(1e-9, 10), warmup_epochs=st.integers(0, 1))  # fmt: skip
FIELDS = {
    "suite": NAME, "protocol": NAME, "method": NAME, "dataset": NAME, "shots": st.integers(0, 99),
    "seed": st.integers(0, 10**9), "backbone": TEXT.filter(str.isprintable), "checkpoint": TEXT, "split": TEXT,
    "template": TEXT, "precision": st.sampled_from(["fp32", "tf32", "bf16", "fp16"]), "plugin": TEXT,
    "options": st.dictionaries(TEXT, VALUE, max_size=3), "training": st.none() | TRAINING,
    "targets": st.dictionaries(NAME, TEXT, max_size=2),
}  # fmt: skip
SPECS = st.builds(RunSpec, **FIELDS)


@st.composite
def datasets(draw):
    """Classes in any order of appearance, each with any number of images."""
    count = draw(st.integers(2, 7))

    def items(part):
        labels = draw(st.lists(st.integers(0, count - 1), max_size=30)) + draw(st.permutations(range(count)))
        return [Item(f"/images/{part}{number}.jpg", label, f"c{label}") for number, label in enumerate(labels)]

    return Dataset(
        name="toy", class_names=tuple(f"c{label}" for label in range(count)), template="{}.", image_root="/images",
        train=items("train"), val=items("val"), test=items("test"),
    )  # fmt: skip


@given(dataset=datasets(), shots=st.integers(1, 8), seed=st.integers(0, 2**40))
@FEW
def test_sample_has_its_size_and_order_and_touches_no_global_state(dataset, shots, seed):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()
    train, val = few_shot(dataset, shots, seed)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist())
    assert (train, val) == few_shot(dataset, shots, seed)
    for sample, whole, wanted in ((train, dataset.train, shots), (val, dataset.val, min(shots, 4))):
        assert set(sample) <= set(whole)
        assert len(set(sample)) == len(sample)
        labels = [item.label for item in sample]
        assert list(dict.fromkeys(labels)) == list(dict.fromkeys(item.label for item in whole))
        assert labels == sorted(labels, key=list(dict.fromkeys(labels)).index), "images of one class are adjacent"
        for label in range(len(dataset.class_names)):
            assert labels.count(label) == min(wanted, [item.label for item in whole].count(label))


@given(dataset=datasets())
@FEW
def test_halves_share_nothing_and_are_the_whole(dataset):
    base, new = half(dataset, "base"), half(dataset, "new")
    assert base.class_names + new.class_names == dataset.class_names
    assert len(base.class_names) == math.ceil(len(dataset.class_names) / 2)
    for part in ("train", "val", "test"):
        whole, first, second = (getattr(which, part) for which in (dataset, base, new))
        assert [item.path for item in whole if item.label < len(base.class_names)] == [item.path for item in first]
        assert {item.path for item in first}.isdisjoint(item.path for item in second)
        assert len(first) + len(second) == len(whole)
        for which in (base, new):
            found = getattr(which, part)
            assert {item.label for item in found} == set(range(len(which.class_names)))
            assert all(which.class_names[item.label] == item.class_name for item in found)


@given(spec=SPECS, data=st.data(), name=st.sampled_from(sorted(FIELDS)))
@FEW
def test_spec_survives_json_with_its_hash_which_changes_with_any_field(spec, data, name):
    again = build(RunSpec, json.loads(json.dumps(spec.to_json())), "spec")
    assert (again, again.hash, hash(again)) == (spec, spec.hash, hash(spec))
    other = dataclasses.replace(spec, **{name: data.draw(FIELDS[name])})
    same = other.to_json() == spec.to_json()
    assert (other.hash == spec.hash, other == spec) == (same, same)


ANY = st.recursive(
    SCALAR | TEXT | st.sampled_from([float("nan"), float("inf"), b"bytes", object, 1j, (), {1}]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.integers(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("cls", [Training, Suite, RunSpec, RunRecord, Score])
@given(data=st.data())
@settings(FEW, max_examples=20)
def test_any_values_build_an_instance_or_one_config_error(cls, data):
    names = [field.name for field in dataclasses.fields(cls)]
    raw = data.draw(st.dictionaries(st.sampled_from(names) | TEXT, ANY, max_size=len(names)) | ANY)
    try:
        built = build(cls, raw, "file.yaml")
    except ConfigError as error:
        assert str(error).startswith("file.yaml")
    else:
        assert isinstance(built, cls)


@given(text=st.text(st.sampled_from("a1.-+e:#{}[]\"'!&*? ,\n\\~é"), max_size=12))
@settings(FEW, max_examples=100)
def test_any_setting_is_a_value_or_one_config_error(text):
    try:
        value = parse_scalar(text)
    except ConfigError as error:
        assert "value" in str(error)
    else:
        assert isinstance(value, str | int | float | bool | list | dict | None)
