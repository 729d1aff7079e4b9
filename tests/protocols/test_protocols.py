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


def trainings(protocol, datasets=None, source=None, suite=SUITE):
    return PROTOCOLS[protocol].trainings(Choice(suite=suite, datasets=datasets, source=source))


@pytest.mark.parametrize("protocol", ["base2new", "few_shot"])
def test_every_dataset_is_trained_on_alone(protocol):
    assert trainings(protocol) == {"a": (), "b": (), "c": ()}
    assert trainings(protocol, ("c",)) == {"c": ()}


def test_cross_dataset_carries_the_suites_source_to_all_others():
    assert trainings("cross_dataset") == {"b": ("a", "c")}


def test_cross_dataset_takes_a_named_source_that_need_not_be_among_the_targets():
    assert trainings("cross_dataset", source="c") == {"c": ("a", "b")}
    assert trainings("cross_dataset", ("a",), source="c") == {"c": ("a",)}


def test_cross_dataset_refuses_source_that_is_also_the_only_target():
    with pytest.raises(ConfigError, match="the source 'a' is also the only target"):
        trainings("cross_dataset", ("a",), source="a")


def test_cross_dataset_asks_for_a_source_where_the_suite_has_none():
    with pytest.raises(ConfigError, match="suite 'small' has no 'source'; give --source NAME"):
        trainings("cross_dataset", suite=dataclasses.replace(SUITE, source=""))


def test_domain_generalization_carries_the_shift_source_to_its_versions():
    assert trainings("domain_generalization") == {"a": ("a_v2", "a_sketch")}
    assert trainings("domain_generalization", ("b", "a_sketch")) == {"a": ("a_sketch",)}


def test_domain_generalization_refuses_datasets_that_are_no_versions():
    with pytest.raises(ConfigError, match="is a target of it; those of suite 'small' are a_v2, a_sketch"):
        trainings("domain_generalization", ("a", "b"))


def test_domain_generalization_says_what_a_suite_without_shifts_lacks():
    suite = dataclasses.replace(SUITE, shift_source="", shift_targets=())
    with pytest.raises(ConfigError, match="has no 'shift_source' and 'shift_targets'"):
        trainings("domain_generalization", suite=suite)


@pytest.mark.parametrize(
    ("protocol", "classes"), [("base2new", 3), ("few_shot", 5), ("cross_dataset", 5), ("domain_generalization", 5)]
)
def test_sample_holds_so_many_images_of_each_trained_class(protocol, classes):
    sample = PROTOCOLS[protocol].training_set(made("a", 5), shots=2, seed=1)
    assert len(sample.class_names) == classes
    assert sorted(item.label for item in sample.train) == sorted(2 * list(range(classes)))
    assert (PROTOCOLS[protocol].trains_on == "all") == (classes == 5)


def test_base2new_scores_the_halves_and_few_shot_all_classes():
    dataset = made("a", 5)
    halves = PROTOCOLS["base2new"].scored_sets(dataset, [])
    assert [(scored.name, len(scored.dataset.class_names)) for scored in halves] == [("base", 3), ("new", 2)]
    (whole,) = PROTOCOLS["few_shot"].scored_sets(dataset, [])
    assert (whole.name, whole.dataset) == ("all", dataset)


@pytest.mark.parametrize("protocol", ["cross_dataset", "domain_generalization"])
def test_transfer_scores_the_source_first_and_each_target_with_its_own_classes(protocol):
    source, target, fewer = made("a", 5), made("c", 7), made("b", 2)
    scored = PROTOCOLS[protocol].scored_sets(source, [target, fewer])
    assert [(s.name, s.dataset) for s in scored] == [("a", source), ("c", target), ("b", fewer)]


def test_few_shot_alone_runs_several_numbers_of_shots():
    assert {name: protocol.shots for name, protocol in PROTOCOLS.items() if protocol.shots} == {
        "few_shot": (1, 2, 4, 8, 16)
    }
