"""Commands: errors of arguments and of packages in one line, output that any terminal can show, ~ in paths."""

import io
import sys
from pathlib import Path

import pytest

import run_all
import tables.__main__
import tables.attention
import tables.prompts
from benchmark import collect, run
from benchmark.common import command
from benchmark.common.command import answer
from benchmark.common.config import load_suite
from benchmark.errors import ConfigError
from tables.report import report


@pytest.mark.parametrize("module", [tables.__main__, tables.attention, tables.prompts, report, run_all])
def test_wrong_option_is_one_line(module, capsys):
    with pytest.raises(SystemExit, match="2"):
        module.main(["--outt", "x", "--from", "x", "--run", "x", "--images", "x"])
    (line,) = capsys.readouterr().err.splitlines()
    assert "--outt" in line and line.endswith("--help` lists the options.")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk"])
def test_what_the_terminal_cannot_show_is_replaced(monkeypatch, encoding):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert answer(lambda: sys.stdout.write("73.00\u21f5 \udcff") and 0) == 0
    sys.stdout.flush()
    assert raw.getvalue() == rb"73.00\u21f5 \udcff"


@pytest.mark.parametrize("repository", [command.REPOSITORY, Path("/")], ids=["outside", "environment in the checkout"])
def test_package_that_cannot_be_imported_is_one_line_and_an_error_of_ours_is_not_hidden(
    tmp_path, monkeypatch, capsys, repository
):
    monkeypatch.setattr(command, "REPOSITORY", repository)
    package = tmp_path / "site-packages" / "touchy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ValueError('TOUCHY_MODE must be\\n on or off')")
    monkeypatch.syspath_prepend(package.parent)
    assert answer(lambda: __import__("touchy")) == 2
    assert "error: the package touchy cannot be imported (ValueError: TOUCHY_MODE must be on" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        answer(lambda: 1 / 0)


@pytest.mark.parametrize("error", ["float(os.environ['TOUCHY_SECONDS'])", "raise ValueError('TOUCHY_SECONDS!')"])
def test_variable_that_an_import_refuses_is_named(tmp_path, monkeypatch, capsys, error):
    package = tmp_path / "site-packages" / "touchy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"import os\n{error}")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("TOUCHY_SECONDS", "soon")
    monkeypatch.setenv("TOUCHY", "1")  # a part of the name
    assert answer(lambda: __import__("touchy")) == 2
    assert capsys.readouterr().err.endswith("). Correct or unset TOUCHY_SECONDS.\n")


def test_home_is_expanded_wherever_a_path_is_given(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.yaml").write_text("{backbone: embedded, datasets: [synth_pets], shots: 1, seeds: [1]}")
    words = ["--out=~/out", "--data=~", "--dataset=a=~/a", "--load=coop=~/{seed}.pt", "--plugin=~/b.py", "--export=~/r"]
    given = run_all.parse([*words, "--new-method=~/c", "--download=dtd", "--from=~/d"])
    assert [given.out, given.data, *given.plugins] == [tmp_path / "out", tmp_path, tmp_path / "b.py"]
    assert [given.export, given.new_method, given.archives] == [tmp_path / "r", tmp_path / "c", tmp_path / "d"]
    assert load_suite("~/own.yaml").name == "own"
    assert str(tmp_path / "none") in collect("~/none")[1][0]
    for module, option in ((tables.__main__, "from"), (tables.prompts, "run"), (report, "from")):
        assert module.main([f"--{option}=~/none"]) == 2
        assert f"{tmp_path / 'none'}: " in capsys.readouterr().err
    assert not Path("~").exists()
    with pytest.raises(ConfigError, match=r"~nobody-here/x: the home folder is not known. Set HOME, or"):
        run(out="~nobody-here/x")
