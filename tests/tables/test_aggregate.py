"""Records that may be in one table, titles, and the data frame."""

import pytest

from benchmark.common.config import Training
from benchmark.errors import RecordError
from tables import aggregate
from tables.aggregate import headline, in_order, method_title, method_titles, to_frame
from tables.comparable import check_comparable


def message_of(*pair):
    """The message that refuses two records and names both."""
    with pytest.raises(RecordError) as caught:
        check_comparable(pair)
    assert all(record.spec.record_path("").as_posix() in str(caught.value) for record in pair)
    return str(caught.value)


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"shots": 8, "dataset": "eurosat"}, "shots"),
        ({"backbone": "other", "dataset": "eurosat"}, "backbone"),
        ({"checkpoint": "d" * 16, "dataset": "eurosat"}, "checkpoint"),
        ({"suite": "other"}, "suite"),
        ({"precision": "bf16", "seed": 2}, "precision"),
        ({"options": {"n_ctx": 16}, "seed": 2}, "options"),
        ({"template": "{}.", "seed": 2}, "template"),
        ({"training": Training(epochs=2, batch_size=1), "seed": 2}, "differ in training (epochs=10 and epochs=2)."),
        (
            {"training": Training(epochs=2, batch_size=1, views=5), "method": "copl"},
            "the views of a training image (a new one each epoch and 5)",
        ),
        ({"plugin": "a" * 16, "dataset": "eurosat"}, "the plugin file of 'coop'"),
        ({"split": "t" * 16, "method": "copl"}, "split"),
        ({"images": "1+3", "method": "copl"}, "the content of their test images (2 and 3)"),
        ({"images": ""}, "the content of their images (1+2 and )"),
        ({"overrides": {"epochs": 2}, "dataset": "eurosat"}, "--set"),
        ({"protocol": "few_shot"}, "protocol"),
        ({"commit": "other"}, "nothing that a table shows"),
    ],
)
def test_records_that_are_not_comparable_are_refused(record, changes, what):
    changes = {"method": "coop", "dataset": "dtd"} | changes
    other = record(changes.pop("method"), changes.pop("dataset"), 50, 50, **changes)
    assert what in message_of(record("coop", "dtd", 50, 50), other)


def test_recipes_may_depend_on_dataset_and_shots_but_not_on_the_seed(few, record):
    check_comparable([record("coop", "dtd", 50, 50), record("coop", "imagenet", 50, 50, options={"n_ctx": 16})])
    long = Training(epochs=200, batch_size=32)
    check_comparable([few("coop", "dtd", 50, shots=1), few("coop", "dtd", 50, shots=16, training=long)])
    other_seed = few("coop", "dtd", 50, shots=4, seed=2, options={"n_ctx": 16})
    assert "options" in message_of(few("coop", "dtd", 50, shots=4), other_seed)


def test_runs_without_a_fingerprint_of_their_images_are_shown_and_counted(record):
    records = [record("coop", "dtd", 50, 50), record("copl", "dtd", 50, 50, images="")]
    check_comparable(records)
    assert "1 of 2 runs recorded without a fingerprint of the images, by an earlier version: " in headline(records)


def test_source_and_targets_are_fixed_and_templates_of_targets_depend_on_the_method_only(transfer):
    one = transfer("coop", {"imagenet": 50, "dtd": 50})
    assert "source (imagenet and caltech101)" in message_of(one, transfer("copl", {"caltech101": 50, "dtd": 50}))
    more_targets = transfer("copl", {"imagenet": 50, "dtd": 50, "eurosat": 50}, split="t" * 16)
    assert "targets (dtd and dtd, eurosat)" in message_of(one, more_targets)
    own = transfer("kgcoop", {"imagenet": 50, "dtd": 50}, targets={"dtd": "a photo of a {}, a type of texture."})
    check_comparable([one, own])
    assert "targets" in message_of(own, transfer("kgcoop", {"imagenet": 50, "dtd": 50}, seed=2))


def test_frame_holds_unrounded_percentages(few):
    frame = to_frame([few("coop", "dtd", 100 / 3, total=3, shots=2)])
    assert frame.iloc[0].drop("record").to_dict() == {
        "protocol": "few_shot", "method": "coop", "dataset": "dtd", "shots": 2, "seed": 1, "class_set": "all",
        "accuracy": 100 / 3, "correct": 1, "total": 3,
    }  # fmt: skip
    assert frame.record[0].endswith(".json")


def test_methods_have_the_titles_of_their_recipes_and_the_order_of_the_paper(tmp_path, monkeypatch):
    assert in_order(["taskres", "zebra", "copl", "coop"]) == ["coop", "copl", "taskres", "zebra"]
    assert [method_title(name) for name in ("zero_shot", "tip_adapter_f")] == ["CLIP", "Tip-Adapter-F"]
    (tmp_path / "methods").mkdir()
    for name, text in (("good", "title: Good"), ("plain", "defaults: {}"), ("unreadable", "title: [")):
        (tmp_path / "methods" / f"{name}.yaml").write_text(text)
    monkeypatch.setattr(aggregate, "REPOSITORY", tmp_path)
    monkeypatch.setattr(aggregate, "method_titles", method_titles.__wrapped__)
    assert [method_title(name) for name in ("good", "plain", "unreadable")] == ["Good", "plain", "unreadable"]
