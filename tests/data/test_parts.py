"""Names of lists: what users call train, val and test."""

import pytest

from benchmark.data.parts import meant_part, rename_advice


@pytest.mark.parametrize(
    ("name", "part"),
    [("Train", "train"), ("valid", "val"), ("training_set", "train"), ("testset", "test"), ("val-images", "val"),
     ("seg_train", "train"), ("test data", "test"), ("dev", "val"), ("offset", None), ("set", None), ("cat", None),
     ("train station", None), ("testing ground", None)],
)  # fmt: skip
def test_meaning_of_a_name(name, part):
    assert meant_part(name) == part


def test_advice_names_each_rename():
    assert rename_advice(["training_set", "test_set"]) == "rename 'test_set' to 'test', 'training_set' to 'train'"
