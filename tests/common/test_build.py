"""Every way in which a mapping can fail to be a dataclass, and the few conversions that are made."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from benchmark.common.yaml import build, check_fields
from benchmark.errors import ConfigError


def same(left: object, right: object) -> bool:
    return type(left) is type(right) and left == right


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


def test_builder_converts_int_to_float_list_to_tuple_and_mapping_to_dataclass():
    raw = {
        "n_ctx": 4,
        "rate": 2,
        "words": "a photo",
        "flag": True,
        "score": "concat",
        "seeds": [1, 2],
        "ratio": [1, 2.5],
        "names": ["a"],
        "table": {"x": [1]},
        "by_shots": {1: 50},
        "inner": {"depth": 1},
        "free": {"x": [1, None]},
        "anything": [3],
    }
    built = build(Sample, raw, "here")
    assert built == Sample(
        n_ctx=4,
        rate=2.0,
        words="a photo",
        flag=True,
        score="concat",
        seeds=(1, 2),
        ratio=(1.0, 2.5),
        names=["a"],
        table={"x": (1,)},
        by_shots={1: 50.0},
        inner=Inner(depth=1),
        free={"x": [1, None]},
        anything=[3],
    )
    assert type(built.rate) is type(built.ratio[0]) is type(built.by_shots[1]) is float


@pytest.mark.parametrize("value", [1, 1.0, "1"])
def test_builder_keeps_the_type_that_a_union_allows(value):
    assert same(build(Sample, {"n_ctx": 1, "either": value}, "here").either, value)


def test_unknown_key_message_names_nearest_and_all_options():
    @dataclass(frozen=True, kw_only=True)
    class KgCoop:
        ctx_init: str | None = None
        knowledge_weight: float = 8.0
        n_ctx: int = 4

    assert refusal({"n_ctxx": 4}, KgCoop) == (
        "methods/kgcoop.yaml: 'n_ctxx' is not an option; did you mean 'n_ctx'? "
        "Options: ctx_init, knowledge_weight, n_ctx."
    )
    assert "is not an option; Options: ctx_init" in refusal({"zzzzzz": 4}, KgCoop)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_ctx": True}, "'n_ctx' must be int, got True (bool)"),
        ({"n_ctx": 4.0}, "'n_ctx' must be int, got 4.0 (float)"),
        ({"n_ctx": "4"}, "'n_ctx' must be int, got '4' (str)"),
        ({"n_ctx": None}, "'n_ctx' must be int, got null"),
        ({"rate": True}, "'rate' must be float, got True (bool)"),
        ({"rate": math.nan}, "'rate' must be float, got nan (float)"),
        ({"rate": math.inf}, "'rate' must be float, got inf (float)"),
        ({"rate": "1,5"}, "'rate' must be float, got '1,5' (str)"),
        ({"words": 5}, "'words' must be str or null, got 5 (int)"),
        ({"flag": "no"}, "'flag' must be bool, got 'no' (str); write true or false"),
        ({"flag": 1}, "'flag' must be bool, got 1 (int)"),
        ({"score": "dott"}, "'score' must be one of 'dot', 'general', 'concat', got 'dott' (str); did you mean 'dot'?"),
        ({"seeds": 1}, "'seeds' must be a list of int, got 1 (int)"),
        ({"seeds": "12"}, "'seeds' must be a list of int, got '12' (str)"),
        ({"seeds": [1, "2"]}, "'seeds[1]' must be int, got '2' (str)"),
        ({"ratio": [1.0]}, "'ratio' must hold 2 values, got 1"),
        ({"names": "a"}, "'names' must be a list of str, got 'a' (str)"),
        ({"table": {"x": 1}}, "'table.x' must be a list of int, got 1 (int)"),
        ({"table": {1: [1]}}, "'table: key 1' must be str, got 1 (int)"),
        ({"table": [1]}, "'table' must be a mapping, got [1] (list)"),
        ({"inner": 3}, "'inner' must be a mapping or null, got 3 (int)"),
        ({"inner": {}}, "'inner.depth' is missing"),
        ({"inner": {"depht": 1, "depth": 1}}, "'inner.depht' is not an option; did you mean 'inner.depth'?"),
        ({"inner": {"depth": -1}}, "inner: 'depth' must be at least 0, got -1"),
        ({"either": [1]}, "'either' must be int or float or str, got [1] (list)"),
        ({"derived": 6}, "'derived' is not an option"),
        ({3: 1}, "'3' is not an option"),
    ],
)
def test_wrong_value_is_refused_with_key_wanted_and_got(change, words):
    message = refusal({"n_ctx": 4} | change)
    assert message.startswith("methods/kgcoop.yaml: ")
    assert words in message


def test_builder_reports_all_problems_together():
    message = refusal({"rate": "x", "seeds": [1, None], "zeal": 1, "inner": {"depth": "deep", "more": 2}})
    assert "6 problems" in message.splitlines()[0]
    for words in ("'zeal' is not", "'n_ctx' is missing", "'rate'", "'seeds[1]'", "'inner.depth'", "'inner.more'"):
        assert words in message


@pytest.mark.parametrize("raw", [None, [1], "text"])
def test_builder_refuses_what_is_no_mapping(raw):
    assert "must be a mapping of options" in refusal(raw)


def test_own_refusal_of_a_dataclass_passes_with_its_place():
    assert refusal({"depth": -2}, Inner) == "methods/kgcoop.yaml: 'depth' must be at least 0, got -2"


def test_fields_set_by_hand_get_the_same_checks():
    @dataclass(frozen=True, kw_only=True)
    class Checked:
        rate: float
        seeds: tuple[int, ...]

        def __post_init__(self) -> None:
            check_fields(self)

    made = Checked(rate=1, seeds=[1, 2])
    assert same(made.rate, 1.0) and made.seeds == (1, 2)
    with pytest.raises(ConfigError, match=r"(?s)Checked: 2 problems.*'rate' must be float.*'seeds\[0\]' must be int"):
        Checked(rate="fast", seeds=["1"])
