"""Choose the methods that the kit checks, and say why one cannot be checked."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from benchmark.errors import BenchmarkError, ConfigError, MethodError, did_you_mean
from benchmark.plugins.discovery import add_plugin, method_names


@dataclass(frozen=True)
class Chosen:
    """A method to check.

    Attributes:
        problem: why the method of a file cannot be used; empty if it can.
    """

    name: str
    problem: str = ""


CHOSEN = pytest.StashKey[list[Chosen]]()  # in the configuration of a pytest run


def choose(methods: Sequence[str], plugins: Sequence[str]) -> list[Chosen]:
    """The named methods; without names, the plugins; without plugins, all methods.

    Raises:
        ConfigError: an unknown name, with the nearest, or a missing file.
    """
    found, unusable = [], []
    for path in plugins:
        try:
            found.append(add_plugin(path))
        except MethodError as error:
            unusable.append(Chosen(path, str(error)))
    for name in methods:
        if name not in method_names():
            raise ConfigError(f"--method {name}: there is no such method. {did_you_mean(name, method_names())}")
    names = methods or found or ([] if plugins else method_names())
    return [*unusable, *(Chosen(name) for name in dict.fromkeys(names))]


def problem_of(chosen: Chosen) -> str:
    """Why a method cannot be created; empty if it can."""
    if chosen.problem:
        return chosen.problem
    from tests.conformance.subject import Subject  # imports torch

    try:
        Subject(chosen.name).make(with_sample=False)
    except BenchmarkError as error:
        return str(error)
    return ""
