"""Strict YAML to strict dataclasses: reading files and command-line values, and the one builder that checks both.

PyYAML follows YAML 1.1, where `lr: 1e-5` is text, `no` is false, `010` is 8, `12:30` is 750 and the last of two equal
keys wins without a word. Here scalars follow the core schema of YAML 1.2; tags and merge keys are not supported.
"""

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import yaml

from benchmark.common.files import shown
from benchmark.errors import ConfigError, listed

FLOW_STARTS = ("[", "{", '"', "'")  # a command-line value that begins so is YAML, any other a plain scalar


def read_yaml(path: Path | str) -> dict:
    """The mapping that a YAML file holds; an empty file is an empty mapping.

    Raises:
        ConfigError: unreadable, not YAML, a repeated key, a tag, an ambiguous number or no mapping; with file and line.
    """
    where = shown(path)
    try:
        value = _load(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: is not UTF-8 text (byte {error.start}).") from error
    except yaml.MarkedYAMLError as error:
        context = f"{error.context}: " if error.context else ""
        raise ConfigError(f"{where}:{error.problem_mark.line + 1}: {context}{error.problem}") from error
    except yaml.reader.ReaderError as error:  # a control character; it knows its position only
        raise ConfigError(f"{where}: YAML does not allow character {error.position + 1} ({error.reason}).") from error
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{where}:1: holds a {type(value).__name__} at its top level; write `key: value` lines.")
    return value or {}


def parse_scalar(text: str) -> object:
    """One command-line value, by the rules of the YAML files.

    A value that begins with `[`, `{` or a quote is read as YAML. Any other one is taken whole, as one plain scalar:
    blanks, `: ` and ` #` are then part of the text, so a template needs no second pair of quotes. Nothing is null.

    Raises:
        ConfigError: a list, mapping or quoted text that does not close, or an ambiguous number.
    """
    text = text.strip()
    try:
        if text.startswith(FLOW_STARTS):
            return _load(text)
        loader = StrictLoader("")
        start = loader.get_mark()
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return loader.construct_object(yaml.ScalarNode(tag, text, start, start))
    except _Refusal as error:
        raise ConfigError(f"value {text!r}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"value {text!r} begins like a list, a mapping or quoted text, but does not read as one; "
            "mend it, or keep plain text whole with quotes inside the shell's own: '\"{} ...\"'."
        ) from error


class _Refusal(yaml.constructor.ConstructorError):
    """Valid YAML that this project does not take."""

    def __init__(self, problem: str, place: yaml.Node | yaml.Event) -> None:
        super().__init__(None, None, problem, place.start_mark)


class StrictLoader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema, unique keys, and no tags."""

    yaml_implicit_resolvers: typing.ClassVar[dict] = {}  # filled by _teach; none of YAML 1.1's

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.open_anchors: list[str | None] = []

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.open_anchors:
                raise _Refusal(f"'*{event.anchor}' stands inside what it names; an alias cannot hold itself.", event)
            return super().compose_node(parent, index)
        if event.tag is not None:
            raise _Refusal("tags (`!name`) are not supported; write the value alone.", event)
        self.open_anchors.append(event.anchor)
        node = super().compose_node(parent, index)
        self.open_anchors.pop()
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[object, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Refusal("a key is text or a number, not a list or a mapping.", key_node)
            key, line = self.construct_object(key_node), key_node.start_mark.line + 1
            if key in lines:
                problem = f"the key '{key_node.value}' stands twice, on lines {lines[key]} and {line}; keep one."
                raise _Refusal(problem, key_node)
            lines[key] = line
        return super().construct_mapping(node, deep=deep)

    def construct_scalar(self, node: yaml.ScalarNode) -> str:
        value = super().construct_scalar(node)
        if wrong := re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", value):
            raise _Refusal(f"text holds {wrong[0]!r}, which is no character that can be written or shown.", node)
        return value

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        return int(node.value)

    def construct_real(self, node: yaml.ScalarNode) -> float:
        value = float(node.value)
        if math.isinf(value):
            raise _Refusal(f"{node.value} is too large for a number; put text in quotes.", node)
        return value

    def construct_leading_zero(self, node: yaml.ScalarNode) -> int:
        raise _Refusal(
            f"{node.value} begins with a zero, which some readers take as octal; "
            f'write {int(node.value)} for the number, "{node.value}" in quotes for the text.',
            node,
        )


def _load(text: str) -> object:
    return StrictLoader(text).get_single_data()


def _teach(name: str, pattern: str, first: Iterable[str], constructor: str) -> None:
    tag = f"tag:yaml.org,2002:{name}"
    StrictLoader.add_implicit_resolver(tag, re.compile(rf"(?:{pattern})\Z"), list(first))
    StrictLoader.add_constructor(tag, getattr(StrictLoader, constructor))


_teach("null", r"~|null|Null|NULL|", ["~", "n", "N", ""], "construct_yaml_null")
_teach("bool", r"true|True|TRUE|false|False|FALSE", "tTfF", "construct_yaml_bool")
_teach("leading-zero", r"[-+]?0[0-9]+", "-+0", "construct_leading_zero")
_teach("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789", "construct_integer")
_teach("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789", "construct_real")


def build(cls: type, raw: Mapping, where: str):
    """An instance of the dataclass `cls` from a mapping, every value checked against its annotation.

    An int is taken for a float, a list for a tuple and a mapping for a dataclass; nothing else is converted.

    Raises:
        ConfigError: unknown and missing keys, wrong types, and what `cls` itself refuses, in one message.
    """
    problems: list[str] = []
    instance = _build(cls, raw, "", problems)
    if problems:
        raise ConfigError(listed(where, problems))
    return instance


def check_fields(instance: object) -> None:
    """The checks of build for a frozen dataclass made by hand; called from its __post_init__."""
    hints, problems = typing.get_type_hints(type(instance)), []
    for field in dataclasses.fields(instance):
        value = _convert(hints[field.name], getattr(instance, field.name), field.name, problems)
        object.__setattr__(instance, field.name, value)
    if problems:
        raise ConfigError(listed(type(instance).__name__, problems))


def _build(cls: type, raw: object, place: str, problems: list[str]):
    if not isinstance(raw, Mapping):
        problems.append(f"{_quoted(place)}must be a mapping of options, got {_got(raw)}")
        return None
    hints, before = typing.get_type_hints(cls), len(problems)
    known = {field.name: field for field in dataclasses.fields(cls) if field.init}
    problems += [_unknown(key, known, place) for key in sorted(raw.keys() - known.keys(), key=str)]
    values = {}
    for name, field in known.items():
        if name in raw:
            values[name] = _convert(hints[name], raw[name], _join(place, name), problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"'{_join(place, name)}' is missing")
    if len(problems) > before:
        return None
    try:
        return cls(**values)
    except ConfigError as error:
        problems.append(f"{place}: {error}" if place else str(error))
        return None


def _convert(hint: object, value: object, place: str, problems: list[str]):
    """The value as `hint` wants it; None, and a problem more, if it does not fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, place, problems)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else _build(hint, value, place, problems)
    if origin in (tuple, list) and isinstance(value, list | tuple):
        return _convert_list(origin, arguments, value, place, problems)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        keys = {key: _convert(arguments[0], key, f"{place}: key {key!r}", problems) for key in value}
        return {keys[key]: _convert(arguments[1], item, _join(place, key), problems) for key, item in value.items()}
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    literal = origin is Literal and any(type(value) is type(allowed) and value == allowed for allowed in arguments)
    if literal or hint in (object, typing.Any) or (type(value) is hint and hint is not float):
        return value
    problems.append(f"'{place}' must be {_wanted(hint)}, got {_got(value)}{_advice(hint, value)}")
    return None


def _convert_union(members: tuple, value: object, place: str, problems: list[str]):
    for member in sorted(members, key=lambda m: m is not type(value)):  # the exact type first: an int stays one
        attempt: list[str] = []
        result = _convert(member, value, place, attempt)
        if not attempt:
            return result
        if dataclasses.is_dataclass(member) and isinstance(value, Mapping):
            problems += attempt  # the mapping is meant for this one: say what is wrong inside
            return None
    wanted = " or ".join(_wanted(member) for member in members)
    problems.append(f"'{place}' must be {wanted}, got {_got(value)}")
    return None


def _convert_list(origin: type, arguments: tuple, value: list | tuple, place: str, problems: list[str]):
    hints = arguments if origin is tuple and arguments[-1] is not Ellipsis else (arguments[0],) * len(value)
    if len(hints) != len(value):
        problems.append(f"'{place}' must hold {len(hints)} values, got {len(value)}")
        return None
    pairs = zip(hints, value, strict=True)
    return origin(_convert(hint, item, f"{place}[{i}]", problems) for i, (hint, item) in enumerate(pairs))


def _wanted(hint: object) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_wanted(member) for member in arguments)
    if origin is Literal:
        return f"one of {', '.join(repr(allowed) for allowed in arguments)}"
    if origin in (tuple, list):
        return f"a list of {_wanted(arguments[0])}"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(hint):
        return "a mapping"
    return "null" if hint is types.NoneType else getattr(hint, "__name__", str(hint))


def _got(value: object) -> str:
    return "null" if value is None else f"{value!r} ({type(value).__name__})"


def _advice(hint: object, value: object) -> str:
    if hint is bool and str(value).lower() in ("yes", "no", "on", "off"):
        return "; write true or false"
    nearest = difflib.get_close_matches(str(value), [str(allowed) for allowed in typing.get_args(hint)], n=1)
    return f"; did you mean '{nearest[0]}'?" if nearest and typing.get_origin(hint) is Literal else ""


def _unknown(key: object, known: Mapping, place: str) -> str:
    nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    guess = f"did you mean '{_join(place, nearest[0])}'? " if nearest else ""
    return f"'{_join(place, key)}' is not an option; {guess}Options: {', '.join(sorted(known)) or '(none)'}."


def _join(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)


def _quoted(place: str) -> str:
    return f"'{place}' " if place else ""
