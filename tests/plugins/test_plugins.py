"""Methods outside the repository, from the command line: they run like ours, and a broken one does not stop others."""

import json
import subprocess
import sys

import pytest

import run_all
import tables.__main__
import tables.attention
from benchmark.common.files import REPOSITORY
from benchmark.plugins import discovery
from benchmark.records.store import load

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_plugins", "sketched")]  # end to end

SMALL = ["--datasets", "synth_actions", "--seeds", "1", "--shots", "2", "--device", "cpu"]
QUICK = ["--set", "mine.epochs=1"]


@pytest.fixture
def call(tmp_path):
    """call("--plan", ...): the exit code of the main command on a small grid; its results are at tmp_path / "out"."""
    return lambda *arguments: run_all.main([*map(str, arguments), *SMALL, "--out", str(tmp_path / "out")])


def records_of(method, tmp_path):
    return sorted((tmp_path / "out" / "synthetic").rglob(f"{method}/*/*.json"))


def test_plugin_runs_next_to_ours_and_its_records_can_be_rendered_without_it(call, plugin, tmp_path, capsys):
    file = plugin("mine")
    assert call("--plugin", file, "--plan") == 0
    plan = capsys.readouterr().out
    assert "\nzero_shot " in plan and "\nmine " in plan, "no method is named, so all run"
    assert call("--plugin", file, "--methods", "zero_shot", "mine", "--processes", "2", *QUICK) == 0
    (path,) = records_of("mine", tmp_path)
    record = load(path)
    assert len(record.spec.plugin) == 16
    assert record.provenance["plugin"] == {"file": "mine.py"}
    assert str(tmp_path) not in path.read_text()
    (ours,) = records_of("zero_shot", tmp_path)
    assert (load(ours).spec.plugin, load(ours).provenance["plugin"]) == ("", None)
    assert "mine" in (tmp_path / "out" / "synthetic" / "base2new.md").read_text()
    file.unlink()
    command = [sys.executable, "-m", "tables", "--from", str(tmp_path / "out" / "synthetic")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert r"mine<br>base" in done.stdout


def test_broken_plugins_are_one_error_each_and_the_others_run(call, plugin, tmp_path, capsys):
    plugins = [plugin("mine", recipe=None), plugin("torn", "def f(:\n"), plugin("coop"), plugin("good")]
    options = [part for file in plugins for part in ("--plugin", file)]
    assert call(*options, "--methods", "mine", "torn", "good", "--set", "good.epochs=1") == 1
    out, error = capsys.readouterr()
    assert error.count("error: left out:") == out.count("error: left out:") == 3
    for message in ("its recipe mine.yaml is missing next to it", "torn.py:1: SyntaxError", "plugins/coop.py: "):
        assert message in error
    assert "Traceback" not in error + out
    assert len(records_of("good", tmp_path)) == 1
    assert call("--plugin", plugins[1], "--methods", "torn") == 2, "nothing is left to run"
    assert capsys.readouterr().err.count("torn.py:1: SyntaxError") == 1


def test_method_that_learns_without_epochs_is_refused_and_one_with_epochs_that_does_not(call, plugin, capsys):
    recipe = "defaults: {n_ctx: 4, ctx_init: null, anchor_weight: 1.0}\n"
    assert call("--plugin", plugin("mine", recipe=recipe), "--methods", "mine") == 2
    assert "mine.yaml: the method learns" in capsys.readouterr().err
    still, last = plugin("still"), "        self.set_classes("
    still.write_text(still.read_text().replace(last, f"        self.ctx.requires_grad_(False)\n{last}"))
    assert call("--plugin", still, "--methods", "still") == 2
    assert "still.yaml: it trains for 50 epochs" in capsys.readouterr().err


def test_changed_plugin_runs_again_and_its_old_records_are_kept_apart(call, plugin, tmp_path, capsys):
    file = plugin("mine")
    arguments = ["--plugin", file, "--methods", "mine", *QUICK]
    assert call(*arguments) == 0
    (first,) = records_of("mine", tmp_path)
    content = first.read_bytes()
    file.write_text(file.read_text().replace("square()", "abs()"))
    capsys.readouterr()
    assert call(*arguments) == 0
    out = capsys.readouterr().out
    assert "the file of mine changed since 1 run was recorded there" in out and str(first.parent) in out
    assert first.read_bytes() == content
    (second,) = set(records_of("mine", tmp_path)) - {first}
    assert load(second).spec.plugin != load(first).spec.plugin
    assert tables.__main__.main(["--from", str(tmp_path / "out" / "synthetic")]) == 2
    assert "they differ in the plugin file of 'mine'" in capsys.readouterr().err
    first.unlink()
    assert tables.__main__.main(["--from", str(tmp_path / "out" / "synthetic")]) == 0


def test_plugin_changed_after_the_plan_is_a_failure(call, plugin, tmp_path, monkeypatch):
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
