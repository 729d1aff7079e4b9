"""Run the conformance kit: the same named checks on every method. Each check states its rule and the reason.

pytest tests/test_every_method.py [--method NAME] [--plugin FILE]
"""

import pytest

from tests.conformance import classes, numerics, scoring, training
from tests.conformance.chosen import CHOSEN, problem_of
from tests.conformance.subject import Subject, hold

CHECKS = [
    check
    for module in (scoring, classes, training, numerics)
    for name, check in vars(module).items()
    if name.startswith("check_")
]


def pytest_generate_tests(metafunc):
    """Every check of every chosen method; a single failure for a method that cannot be created."""
    cases = []
    for chosen in metafunc.config.stash[CHOSEN]:
        if problem := problem_of(chosen):
            cases.append(pytest.param(chosen.name, None, problem, id=f"{chosen.name}-can_be_made"))
        else:
            cases += [pytest.param(chosen.name, check, "", id=f"{chosen.name}-{check.__name__}") for check in CHECKS]
    metafunc.parametrize(("name", "check", "problem"), cases)


def test_method(name, check, problem):
    if problem:
        pytest.fail(problem, pytrace=False)
    hold(check, Subject(name))
