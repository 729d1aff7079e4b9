"""Check dataclasses against their annotations with pydantic, and report all problems in one message."""

import difflib
import functools
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs, ErrorDetails, SchemaValidator

from benchmark.errors import ConfigError, listed

RULES = {  # added to pydantic's schemas, by their type
    "bool": {"strict": True},
    "int": {"strict": True},
    "float": {"strict": True, "allow_inf_nan": False},
    "str": {"strict": True},
    "dataclass-args": {"extra_behavior": "forbid"},
}
PLAIN = (  # pydantic's words -> those of YAML
    (r"^(Input|Tuple|List|Dictionary) should", "must"),
    (r"a valid (tuple|list)", "a list"),
    (r"\btuple\b", "list"),
    (r"a (valid )?(dictionary|mapping).*", "a mapping"),
    (r"a valid boolean", "true or false"),
    (r"a valid integer", "an integer"),
    (r"a valid ", "a "),
    (r"greater than or equal to", "at least"),
    (r"less than or equal to", "at most"),
    (r"be greater than", "be above"),
    (r"be less than", "be below"),
    (r" after validation.*", ""),
)


def build(cls: type, raw: Mapping, where: str):
    """Make an instance of the dataclass `cls` from a mapping, every value checked against its annotation.

    An int is taken for a float, a list for a tuple and a mapping for a dataclass; nothing else is converted.

    Raises:
        ConfigError: unknown and missing keys, wrong types, and what `cls` itself refuses, in one message.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: must be a mapping of options, got {_got(raw)}")
    try:
        return _validator(cls).validate_python(dict(raw))
    except ValidationError as error:
        raise _explained(cls, error, where) from error


@typing.dataclass_transform(frozen_default=True, kw_only_default=True)
def validated(cls: type) -> type:
    """Make a frozen, keyword-only dataclass whose constructor checks and converts values as `build` does."""
    cls = dataclass(frozen=True, kw_only=True)(cls)

    @functools.wraps(cls.__init__)
    def __init__(self: object, **values: object) -> None:
        try:
            _validator(cls).validate_python(ArgsKwargs((), values), self_instance=self)
        except ValidationError as error:
            raise _explained(cls, error, cls.__name__) from error

    cls.__init__ = __init__
    return cls


@functools.cache
def _validator(cls: type) -> SchemaValidator:
    return SchemaValidator(_add_rules(TypeAdapter(cls).core_schema))


def _add_rules(schema: object) -> object:
    """Make a schema's scalars strict, but no container: pydantic's strict mode would refuse a list for a tuple."""
    if isinstance(schema, list):
        return [_add_rules(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kind, rules = schema.get("type"), RULES.get(schema.get("type"), {})
    if kind == "union":  # one problem, not one for each member
        wanted = " or ".join(member["type"] for member in schema["choices"])
        rules = {"custom_error_type": "union", "custom_error_message": f"Input should be {wanted}"}
    return {key: value if key == "default" else _add_rules(value) for key, value in schema.items()} | rules


def _explained(cls: type, error: ValidationError, where: str) -> ConfigError:
    """One message for all problems; an error of a method's own code, other than ConfigError, is raised as it is."""
    problems = error.errors(include_url=False)
    for details in problems:
        cause = details.get("ctx", {}).get("error")
        if cause is not None and not isinstance(cause, ConfigError):
            raise cause
    return ConfigError(listed(where, [_problem(cls, details) for details in problems]))


def _problem(cls: type, details: ErrorDetails) -> str:
    kind, path, context, got = details["type"], details["loc"], details.get("ctx", {}), details["input"]
    about_key = path[-1:] == ("[key]",)
    place = _place(path[:-2] if about_key else path)
    subject = f"a key of '{place}'" if about_key else f"'{place}'"
    if kind in ("missing", "missing_keyword_only_argument"):
        return f"{subject} is missing"
    if kind in ("unexpected_keyword_argument", "invalid_key"):
        return _unknown(cls, path)
    if kind == "value_error":
        return f"{subject}: {context['error']}" if place else str(context["error"])
    words = functools.reduce(lambda text, pair: re.sub(*pair, text), PLAIN, details["msg"])
    nearest = difflib.get_close_matches(str(got), re.findall("'(.*?)'", context.get("expected", "")), n=1)
    return f"{subject} {words}, got {_got(got)}" + (f"; did you mean '{nearest[0]}'?" if nearest else "")


def _unknown(cls: type, path: tuple[str | int, ...]) -> str:
    for key in path[:-1]:
        cls = _dataclass_in(typing.get_type_hints(cls).get(key)) or cls
    known = sorted(field.name for field in fields(cls) if field.init)
    nearest = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
    guess = f"did you mean '{_place((*path[:-1], nearest[0]))}'? " if nearest else ""
    return f"'{_place(path)}' is not an option; {guess}Options: {', '.join(known) or '(none)'}."


def _place(path: tuple[str | int, ...]) -> str:
    """The place of a value in words: "recipes.coop", "seeds[1]"."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def _dataclass_in(hint: object) -> type | None:
    """The dataclass that an annotation is or holds."""
    return hint if is_dataclass(hint) else next(filter(None, map(_dataclass_in, typing.get_args(hint))), None)


def _got(value: object) -> str:
    return "null" if value is None else f"{value!r} ({type(value).__name__})"
