"""Each protocol: what it trains on, what it scores, and what it refuses."""

import dataclasses

import pytest

from benchmark.common.config import Suite
from benchmark.data.catalog import Dataset, Item
from benchmark.errors import ConfigError
from benchmark.protocols.protocol import Choice
from benchmark.protocols.registry import PROTOCOLS

SUITE = Suite(
    name="small", backbone="embedded", datasets=("a", "b", "c"), shots=16, seeds=(1,), source="b", shift_source="a",
    shift_targets=("a_v2", "a_sketch"),
)  # fmt: skip


def made(name, classes, images=3):
    names = tuple(f"{name} {label}" for label in range(classes))
    items = [Item(f"/{name}/{c}/{i}.png", c, names[c]) for c in range(classes) for i in range(images)]
    return Dataset(name=name, class_names=names, template="a {}.", train=items, val=[], test=items)


@pytest.mark.parametrize(
    ("protocol", "choice", "wanted"),
    [
        ("base2new", {}, {"a": (), "b": (), "c": ()}),
        ("few_shot", {"datasets": ("c",)}, {"c": ()}),
        ("cross_dataset", {}, {"b": ("a", "c")}),
        ("cross_dataset", {"source": "c"}, {"c": ("a", "b")}),
        ("cross_dataset", {"datasets": ("a",), "source": "c"}, {"c": ("a",)}),
        ("domain_generalization", {}, {"a": ("a_v2", "a_sketch")}),
        ("domain_generalization", {"datasets": ("b", "a_sketch")}, {"a": ("a_sketch",)}),
    ],
)
def test_trainings_follow_the_suite_and_the_choice(protocol, choice, wanted):
    assert PROTOCOLS[protocol].trainings(Choice(suite=SUITE, **choice)) == wanted


@pytest.mark.parametrize(
    ("protocol", "choice", "message"),
    [
        ("cross_dataset", {"datasets": ("a",), "source": "a"}, "the source 'a' is also the only target"),
        ("cross_dataset", {"missing_datasets": frozenset("b")}, "'b', which is not available.*NAME: a, b, c"),
        ("cross_dataset", {"suite": dataclasses.replace(SUITE, source="")}, "has no 'source'; give --source NAME"),
        ("domain_generalization", {"datasets": ("a", "b")}, "its targets in suite 'small' are a_v2, a_sketch"),
        (
            "domain_generalization",
            {"suite": dataclasses.replace(SUITE, shift_source="", shift_targets=())},
            "has no 'shift_source' and 'shift_targets'",
        ),
    ],
)
def test_choices_without_source_or_targets_are_refused(protocol, choice, message):
    with pytest.raises(ConfigError, match=message):
        PROTOCOLS[protocol].trainings(Choice(**{"suite": SUITE} | choice))


@pytest.mark.parametrize(
    ("protocol", "classes"), [("base2new", 3), ("few_shot", 5), ("cross_dataset", 5), ("domain_generalization", 5)]
)
def test_sample_has_its_shots_of_each_trained_class(protocol, classes):
    sample = PROTOCOLS[protocol].training_set(made("a", 5), shots=2, seed=1)
    assert len(sample.class_names) == classes
    assert sorted(item.label for item in sample.train) == sorted(2 * list(range(classes)))
    assert (PROTOCOLS[protocol].trains_on == "all") == (classes == 5)


def test_scored_sets_are_the_halves_or_all_classes_or_the_source_and_its_targets():
    source, target, fewer = made("a", 5), made("c", 7), made("b", 2)
    halves = PROTOCOLS["base2new"].scored_sets(source, [])
    assert [(scored.name, len(scored.dataset.class_names)) for scored in halves] == [("base", 3), ("new", 2)]
    (whole,) = PROTOCOLS["few_shot"].scored_sets(source, [])
    assert (whole.name, whole.dataset) == ("all", source)
    for protocol in ("cross_dataset", "domain_generalization"):
        scored = PROTOCOLS[protocol].scored_sets(source, [target, fewer])
        assert [(each.name, each.dataset) for each in scored] == [("a", source), ("c", target), ("b", fewer)]
