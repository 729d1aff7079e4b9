"""The kit itself: every check catches a plugin that breaks its rule, and lets pass one that keeps them all."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.clip.backbone import load_clip
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import ConfigError
from benchmark.plugins.discovery import add_plugin, method_names
from tests.conformance.chosen import Chosen, choose, problem_of
from tests.conformance.rule_breaker import BREAKERS
from tests.conformance.subject import Subject, hold, rule_of
from tests.test_every_method import CHECKS

pytestmark = pytest.mark.usefixtures("own_plugins")

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "tests" / "conformance" / "rule_breaker.py"
BY_NAME = {check.__name__.removeprefix("check_"): check for check in CHECKS}
OTHERWISE = {  # the same rules for what no recipe of methods/ says by itself
    "class_specific": ("coop", {"class_specific": True}),
    "raw_patches": ("copl", {"patches": "raw"}),
    "ensemble": ("zero_shot", {"templates": "ensemble"}),
}


@pytest.fixture
def breaking():
    """breaking("rule"): the plugin that breaks it, on a CLIP of its own, which some rules are about."""
    add_plugin(PLUGIN)
    return lambda rule: Subject("rule_breaker", {"breaks": rule}, load_clip(CHECKPOINT))


def test_every_check_has_a_plugin_that_breaks_its_rule():
    assert {name.split("__")[0] for name in BREAKERS} == set(BY_NAME)


@pytest.mark.parametrize("rule", BREAKERS)
def test_broken_rule_is_caught_and_told_with_its_reason(breaking, rule):
    check = BY_NAME[rule.split("__")[0]]
    with pytest.raises(pytest.fail.Exception) as failure:
        hold(check, breaking(rule))
    told = str(failure.value)
    assert told.startswith(rule_of(check) + "\nSeen in rule_breaker: ")
    assert len(told) > len(rule_of(check)) + 40


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_plugin_that_keeps_all_rules_passes(breaking, check):
    hold(check, breaking(None))


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", OTHERWISE)
def test_method_keeps_the_rules_under_other_options(case, check):
    hold(check, Subject(*OTHERWISE[case]))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_rule_is_a_sentence_and_its_reason(check):
    assert len(rule_of(check)) > 60
    assert rule_of(check).endswith(".")


def test_error_in_a_methods_own_code_is_told_with_its_line(breaking):
    with pytest.raises(pytest.fail.Exception, match=r"rule_breaker.py:\d+: AttributeError: 'NoneType'"):
        hold(BY_NAME["patches_are_read_only_when_declared"], breaking("patches_are_read_only_when_declared__needed"))


def test_kit_takes_all_methods_or_the_plugins_or_those_named():
    assert [chosen.name for chosen in choose([], [])] == list(method_names())
    assert choose([], [str(PLUGIN)]) == [Chosen("rule_breaker")]
    assert choose(["coop", "rule_breaker"], [str(PLUGIN)]) == [Chosen("coop"), Chosen("rule_breaker")]


def test_kit_refuses_an_unknown_method_with_the_nearest():
    with pytest.raises(ConfigError, match=r"--method cocop: there is no such method\. Did you mean 'cocoop'"):
        choose(["cocop"], [])


def test_kit_keeps_a_plugin_whose_name_is_taken_as_a_problem(tmp_path):
    (tmp_path / "coop.py").write_text("")
    (chosen,) = choose([], [str(tmp_path / "coop.py")])
    assert "there is a method 'coop' already" in problem_of(chosen)


def test_method_that_cannot_be_made_has_a_problem(tmp_path):
    file = tmp_path / "odd.py"
    file.write_text("import nowhere_at_all\n")
    file.with_suffix(".yaml").write_text("defaults: {}\n")
    assert "odd.py:1: ModuleNotFoundError" in problem_of(*choose([], [str(file)]))
    assert problem_of(Chosen("coop")) == ""


def pytest_on(*arguments, cwd=ROOT):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_kit_runs_from_the_command_line_on_plugins_anywhere(tmp_path):
    for name, text in [("good", PLUGIN.read_text()), ("torn", "def (\n")]:
        (tmp_path / f"{name}.py").write_text(text)
        (tmp_path / f"{name}.yaml").write_text(PLUGIN.with_suffix(".yaml").read_text())
    kit = str(ROOT / "tests" / "test_every_method.py")
    code, told = pytest_on(kit, "--plugin", "good.py", "--plugin", "torn.py", cwd=tmp_path)
    assert code == 1
    assert f"1 failed, {len(CHECKS)} passed" in told
    assert "torn.py:1: SyntaxError" in told


@pytest.mark.slow
def test_kit_refuses_an_unknown_name_from_the_command_line():
    code, told = pytest_on("tests/test_every_method.py", "--method", "cocop")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "Did you mean 'cocoop'?" in told
