"""Requests: what is taken for what is not named, and what is refused before any file is opened."""

import dataclasses
import pickle
from pathlib import Path

import pytest

from benchmark.common.config import load_suite
from benchmark.data.splits import half
from benchmark.errors import ConfigError
from benchmark.planning.plan import make_plan
from benchmark.planning.planned_run import Task
from benchmark.planning.request import Request, check_names, choose_trainings
from benchmark.protocols.registry import PROTOCOLS
from benchmark.running.queue import units_of

SHIFTED = ("synth_objects_v2", "synth_objects_sketch", "synth_objects_adversarial", "synth_objects_rendition")


def asked(tmp_path, protocol="base2new", **changes):
    suite = load_suite("synthetic")
    values = {
        "methods": ("coop",), "datasets": None, "source": None, "seeds": (1,), "shots": (), "backbone": "embedded",
        "precision": "fp32", "data": None, "out": tmp_path, "overrides": {},
    }  # fmt: skip
    return Request(**{"protocol": protocol, "suite": suite} | values | changes)


def test_shots_are_those_named_or_the_protocols_or_the_suites(tmp_path):
    few_shot, base2new = PROTOCOLS["few_shot"], PROTOCOLS["base2new"]
    assert asked(tmp_path).shots_of(few_shot) == (1, 2, 4, 8, 16)
    assert asked(tmp_path).shots_of(base2new) == (16,)
    assert asked(tmp_path, shots=(2,)).shots_of(base2new) == asked(tmp_path, shots=(2,)).shots_of(few_shot) == (2,)


def test_recipes_of_an_unknown_method_are_refused(tmp_path):
    suite = dataclasses.replace(load_suite("synthetic"), recipes={"coopp": {}})
    with pytest.raises(ConfigError, match=r"'coopp' is not a method. Did you mean 'coop'"):
        check_names(asked(tmp_path, suite=suite))


def test_folder_written_to_among_class_folders_is_refused(tmp_path, monkeypatch):
    (tmp_path / "cat").mkdir()
    (tmp_path / "list.csv").touch()
    tree, listed = {"mine": tmp_path}, {"mine": tmp_path / "list.csv"}
    for out in (tmp_path, tmp_path / "results", tmp_path / "cat" / "results"):
        with pytest.raises(ConfigError, match=rf"--out {out}: is among the class folders of mine .* outside of"):
            check_names(asked(tmp_path, custom=tree, out=out))
        check_names(asked(tmp_path, custom=listed, out=out))
    check_names(asked(tmp_path, custom=tree, out=tmp_path / ".out"))
    check_names(asked(tmp_path, custom=tree, out=Path(f"{tmp_path} results")))
    monkeypatch.setenv("COPL_BENCHMARK_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match=r"COPL_BENCHMARK_CACHE .*/cache: is among the class folders of mine"):
        check_names(asked(tmp_path, custom=tree, out=tmp_path / ".out"))


def test_all_protocols_take_their_datasets_from_the_suite(tmp_path):
    chosen, left_out = choose_trainings(asked(tmp_path, "all"))
    assert list(chosen) == list(PROTOCOLS)
    assert left_out == []
    assert len(chosen["base2new"]) == len(chosen["few_shot"]) == 11
    assert chosen["domain_generalization"] == {"synth_objects": SHIFTED}


def test_shifted_versions_are_for_domain_generalization_where_all_protocols_run(tmp_path):
    request = asked(tmp_path, "all", datasets=("synth_things", "synth_pets", "synth_objects_sketch"))
    assert choose_trainings(request)[0] == {
        "base2new": {"synth_things": (), "synth_pets": ()},
        "cross_dataset": {"synth_things": ("synth_pets",)},
        "few_shot": {"synth_things": (), "synth_pets": ()},
        "domain_generalization": {"synth_objects": ("synth_objects_sketch",)},
    }


def test_protocol_that_named_datasets_leave_nothing_to_do_for_is_left_out_of_all(tmp_path):
    chosen, left_out = choose_trainings(asked(tmp_path, "all", datasets=("synth_things",)))
    assert list(chosen) == ["base2new", "few_shot"]
    assert ["is also the only target" in left_out[0], "is a target of it" in left_out[1]] == [True, True]
    with pytest.raises(ConfigError, match="is also the only target"):
        choose_trainings(asked(tmp_path, "cross_dataset", datasets=("synth_things",)))


CUSTOM = {"mine": Path("mine"), "yours": Path("yours")}


def test_own_datasets_run_alone_unless_others_are_named(tmp_path):
    request = asked(tmp_path, custom=CUSTOM)
    check_names(request)
    assert choose_trainings(request)[0] == {"base2new": {"mine": (), "yours": ()}}
    mixed = asked(tmp_path, "cross_dataset", custom=CUSTOM, datasets=("mine", "synth_pets"), source="mine")
    assert choose_trainings(mixed)[0] == {"cross_dataset": {"mine": ("synth_pets",)}}


def test_suite_that_names_an_own_dataset_decides_what_runs(tmp_path):
    suite = dataclasses.replace(load_suite("synthetic"), shift_source="mine", shift_targets=("yours",))
    chosen, left_out = choose_trainings(asked(tmp_path, "all", custom=CUSTOM, suite=suite))
    assert left_out == []
    assert list(chosen["base2new"]) == list(suite.datasets)
    assert chosen["domain_generalization"] == {"mine": ("yours",)}


def test_method_that_learns_class_by_class_is_refused_where_others_are_scored_and_the_plan_survives_pickling(tmp_path):
    request = asked(tmp_path, datasets=("synth_actions",), methods=("coop", "taskres", "tip_adapter"))
    plan = make_plan(request, fetch=False)
    assert [spec.method for spec in plan.specs] == ["coop"]
    assert [text.split(",")[0] for text in plan.refused] == ["taskres", "tip_adapter"]
    settings, units = pickle.loads(pickle.dumps((plan.settings, units_of(plan.missing))))
    assert settings == plan.settings
    assert [[run.spec for run in unit] for unit in units] == [plan.specs]
    assert units[0][0].training_set() == plan.missing[0].training_set()


def test_sets_of_one_class_are_named_by_the_plan(dataset):
    pair = half(half(dataset, "base"), "base")
    one = half(pair, "new")
    assert [len(each.class_names) for each in (pair, one)] == [2, 1]
    for protocol, trained, targets, words in (
        ("base2new", pair, (), "base2new scores one class alone in base and new: every"),
        ("few_shot", one, (), "few_shot scores one class alone in all: every"),
        ("cross_dataset", pair, (dataclasses.replace(one, name="one"),), "in one: every"),
    ):
        assert words in Task(protocol, trained, targets, 1).one_class_sets()[0]
    assert Task("base2new", dataset, (), 1).one_class_sets() == []


def test_views_change_the_specs_of_methods_that_train_and_no_others(tmp_path):
    def plan(views):
        names = {"methods": ("zero_shot", "tip_adapter", "coop", "tip_adapter_f"), "datasets": ("synth_actions",)}
        return make_plan(asked(tmp_path, "few_shot", shots=(1,), views=views, **names), fetch=False)

    before, after = ({run.spec.method: run.spec for run in plan(views).runs} for views in (None, 3))
    assert [name for name in before if before[name].hash != after[name].hash] == ["coop", "tip_adapter_f"]
    assert after["coop"].training.views == 3
    assert "views" not in before["coop"].to_json()["training"]
