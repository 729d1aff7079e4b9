"""The method that --new-method writes: it runs, keeps all rules and is short."""

import subprocess
import sys
from pathlib import Path

import pytest

import run_all
from benchmark.errors import ConfigError
from benchmark.plugins.discovery import add_plugin
from benchmark.plugins.importer import method_class
from benchmark.plugins.scaffold import SKELETON, write_new_method
from tests.conformance.subject import Subject, hold
from tests.test_every_method import CHECKS

pytestmark = pytest.mark.usefixtures("own_plugins")


@pytest.mark.parametrize("target", ["held_words", "held_words.py", "deep/er/held_words"])
def test_files_are_written_under_their_own_names(tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    message = write_new_method(Path(target))
    file = Path(target).with_suffix(".py")
    assert f"--plugin {file} --methods zero_shot held_words" in message
    assert f"tests/test_every_method.py --plugin {file}" in message
    text = file.read_text() + file.with_suffix(".yaml").read_text()
    assert "my_method" not in text and "MyMethod" not in text
    add_plugin(file)
    assert method_class("held_words").__name__ == "HeldWords"


def test_written_file_passes_ruff(tmp_path):
    pytest.importorskip("ruff")
    write_new_method(tmp_path / "held_words")
    settings = ["--config", str(SKELETON.parents[3] / "pyproject.toml"), str(tmp_path / "held_words.py")]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, *settings], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("kept")
    assert run_all.main(["--new-method", "mine"]) == 2
    assert "mine.yaml would be overwritten" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("coop", "the name 'coop' is taken"),
        ("My_Method", "cannot name a method"),
        ("failed", "cannot name a method"),
        ("none", "its class would be None"),
        ("", "cannot name a method"),
        ("file/mine", "cannot be written"),
    ],
)
def test_name_that_cannot_be_used_is_refused_and_nothing_is_written(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigError, match=message):
        write_new_method(Path(name))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
def test_written_method_keeps_all_rules_and_runs_on_the_embedded_suite(tmp_path):
    write_new_method(tmp_path / "held_words")
    arguments = ["--plugin", str(tmp_path / "held_words.py"), "--methods", "zero_shot", "held_words"]
    arguments += ["--datasets", "synth_actions", "--seeds", "1", "--shots", "4", "--out", str(tmp_path / "results")]
    assert run_all.main(arguments) == 0
    assert r"held\_words" in (tmp_path / "results" / "synthetic" / "base2new.md").read_text()
    for check in CHECKS:
        hold(check, Subject("held_words"))
