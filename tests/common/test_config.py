"""Training settings, run specs and their hashes, suites."""

import copy
import dataclasses
import pickle
from pathlib import Path

import pytest

from benchmark.common import config
from benchmark.common.config import Options, RunSpec, Suite, Training, load_suite, suite_names
from benchmark.common.validation import build
from benchmark.errors import ConfigError

SUITE = """\
# python run_all.py --suite small
backbone: embedded
datasets: [dtd, eurosat]
shots: 16
seeds: [1, 2, 3]
recipes:
  coop: {epochs: 2}
note: Not the paper's numbers.
"""


def make_spec(**changes) -> RunSpec:
    values = {
        "suite": "synthetic", "protocol": "base2new", "method": "coop", "dataset": "dtd", "shots": 16, "seed": 1,
        "backbone": "embedded", "checkpoint": "0a1b2c3d", "split": "99887766", "template": "{} texture.",
        "precision": "fp32", "options": {"n_ctx": 4, "ctx_init": "a photo of a", "templates": ("a {}.",)},
        "training": Training(epochs=200, batch_size=32),
    }  # fmt: skip
    return RunSpec(**(values | changes))


def write_suite(folder: Path, text: str = SUITE, *, name: str = "small") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def suites(tmp_path, monkeypatch) -> Path:
    """A suites folder that holds `small` alone."""
    monkeypatch.setattr(config, "SUITES", tmp_path)
    write_suite(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "change",
    [{"epochs": 0}, {"batch_size": 1.5}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"momentum": 1.0},
     {"momentum": -0.1}, {"weight_decay": -1e-9}, {"warmup_epochs": -1}, {"warmup_epochs": 3},
     {"warmup_learning_rate": 0.0}, {"epsilon": 0.0}, {"optimizer": "SGD"}, {"smallest_crop": 0.0},
     {"smallest_crop": 1.1}, {"views": 0}, {"views": 1.5}],
)  # fmt: skip
def test_training_refuses_value_out_of_range(change):
    with pytest.raises(ConfigError, match=f"'{next(iter(change))}' must be"):
        Training(**({"epochs": 2, "batch_size": 4} | change))


def test_spec_survives_pickling_copying_and_replacing():
    spec = make_spec()
    for again in (pickle.loads(pickle.dumps(spec)), copy.deepcopy(spec), dataclasses.replace(spec)):
        assert again == spec and again.hash == spec.hash
    assert {spec, make_spec(), make_spec(seed=2)} == {spec, make_spec(seed=2)}


def test_spec_hash_is_pinned_because_stored_results_depend_on_it(monkeypatch):
    assert make_spec().hash == "0c638abd"
    stored = make_spec(
        method="cocoop", dataset="synth_food", checkpoint="04cd38327c3de301", split="4b0d11a1fcb096a4",
        template="a photo of {}, a type of food.", options={"ctx_init": "a photo of a", "n_ctx": 4},
        training=Training(epochs=10, batch_size=1),
    )  # fmt: skip
    assert stored.hash == "3d700feb", "of a record that the version before pydantic wrote"
    for change in ({"smallest_crop": 0.5}, {"views": 10}, {"views": 11}):
        changed = dataclasses.replace(stored, training=dataclasses.replace(stored.training, **change))
        assert changed.hash != stored.hash
        assert build(RunSpec, changed.to_json(), "a record") == changed
    assert build(RunSpec, stored.to_json(), "a record") == stored
    monkeypatch.setattr(config, "SCHEMA", config.SCHEMA + 1)
    assert dataclasses.replace(stored).hash != "3d700feb"


def test_spec_hash_ignores_order_of_options_and_type_of_lists():
    options = {"templates": ["a {}."], "ctx_init": "a photo of a", "n_ctx": 4}
    assert make_spec(options=options).hash == make_spec().hash


def test_options_are_an_immutable_mapping():
    given = {"b": [1, 2], "a": None}
    spec = make_spec(options=given)
    given["b"].append(3)
    spec.options["b"].append(4)
    dict(spec.options)["b"].append(5)
    assert dict(spec.options) == {"a": None, "b": [1, 2]} == spec.options != {"b": [1, 2]}
    assert len(spec.options) == 2 and spec.options.get("c", 7) == 7
    assert Options({"a": 1}) != Options({"a": 1.0})
    with pytest.raises(TypeError):
        spec.options["a"] = 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, Path("x"), b"x"])
def test_options_that_json_cannot_hold_are_refused(value):
    with pytest.raises(ConfigError, match="cannot be stored as JSON"):
        make_spec(options={"a": value})


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", ".hidden", "a b", "a\\b", "a\n", "é", "-x", "x" * 101, "failed", "Failed"]
)
def test_spec_refuses_name_that_cannot_be_a_folder(name):
    for kind in ("suite", "protocol", "method", "dataset"):
        with pytest.raises(ConfigError, match=f"'{kind}': the name .* cannot name a folder"):
            make_spec(**{kind: name})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": "fp8"}, "'precision' must be 'fp32', 'fp64', 'tf32', 'bf16' or 'fp16'"),
        ({"backbone": "a\x1b"}, "'backbone': .* cannot be recorded"),
        ({"options": None}, "'options' must be a mapping, got null"),
        ({"loaded": "0a1b2c3d"}, "'loaded' and 'training' exclude each other"),
    ],
)
def test_spec_made_by_hand_is_checked(change, words):
    with pytest.raises(ConfigError, match=words):
        make_spec(**change)


def test_record_path_and_label_name_the_run():
    spec = make_spec()
    expected = Path("out/synthetic/base2new/coop/dtd") / f"shots16-seed1-{spec.hash}.json"
    assert spec.record_path(Path("out")) == spec.record_path("out") == expected
    assert spec.label() == "coop on dtd, base2new, 16 shots, seed 1"
    assert make_spec(shots=1).label() == "coop on dtd, base2new, 1 shot, seed 1"


def test_suite_is_read_by_name_and_by_path(suites, tmp_path):
    expected = Suite(name="small", backbone="embedded", datasets=("dtd", "eurosat"), shots=16, seeds=(1, 2, 3),
                     recipes={"coop": {"epochs": 2}}, note="Not the paper's numbers.")  # fmt: skip
    assert suite_names() == ["small"]
    for given in ("small", tmp_path / "small.yaml", str(tmp_path / "small.yaml")):
        assert load_suite(given) == expected
    write_suite(tmp_path, SUITE + "name: small\n")
    assert load_suite("small") == expected


@pytest.mark.parametrize("name", ["smal", "smal.yaml", "elsewhere/smal.yaml"])
def test_unknown_suite_is_refused_with_nearest_name(suites, name):
    with pytest.raises(ConfigError, match=r"Did you mean 'small'\? Allowed: small\."):
        load_suite(name)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[dtd, eurosat]", "[]", "'datasets' must have at least 1 item"),
        ("[dtd, eurosat]", "[dtd, dtd]", "'datasets': repeats dtd"),
        ("[1, 2, 3]", "[1, 2, 1]", "'seeds': repeats 1"),
        ("[1, 2, 3]", "[0, -1]", "'seeds[1]' must be at least 0, got -1"),
        ("shots: 16", "shot: 16", "did you mean 'shots'"),
        ("backbone: embedded\n", "", "'backbone' is missing"),
        ("note:", "shift_source: dtd\nnote:", "'shift_source' and 'shift_targets' belong together"),
        ("note:", "shift_source: dtd\nshift_targets: [dtd]\nnote:", "no target is the source"),
        ("{epochs: 2}", "2", "coop' must be a mapping"),
        ("note:", "precision: fp8\nnote:", "'precision' must be 'fp32', 'fp64', 'tf32', 'bf16' or 'fp16'"),
        ("note:", "name: other\nnote:", "'name' is 'other', but the file is 'small.yaml'; leave 'name' out"),
    ],
)
def test_bad_suite_is_refused_by_file_and_key(tmp_path, old, new, words):
    assert SUITE.count(old) == 1
    path = write_suite(tmp_path, SUITE.replace(old, new))
    with pytest.raises(ConfigError) as error:
        load_suite(path)
    assert str(path) in str(error.value) and words in str(error.value)


def test_suite_reports_all_problems_together_and_needs_a_folder_name(tmp_path):
    text = SUITE.replace("[1, 2, 3]", "[1, -2]").replace("shots: 16", "shots: -4").replace("[dtd, eurosat]", "[]")
    with pytest.raises(ConfigError, match="4 problems") as error:
        load_suite(write_suite(tmp_path, text, name="my suite"))
    assert "'name': the name 'my suite' cannot name a folder" in str(error.value)


def test_every_shipped_suite_loads():
    names = suite_names()
    assert names and [load_suite(name).name for name in names] == names
