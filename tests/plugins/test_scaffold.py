"""The method that --new-method writes: it runs, keeps every rule, and is short enough to be read."""

import ast
import io
import subprocess
import sys
import tokenize
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


def code_lines(text):
    """Lines that hold code: no blank ones, no comments, no docstrings."""
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {n for t in tokens if t.type not in layout for n in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def test_skeleton_is_at_most_forty_lines_of_code_and_commented():
    text = SKELETON.read_text()
    assert 20 < code_lines(text) <= 40
    assert text.count("#") >= 8


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_written_method_keeps_every_rule_of_the_kit(tmp_path, check):
    write_new_method(tmp_path / "held_words")
    add_plugin(tmp_path / "held_words.py")
    hold(check, Subject("held_words"))


@pytest.mark.parametrize("target", ["held_words", "held_words.py", "deep/er/held_words"])
def test_files_are_written_where_wanted_under_their_own_names(tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    told = write_new_method(Path(target))
    file = Path(target).with_suffix(".py")
    assert file.is_file()
    assert file.with_suffix(".yaml").is_file()
    assert f"--plugin {file}" in told
    text = file.read_text() + file.with_suffix(".yaml").read_text()
    assert "my_method" not in text
    assert "MyMethod" not in text
    add_plugin(file)
    assert method_class("held_words").__name__ == "HeldWords"


def test_written_file_is_formatted_and_without_complaints_of_ruff(tmp_path):
    pytest.importorskip("ruff")
    write_new_method(tmp_path / "held_words")
    settings = ["--config", str(SKELETON.parents[3] / "pyproject.toml"), str(tmp_path / "held_words.py")]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, *settings], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.yaml").write_text("kept")
    with pytest.raises(ConfigError, match=r"mine\.yaml would be overwritten"):
        write_new_method(tmp_path / "mine")
    assert (tmp_path / "mine.yaml").read_text() == "kept"
    assert not (tmp_path / "mine.py").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("coop", "there is a method 'coop' already"),
        ("My_Method", "cannot name a method"),
        ("my-method", "cannot name a method"),
        ("2methods", "cannot name a method"),
        ("lambda", "cannot name a method"),
        ("failed", "cannot name a method"),
        ("none", "its class would be called None"),
        ("", "cannot name a method"),
    ],
)
def test_name_that_cannot_be_had_is_refused_and_nothing_is_written(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        write_new_method(Path(name))
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_new_method(tmp_path / "file" / "mine")


def test_command_line_writes_it_and_says_what_to_do_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_all.main(["--new-method", "mine"]) == 0
    told = capsys.readouterr().out
    assert "--plugin mine.py --methods zero_shot mine" in told
    assert "tests/test_every_method.py --plugin mine.py" in told
    assert run_all.main(["--new-method", "mine"]) == 2
    assert "would be overwritten" in capsys.readouterr().err


@pytest.mark.slow
def test_written_method_runs_on_the_embedded_suite_and_stands_in_the_table(tmp_path, capsys):
    write_new_method(tmp_path / "held_words")
    arguments = ["--plugin", str(tmp_path / "held_words.py"), "--methods", "zero_shot", "held_words"]
    arguments += ["--datasets", "synth_actions", "--seeds", "1", "--shots", "4", "--out", str(tmp_path / "results")]
    assert run_all.main(arguments) == 0
    table = (tmp_path / "results" / "synthetic" / "base2new.md").read_text()
    assert r"held\_words" in table
    assert len(list((tmp_path / "results").rglob("held_words/*/*.json"))) == 1
