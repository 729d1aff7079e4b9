"""Test the README: its example is a method like any other, and the files that it names exist."""

import re
import shutil
from pathlib import Path

import pytest

import methods
import run_all
from benchmark.plugins import discovery

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLE = dict(re.findall(r"<!-- example: ([\w.]+) -->\n```\w+\n(.*?)```", README, re.DOTALL))


@pytest.mark.slow
def test_example_method_runs_and_gets_a_row_in_the_table(tmp_path, monkeypatch):
    folder = shutil.copytree(discovery.METHODS, tmp_path / "methods", ignore=shutil.ignore_patterns("*.py*"))
    for name, text in EXAMPLE.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(discovery, "METHODS", folder)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    arguments = ["--protocol", "base2new", "--methods", "zero_shot", "smooth_coop", "--datasets", "synth_actions",
                 "--seeds", "1", "--shots", "2", "--set", "smooth_coop.epochs=2", "--out", str(tmp_path)]  # fmt: skip
    assert run_all.main(arguments) == 0
    assert r"smooth\_coop" in (tmp_path / "synthetic" / "base2new.md").read_text()


def test_readme_and_its_example_are_short():
    assert len([line for line in EXAMPLE["smooth_coop.py"].splitlines() if line.strip()]) <= 40
    assert len(README.splitlines()) <= 150


def test_project_layout_names_every_room_and_nothing_else():
    lines = README.split("## Project layout")[1].split("```")[1].splitlines()
    names = {name for line in lines for name in line.strip().split("  ")[0].split()}
    rooms = {f"{path.parent.name}/" for path in (ROOT / "benchmark").glob("*/__init__.py")}
    assert rooms <= names
    assert not [name for name in names if not (ROOT / name).exists() and not (ROOT / "benchmark" / name).exists()]
