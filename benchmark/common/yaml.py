"""Read YAML files and command-line values with the scalars of YAML 1.2.

PyYAML follows YAML 1.1, where `lr: 1e-5` is text, `no` is false, `010` is 8, `12:30` is 750 and the last of two equal
keys wins silently. Here scalars follow the core schema of YAML 1.2; tags and merge keys are not supported.
"""

import copy
import functools
import math
import re
from pathlib import Path

import yaml

from benchmark.common.files import shown
from benchmark.errors import ConfigError, unreadable

YAML_STARTS = ("[", "{", '"', "'")  # a command-line value that begins so is YAML, any other a plain scalar
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def read_yaml(path: Path | str) -> dict:
    """Read the mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        ConfigError: unreadable, not YAML, a repeated key, a tag, an ambiguous number or no mapping; with file and line.
    """
    where = shown(path)
    try:
        value = _load(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(unreadable(where, error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: is not UTF-8 text (byte {error.start}).") from error
    except yaml.MarkedYAMLError as error:
        context = f"{error.context}: " if error.context else ""
        raise ConfigError(f"{where}:{error.problem_mark.line + 1}: {context}{error.problem}") from error
    except yaml.reader.ReaderError as error:  # a control character; PyYAML knows its position, not its line
        raise ConfigError(f"{where}: YAML does not allow character {error.position + 1} ({error.reason}).") from error
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{where}:1: holds a {type(value).__name__} at its top level; write `key: value` lines.")
    return value or {}


def parse_scalar(text: str) -> object:
    """Parse one command-line value by the rules of the YAML files.

    A value that begins with `[`, `{` or a quote is read as YAML. Any other value is one plain scalar: blanks, `: ` and
    ` #` are part of its text, so a template needs no second pair of quotes.

    Raises:
        ConfigError: a list, mapping or quoted text that does not close, or an ambiguous number.
    """
    text = text.strip()
    try:
        if text.startswith(YAML_STARTS):
            return _load(text)
        loader = StrictLoader("")
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return loader.construct_object(yaml.ScalarNode(tag, text, loader.get_mark()))
    except _RefusedError as error:
        raise ConfigError(f"value {text!r}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"value {text!r} begins like a list, a mapping or quoted text, but cannot be read as one; "
            "correct it, or keep plain text whole with quotes inside the shell's own: '\"{} ...\"'."
        ) from error


class _RefusedError(yaml.constructor.ConstructorError):
    """Valid YAML that this project does not accept."""

    def __init__(self, problem: str, place: yaml.Node | yaml.Event) -> None:
        super().__init__(None, None, problem, place.start_mark)


class StrictLoader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema, unique keys, and no tags."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (filled below; none of YAML 1.1's)

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        if getattr(event := self.peek_event(), "tag", None) is not None:
            raise _RefusedError("tags (`!name`) are not supported; write the value alone.", event)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[object, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _RefusedError("a key is text or a number, not a list or a mapping.", key_node)
            key, line = self.construct_object(key_node), key_node.start_mark.line + 1
            if key in lines:
                problem = f"the key '{key_node.value}' is given twice, on lines {lines[key]} and {line}; keep one."
                raise _RefusedError(problem, key_node)
            lines[key] = line
        return super().construct_mapping(node, deep=True)  # deep: an alias inside its own anchor is an error

    def construct_scalar(self, node: yaml.ScalarNode) -> str:
        value = super().construct_scalar(node)
        if wrong := UNPRINTABLE.search(value):
            raise _RefusedError(f"text holds {wrong[0]!r}, a character that cannot be written or shown.", node)
        return value


def _load(text: str) -> object:
    return copy.deepcopy(_parsed(text))


@functools.lru_cache(maxsize=64)  # a plan reads the recipe of a method for each dataset
def _parsed(text: str) -> object:
    return StrictLoader(text).get_single_data()


def _real(loader: StrictLoader, node: yaml.ScalarNode) -> float:
    value = float(node.value)
    if math.isinf(value):
        raise _RefusedError(f"{node.value} is too large for a number; put text in quotes.", node)
    return value


def _leading_zero(loader: StrictLoader, node: yaml.ScalarNode) -> int:
    number = int(node.value)
    problem = f'write {number} for the number, "{node.value}" in quotes for the text.'
    raise _RefusedError(f"{node.value} begins with a zero, which some readers take as octal; {problem}", node)


def _sequence(loader: StrictLoader, node: yaml.SequenceNode) -> list:
    return loader.construct_sequence(node, deep=True)


SCALARS = (
    ("null", r"~|null|Null|NULL|", StrictLoader.construct_yaml_null),
    ("bool", r"true|True|TRUE|false|False|FALSE", StrictLoader.construct_yaml_bool),
    ("leading-zero", r"[-+]?0[0-9]+", _leading_zero),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", lambda loader, node: int(node.value)),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", _real),
)
for _name, _pattern, _construct in SCALARS:
    StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), None)
    StrictLoader.add_constructor(f"tag:yaml.org,2002:{_name}", _construct)
StrictLoader.add_constructor("tag:yaml.org,2002:map", StrictLoader.construct_mapping)
StrictLoader.add_constructor("tag:yaml.org,2002:seq", _sequence)
