"""Methods outside the repository, from the command line: they run like ours; what is wrong with one harms no other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import run_all
import tables.__main__
import tables.attention
from benchmark.features.cache import cache_folder
from benchmark.plugins import discovery
from benchmark.records.store import load

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_plugins", "sketched")]  # end to end

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--datasets", "synth_actions", "--seeds", "1", "--shots", "2", "--device", "cpu"]
QUICK = ["--set", "mine.epochs=1"]


@pytest.fixture
def call(tmp_path):
    """call("--plan", ...): the exit code of the main command on a small grid; its results are at tmp_path / "out"."""
    return lambda *arguments: run_all.main([*map(str, arguments), *SMALL, "--out", str(tmp_path / "out")])


def records_of(method, tmp_path):
    return sorted((tmp_path / "out" / "synthetic").rglob(f"{method}/*/*.json"))


def test_plugin_runs_beside_ours_and_its_record_says_what_it_was(call, plugin, tmp_path):
    file = plugin("mine")
    assert call("--plugin", file, "--methods", "zero_shot", "mine", *QUICK) == 0
    (path,) = records_of("mine", tmp_path)
    record = load(path)
    assert len(record.spec.plugin) == 16
    assert record.provenance["plugin"] == {"file": "mine.py"}
    assert str(tmp_path) not in path.read_text()
    (ours,) = records_of("zero_shot", tmp_path)
    assert (load(ours).spec.plugin, load(ours).provenance["plugin"]) == ("", None)
    assert "mine" in (tmp_path / "out" / "synthetic" / "base2new.md").read_text()


def test_plugin_runs_with_all_methods_where_none_is_named(call, plugin, capsys):
    assert call("--plugin", plugin("mine"), "--plan") == 0
    told = capsys.readouterr().out
    assert "zero_shot" in told
    assert "\nmine " in told
    assert call("--plugin", ROOT / "methods" / "coop.py", "--plan") == 0, "one of ours by its file is nothing new"


BROKEN = {
    "syntax": ("def f(:\n", "mine.py:1: SyntaxError"),
    "import": ("x = 1\nimport nowhere_at_all\n", "mine.py:2: ModuleNotFoundError"),
    "exit": ("raise SystemExit(3)\n", "mine.py:1: SystemExit: 3"),
    "no class": ("x = 1\n", "mine.py:1: defines 0 subclasses"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_plugin_is_one_error_and_the_others_run(call, plugin, tmp_path, capsys, case):
    code, message = BROKEN[case]
    assert call("--plugin", plugin("mine", code), "--methods", "zero_shot", "mine") == 1
    out, error = capsys.readouterr()
    assert error.count("error: left out:") == out.count("error: left out:") == 1
    assert message in error
    assert "Traceback" not in error + out
    assert len(records_of("zero_shot", tmp_path)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("self.set_classes(class", "1 / 0; self.set_classes(class"), "ZeroDivisionError"),
        (("    def loss", "    def set_classes(self, *_):\n        1 / 0\n\n    def loss"), "ZeroDivisionError"),
        (("self.start_context(", "self.start_contxt("), "AttributeError"),
        (("check_context_keys(self", "check_contxt_keys(self"), "NameError"),
    ],
)
def test_plugin_that_fails_where_it_is_made_is_found_by_the_plan(call, plugin, tmp_path, capsys, change, message):
    file = plugin("mine")
    file.write_text(file.read_text().replace(*change))
    assert call("--plugin", file, "--methods", "zero_shot", "mine") == 1
    error = capsys.readouterr().err
    assert "mine.py:" in error
    assert message in error
    assert len(records_of("zero_shot", tmp_path)) == 1
    assert not (tmp_path / "out" / "failed").exists()


def test_plugin_without_recipe_and_two_more_are_told_each_once(call, plugin, capsys, tmp_path):
    plugins = [plugin("mine", recipe=None), plugin("torn", "def f(:\n"), plugin("good")]
    options = [part for file in plugins for part in ("--plugin", file)]
    assert call(*options, "--methods", "mine", "torn", "good", "--set", "good.epochs=1") == 1
    error = capsys.readouterr().err
    assert error.count("left out") == 2
    assert "its recipe mine.yaml is not beside it" in error
    assert "torn.py:1: SyntaxError" in error
    assert len(records_of("good", tmp_path)) == 1


def test_plugin_whose_name_is_taken_is_one_error_naming_both_files(call, plugin, tmp_path, capsys):
    assert call("--plugin", plugin("coop"), "--methods", "zero_shot") == 1
    error = capsys.readouterr().err
    assert error.count("left out") == 1
    assert "plugins/coop.py" in error
    assert "methods/coop.py" in error
    assert len(records_of("zero_shot", tmp_path)) == 1


def test_nothing_but_a_broken_plugin_is_exit_code_2(call, plugin, capsys):
    assert call("--plugin", plugin("mine", "def f(:\n"), "--methods", "mine") == 2
    assert capsys.readouterr().err.count("mine.py:1: SyntaxError") == 1


@pytest.mark.parametrize("name", ["nowhere", "Loud", "my-method", "lambda"])
def test_plugin_that_is_not_there_or_cannot_have_its_name_is_exit_code_2(call, plugin, capsys, name):
    file = plugin(name) if name != "nowhere" else Path("nowhere.py")
    assert call("--plugin", file) == 2
    assert f"--plugin {file}: " in capsys.readouterr().err


def test_method_that_learns_without_epochs_is_refused_and_one_with_epochs_that_does_not(call, plugin, capsys):
    recipe = "defaults: {n_ctx: 4, ctx_init: null, anchor_weight: 1.0}\n"
    assert call("--plugin", plugin("mine", recipe=recipe), "--methods", "mine") == 2
    assert "mine.yaml: the method learns, but it says not how long. Give epochs" in capsys.readouterr().err
    still, last = plugin("still"), "        self.set_classes("
    still.write_text(still.read_text().replace(last, f"        self.ctx.requires_grad_(False)\n{last}"))
    assert call("--plugin", still, "--methods", "still") == 2
    assert "still.yaml: it trains for 50 epochs, but the method holds nothing to learn" in capsys.readouterr().err


def test_plugin_runs_in_several_processes(tmp_path, plugin):
    arguments = ["--plugin", str(plugin("mine")), "--methods", "mine", "--datasets", "synth_actions", "synth_things"]
    arguments += ["--seeds", "1", "--shots", "1", "--device", "cpu", "--processes", "2", "--out", str(tmp_path / "out")]
    assert run_all.main([*arguments, *QUICK]) == 0
    assert len(records_of("mine", tmp_path)) == 2


def test_changed_plugin_runs_anew_and_its_old_records_stay_apart(call, plugin, tmp_path, capsys):
    file = plugin("mine")
    arguments = ["--plugin", file, "--methods", "mine", *QUICK]
    assert call(*arguments) == 0
    (first,) = records_of("mine", tmp_path)
    content = first.read_bytes()
    file.write_text(file.read_text().replace("square()", "abs()"))
    capsys.readouterr()
    assert call(*arguments) == 0
    told = capsys.readouterr().out
    folder = first.parents[1]
    assert f"note: mine: its file changed since 1 runs of base2new were recorded; they stay in {folder}, and" in told
    assert first.read_bytes() == content
    (second,) = set(records_of("mine", tmp_path)) - {first}
    assert load(second).spec.plugin != load(first).spec.plugin
    assert tables.__main__.main(["--from", str(tmp_path / "out" / "synthetic")]) == 2
    assert "they differ in the file of 'mine', which is no part of this repository" in capsys.readouterr().err
    first.unlink()
    assert tables.__main__.main(["--from", str(tmp_path / "out" / "synthetic")]) == 0


def test_plugin_changed_after_the_plan_is_a_failure_and_no_record_of_the_old_code(call, plugin, tmp_path, monkeypatch):
    import benchmark.cli.commands

    file, plan = plugin("mine"), benchmark.cli.commands.make_plan

    def make_plan(*arguments, **options):
        made = plan(*arguments, **options)
        file.write_text(file.read_text() + "\n# changed\n")
        discovery.add_plugin(file)  # as a process started now does
        return made

    monkeypatch.setattr(benchmark.cli.commands, "make_plan", make_plan)
    assert call("--plugin", file, "--methods", "mine", *QUICK) == 1
    (failure,) = (tmp_path / "out" / "failed").rglob("*.json")
    assert "changed since the plan was made" in json.loads(failure.read_text())["error"]
    assert not records_of("mine", tmp_path)


def test_tables_are_rendered_from_a_plugins_records_without_it(call, plugin, tmp_path):
    file = plugin("mine")
    assert call("--plugin", file, "--methods", "zero_shot", "mine", *QUICK) == 0
    file.unlink()
    command = [sys.executable, "-m", "tables", "--from", str(tmp_path / "out" / "synthetic")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert r"mine<br>base" in done.stdout


def test_installed_method_runs_when_it_is_named_and_its_record_says_its_package(call, package, tmp_path, capsys):
    package("our-methods", {"held": "our_methods.ours:MyMethod", "coop": "our_methods.ours:MyMethod"})
    assert call("--methods", "zero_shot", "held", "--set", "held.epochs=1") == 0
    assert "note: method 'coop' of our-methods" in capsys.readouterr().out
    (path,) = records_of("held", tmp_path)
    origin = load(path).provenance["plugin"]
    assert origin == {"file": "ours.py", "package": "our-methods", "version": "1.2"}
    assert call("--plan", "--methods", "hold") == 2
    assert "Did you mean 'held'?" in capsys.readouterr().err


def test_attention_of_a_plugins_run_needs_its_file(call, plugin, tmp_path, capsys):
    file = plugin("mine", (ROOT / "methods" / "copl.py").read_text(), (ROOT / "methods" / "copl.yaml").read_text())
    assert call("--plugin", file, "--methods", "mine", *QUICK) == 0
    (path,) = records_of("mine", tmp_path)
    picture = next(cache_folder().glob("synthetic-*/synth_actions/images/*/test_00.png"))
    arguments, code = ["--run", str(path), "--images", str(picture)], file.read_text()
    discovery._added.clear()
    assert tables.attention.main(arguments) == 2
    assert "'mine' is not a method of this repository. Give its file: --plugin mine.py" in capsys.readouterr().err
    file.write_text(code + "\n# changed\n")
    assert tables.attention.main([*arguments, "--plugin", str(file)]) == 2
    assert "is not what this run had" in capsys.readouterr().err
    file.write_text(code)
    assert tables.attention.main([*arguments, "--plugin", str(file)]) == 0
    assert path.with_name(f"{path.stem}-attention.png").is_file()
