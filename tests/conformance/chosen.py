"""Which methods the kit checks, of what the command line says; and why one cannot be checked."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from benchmark.errors import BenchmarkError, ConfigError, MethodError, did_you_mean
from benchmark.plugins.discovery import add_plugin, method_names


@dataclass(frozen=True)
class Chosen:
    """A method to check.

    Attributes:
        problem: of a file whose method cannot be had under its name, why.
    """

    name: str
    problem: str = ""


CHOSEN = pytest.StashKey[list[Chosen]]()  # where the configuration of a pytest run holds them


def choose(methods: Sequence[str], plugins: Sequence[str]) -> list[Chosen]:
    """The methods named; where none is, the plugins; where there are none either, all of the registry.

    Raises:
        ConfigError: an unknown name, with the nearest, or a file that is not there.
    """
    found, lost = [], []
    for path in plugins:
        try:
            found.append(add_plugin(path))
        except MethodError as error:
            lost.append(Chosen(path, str(error)))
    for name in methods:
        if name not in method_names():
            raise ConfigError(f"--method {name}: there is no such method. {did_you_mean(name, method_names())}")
    names = methods or found or ([] if plugins else method_names())
    return [*lost, *(Chosen(name) for name in dict.fromkeys(names))]


def problem_of(chosen: Chosen) -> str:
    """Why a method cannot be made at all; empty where it can."""
    if chosen.problem:
        return chosen.problem
    from tests.conformance.subject import Subject  # late: only who collects the kit needs torch and a checkpoint

    try:
        Subject(chosen.name).make(with_sample=False)
    except BenchmarkError as error:
        return str(error)
    return ""
