"""The kit itself: every check catches a plugin that breaks its rule and passes one that keeps all rules."""

import re
import subprocess
import sys

import pytest

from benchmark.clip.backbone import load_clip
from benchmark.common.files import REPOSITORY
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import ConfigError
from benchmark.plugins.discovery import add_plugin, method_names
from tests.conformance.chosen import Chosen, choose, problem_of
from tests.conformance.rule_breaker import BREAKERS
from tests.conformance.subject import Subject, hold, rule_of
from tests.test_every_method import CHECKS

pytestmark = pytest.mark.usefixtures("own_plugins")

PLUGIN = REPOSITORY / "tests" / "conformance" / "rule_breaker.py"
BY_NAME = {check.__name__.removeprefix("check_"): check for check in CHECKS}
OTHERWISE = {  # options that no recipe of methods/ has
    "class_specific": ("coop", {"class_specific": True}),
    "raw_patches": ("copl", {"patches": "raw"}),
    "ensemble": ("zero_shot", {"templates": "ensemble"}),
}


@pytest.fixture
def breaking():
    """breaking("rule"): the plugin that breaks it, on a CLIP of its own, since some breakers change CLIP."""
    add_plugin(PLUGIN)
    return lambda rule: Subject("rule_breaker", {"breaks": rule}, load_clip(CHECKPOINT))


def test_every_check_has_a_breaker_and_states_its_rule():
    assert {name.split("__")[0] for name in BREAKERS} == set(BY_NAME)
    for check in CHECKS:
        assert len(rule_of(check)) > 60 and rule_of(check).endswith(".")


@pytest.mark.parametrize("rule", BREAKERS)
def test_broken_rule_is_caught_and_reported_with_its_reason(breaking, rule):
    check = BY_NAME[rule.split("__")[0]]
    with pytest.raises(pytest.fail.Exception) as failure:
        hold(check, breaking(rule))
    message = str(failure.value)
    assert message.startswith(rule_of(check) + "\nSeen in rule_breaker: ")
    assert len(message) > len(rule_of(check)) + 40
    if rule.endswith("__needed"):
        assert re.search(r"rule_breaker.py:\d+: AttributeError: 'NoneType'", message), "an error of the method's code"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_plugin_that_keeps_all_rules_passes(breaking, check):
    hold(check, breaking(None))


@pytest.mark.slow
@pytest.mark.parametrize("case", OTHERWISE)
def test_method_keeps_the_rules_under_other_options(case):
    for check in CHECKS:
        hold(check, Subject(*OTHERWISE[case]))


def test_kit_checks_all_methods_or_the_plugins_or_those_named():
    assert [chosen.name for chosen in choose([], [])] == list(method_names())
    assert choose([], [str(PLUGIN)]) == [Chosen("rule_breaker")]
    assert choose(["coop", "rule_breaker"], [str(PLUGIN)]) == [Chosen("coop"), Chosen("rule_breaker")]
    with pytest.raises(ConfigError, match=r"--method cocop: there is no such method\. Did you mean 'cocoop'"):
        choose(["cocop"], [])


def test_method_that_cannot_be_made_has_a_problem(plugin):
    assert "the name 'coop' is taken" in problem_of(*choose([], [str(plugin("coop"))]))
    assert "odd.py:1: ModuleNotFoundError" in problem_of(*choose([], [str(plugin("odd", "import nowhere_at_all\n"))]))
    assert problem_of(Chosen("coop")) == ""


def pytest_on(*arguments, cwd=REPOSITORY):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_kit_runs_from_the_command_line_on_plugins_anywhere(tmp_path):
    for name, text in [("good", PLUGIN.read_text()), ("torn", "def (\n")]:
        (tmp_path / f"{name}.py").write_text(text)
        (tmp_path / f"{name}.yaml").write_text(PLUGIN.with_suffix(".yaml").read_text())
    kit = str(REPOSITORY / "tests" / "test_every_method.py")
    code, out = pytest_on(kit, "--plugin", "good.py", "--plugin", "torn.py", cwd=tmp_path)
    assert code == 1
    assert f"1 failed, {len(CHECKS)} passed" in out
    assert "torn.py:1: SyntaxError" in out
    code, out = pytest_on(kit, "--method", "cocop")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "Did you mean 'cocoop'?" in out
