"""What may stand in one table, and the numbers that come of it."""

import pytest

from benchmark.common.config import Training
from benchmark.errors import RecordError
from tables import aggregate
from tables.aggregate import check_comparable, in_order, method_title, method_titles, to_frame


def refused(pair):
    """The message that refuses a pair; both are named in it."""
    with pytest.raises(RecordError) as caught:
        check_comparable(pair)
    message = str(caught.value)
    assert all(r.spec.record_path("").as_posix() in message for r in pair)
    return message


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
        ({"plugin": "a" * 16, "dataset": "eurosat"}, "the file of 'coop', which is no part of this repository"),
        ({"split": "t" * 16, "method": "copl"}, "split"),
        ({"overrides": {"epochs": 2}, "dataset": "eurosat"}, "--set"),
        ({"commit": "other"}, "nothing that a table shows"),
    ],
)
def test_records_that_were_not_measured_alike_are_not_mixed(record, changes, what):
    changes = {"method": "coop", "dataset": "dtd"} | changes
    other = record(changes.pop("method"), changes.pop("dataset"), 50, 50, **changes)
    assert what in refused([record("coop", "dtd", 50, 50), other])


def test_recipes_that_follow_dataset_and_shots_are_no_difference(few, record):
    check_comparable([record("coop", "dtd", 50, 50), record("coop", "imagenet", 50, 50, options={"n_ctx": 16})])
    long = Training(epochs=200, batch_size=32)
    check_comparable([few("coop", "dtd", 50, shots=1), few("coop", "dtd", 50, shots=16, training=long)])


def test_few_shot_seeds_of_one_shot_count_have_one_recipe(few):
    assert "options" in refused(
        [few("coop", "dtd", 50, shots=4), few("coop", "dtd", 50, shots=4, seed=2, options={"n_ctx": 16})]
    )


def test_refusal_names_only_the_settings_that_differ(few):
    one, other = (few("coop", "dtd", 50, shots=4, seed=s, training=Training(epochs=s, batch_size=32)) for s in (1, 2))
    assert "they differ in training (epochs=1 and epochs=2)." in refused([one, other])


def test_sources_are_not_mixed(transfer):
    pair = [transfer("coop", {"imagenet": 50, "dtd": 50}), transfer("copl", {"caltech101": 50, "dtd": 50})]
    assert "source (imagenet and caltech101)" in refused(pair)


def test_other_targets_are_not_mixed(transfer):
    pair = [
        transfer("coop", {"imagenet": 50, "dtd": 50}),
        transfer("copl", {"imagenet": 50, "dtd": 50, "eurosat": 50}, split="t" * 16),
    ]
    assert "targets (dtd and dtd, eurosat)" in refused(pair)


def test_methods_may_have_templates_of_their_own_for_a_target(transfer):
    accuracies = {"imagenet": 50, "dtd": 50}
    own = transfer("kgcoop", accuracies, targets={"dtd": "a photo of a {}, a type of texture."})
    check_comparable([transfer("coop", accuracies), own])
    again = transfer("kgcoop", accuracies, seed=2)
    assert "targets" in refused([own, again])


def test_protocols_are_not_mixed(record, few):
    assert "protocol" in refused([record("coop", "dtd", 50, 50), few("coop", "dtd", 50)])


def test_frame_holds_unrounded_percentages(few):
    frame = to_frame([few("coop", "dtd", 100 / 3, total=3, shots=2)])
    assert frame.iloc[0].drop("record").to_dict() == {
        "protocol": "few_shot", "method": "coop", "dataset": "dtd", "shots": 2, "seed": 1, "class_set": "all",
        "accuracy": 100 / 3, "correct": 1, "total": 3,
    }  # fmt: skip
    assert frame.record[0].endswith(".json")


def test_titles_of_methods_are_those_of_their_recipes_and_strangers_have_their_names():
    assert [method_title(name) for name in ("zero_shot", "tip_adapter_f", "zebra")] == [
        "CLIP",
        "Tip-Adapter-F",
        "zebra",
    ]


def test_recipe_that_cannot_be_read_leaves_the_titles_of_the_others(tmp_path, monkeypatch):
    (tmp_path / "methods").mkdir()
    for name, text in (("good", "title: Good"), ("plain", "defaults: {}"), ("broken", "title: [")):
        (tmp_path / "methods" / f"{name}.yaml").write_text(text)
    monkeypatch.setattr(aggregate, "REPOSITORY", tmp_path)
    monkeypatch.setattr(aggregate, "method_titles", method_titles.__wrapped__)
    assert [method_title(name) for name in ("good", "plain", "broken")] == ["Good", "plain", "broken"]


def test_methods_beside_the_papers_stand_behind_them_by_name():
    assert in_order(["taskres", "zebra", "copl", "clip_adapter", "coop"]) == [
        "coop", "copl", "clip_adapter", "taskres", "zebra"
    ]  # fmt: skip
