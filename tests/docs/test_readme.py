"""Test the README: its example is a method like any other, and the files that it names exist."""

import re
from pathlib import Path

import pytest

import methods
import run_all
from benchmark.plugins import discovery

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def example(name):
    """Return the code block after the marker of a file."""
    return re.search(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.DOTALL).group(1)


@pytest.mark.slow
def test_example_method_runs_and_gets_a_row_in_the_table(tmp_path, monkeypatch):
    folder = tmp_path / "methods"
    folder.mkdir()
    for path in discovery.METHODS.glob("*.yaml"):
        (folder / path.name).write_bytes(path.read_bytes())
    for name in ("smooth_coop.py", "smooth_coop.yaml"):
        (folder / name).write_text(example(name))
    monkeypatch.setattr(discovery, "METHODS", folder)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    arguments = ["--protocol", "base2new", "--methods", "zero_shot", "smooth_coop", "--datasets", "synth_actions",
                 "--seeds", "1", "--shots", "2", "--set", "smooth_coop.epochs=2", "--out", str(tmp_path)]  # fmt: skip
    assert run_all.main(arguments) == 0
    assert r"smooth\_coop" in (tmp_path / "synthetic" / "base2new.md").read_text()


def test_readme_and_its_example_are_short():
    code = [line for line in example("smooth_coop.py").splitlines() if line.strip()]
    assert len(code) <= 40
    assert len(README.splitlines()) <= 150


def test_rooms_of_the_project_layout_exist():
    layout = README.split("## Project layout")[1].split("```")[1]
    names = [name for line in layout.splitlines() if line for name in line.strip().split("  ")[0].split()]
    assert len(names) > 15
    assert not [name for name in names if not (ROOT / name).exists() and not (ROOT / "benchmark" / name).exists()]
    rooms = {path.parent.name for path in (ROOT / "benchmark").glob("*/__init__.py")}
    assert rooms <= {name.strip("/") for name in names}
