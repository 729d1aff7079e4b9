"""Dataclasses from mappings: the few conversions, and every way in which a mapping can be wrong."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from benchmark.common.validation import build, validated
from benchmark.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int
    note: str = ""

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ConfigError(f"'depth' must be at least 0, got {self.depth}")


@dataclass(frozen=True, kw_only=True)
class Sample:
    n_ctx: int
    rate: float = 1.0
    words: str | None = None
    flag: bool = False
    score: Literal["dot", "general", "concat"] = "dot"
    seeds: tuple[int, ...] = ()
    ratio: tuple[float, float] = (0.75, 1.5)
    names: list[str] = field(default_factory=list)
    table: dict[str, tuple[int, ...]] = field(default_factory=dict)
    by_shots: dict[int, float] = field(default_factory=dict)
    inner: Inner | None = None
    either: int | float | str = 0
    free: Mapping[str, object] = field(default_factory=dict)
    anything: Any = None
    derived: int = field(default=5, init=False)


def refusal(raw: object, cls: type = Sample) -> str:
    with pytest.raises(ConfigError) as error:
        build(cls, raw, "methods/kgcoop.yaml")
    return str(error.value)


def same(left: object, right: object) -> bool:
    return type(left) is type(right) and left == right


def test_build_converts_int_to_float_list_to_tuple_and_mapping_to_dataclass():
    raw = {"n_ctx": 4, "rate": 2, "seeds": [1, 2], "ratio": [1, 2.5], "names": ["a"], "table": {"x": [1]},
           "by_shots": {1: 50}, "inner": {"depth": 1}, "free": {"x": [1, None]}, "anything": [3]}  # fmt: skip
    converted = {"rate": 2.0, "seeds": (1, 2), "ratio": (1.0, 2.5), "table": {"x": (1,)}, "by_shots": {1: 50.0},
                 "inner": Inner(depth=1)}  # fmt: skip
    built = build(Sample, raw, "here")
    assert built == Sample(**(raw | converted))
    assert type(built.rate) is type(built.ratio[0]) is type(built.by_shots[1]) is float
    for value in (1, 1.0, "1"):  # a union keeps the type
        assert same(build(Sample, {"n_ctx": 1, "either": value}, "here").either, value)


def test_unknown_key_message_names_nearest_and_all_options():
    assert refusal({"depht": 4, "depth": 4}, Inner) == (
        "methods/kgcoop.yaml: 'depht' is not an option; did you mean 'depth'? Options: depth, note."
    )
    assert "is not an option; Options: depth" in refusal({"zzzzzz": 4, "depth": 4}, Inner)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_ctx": True}, "'n_ctx' must be an integer, got True (bool)"),
        ({"n_ctx": None}, "'n_ctx' must be an integer, got null"),
        ({"rate": True}, "'rate' must be a number, got True (bool)"),
        ({"rate": math.nan}, "'rate' must be a finite number, got nan (float)"),
        ({"flag": "no"}, "'flag' must be true or false, got 'no' (str)"),
        ({"score": "dott"}, "'score' must be 'dot', 'general' or 'concat', got 'dott' (str); did you mean 'dot'?"),
        ({"seeds": [1, "2"]}, "'seeds[1]' must be an integer, got '2' (str)"),
        ({"ratio": [1.0]}, "'ratio[1]' is missing"),
        ({"ratio": [1, 2, 3]}, "'ratio' must have at most 2 items, got [1, 2, 3] (list)"),
        ({"table": {"x": 1}}, "'table.x' must be a list, got 1 (int)"),
        ({"table": {1: [1]}}, "a key of 'table' must be a string, got 1 (int)"),
        ({"inner": 3}, "'inner' must be a mapping, got 3 (int)"),
        ({"inner": {"depht": 1, "depth": 1}}, "'inner.depht' is not an option; did you mean 'inner.depth'?"),
        ({"inner": {"depth": -1}}, "'inner': 'depth' must be at least 0, got -1"),
        ({"either": [1]}, "'either' must be int or float or str, got [1] (list)"),
        ({"derived": 6}, "'derived' is not an option"),
        ({3: 1}, "is not an option"),
    ],
)
def test_wrong_value_is_refused_with_key_wanted_and_got(change, words):
    message = refusal({"n_ctx": 4} | change)
    assert message.startswith("methods/kgcoop.yaml: ")
    assert words in message


def test_all_problems_are_reported_together():
    message = refusal({"rate": "x", "seeds": [1, None], "zeal": 1, "inner": {"depth": "deep", "more": 2}})
    assert "6 problems" in message.splitlines()[0]
    for words in ("'zeal' is not", "'n_ctx' is missing", "'rate'", "'seeds[1]'", "'inner.depth'", "'inner.more'"):
        assert words in message


@pytest.mark.parametrize("raw", [None, [1], "text"])
def test_anything_but_a_mapping_is_refused(raw):
    assert "must be a mapping of options" in refusal(raw)


def test_an_error_of_a_methods_own_code_is_raised_as_it_is():
    @dataclass(frozen=True)
    class Options:
        n: int

        def __post_init__(self) -> None:
            int("a bug")

    with pytest.raises(ValueError, match="invalid literal for int"):
        build(Options, {"n": 1}, "here")


def test_constructor_of_a_validated_class_checks_and_converts():
    @validated
    class Checked:
        rate: float
        seeds: tuple[int, ...]

    made = Checked(rate=1, seeds=[1, 2])
    assert same(made.rate, 1.0) and made.seeds == (1, 2)
    with pytest.raises(ConfigError, match=r"(?s)Checked: 2 problems.*'rate' must be a number.*'seeds\[0\]' must be"):
        Checked(rate="fast", seeds=["1"])
    with pytest.raises(AttributeError):
        made.rate = 2.0
