"""The README's example is a method like any other, and its files and commands exist."""

import re
from pathlib import Path

import pytest

import methods
import run_all
from benchmark.plugins import discovery

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def example(name):
    """The code block that follows the marker of a file."""
    return re.search(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.DOTALL).group(1)


@pytest.fixture
def with_example(tmp_path, monkeypatch):
    """The registry as it is once the two files of the README lie in methods/."""
    folder = tmp_path / "methods"
    folder.mkdir()
    for path in discovery.METHODS.glob("*.yaml"):
        (folder / path.name).write_bytes(path.read_bytes())
    for name in ("smooth_coop.py", "smooth_coop.yaml"):
        (folder / name).write_text(example(name))
    monkeypatch.setattr(discovery, "METHODS", folder)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])


@pytest.mark.slow
def test_example_method_runs_and_stands_in_the_table(with_example, tmp_path):
    arguments = ["--protocol", "base2new", "--methods", "zero_shot", "smooth_coop", "--datasets", "synth_actions",
                 "--seeds", "1", "--shots", "2", "--set", "smooth_coop.epochs=2", "--out", str(tmp_path)]  # fmt: skip
    assert run_all.main(arguments) == 0
    assert r"smooth\_coop" in (tmp_path / "synthetic" / "base2new.md").read_text()


def test_example_method_is_at_most_forty_lines():
    code = [
        line for line in example("smooth_coop.py").splitlines() if line.strip() and not line.strip().startswith("#")
    ]
    assert len(code) <= 40


def test_files_of_the_tree_exist():
    tree = README.split("## Project layout")[1].split("```")[1]
    names = re.findall(r"^ *((?:[\w.]+(?:/| )\s*)+)  ", tree, re.MULTILINE)
    found = [name for group in names for name in group.split()]
    assert len(found) > 15
    for name in found:
        assert (ROOT / name).exists() or (ROOT / "benchmark" / name).exists(), name


def test_links_of_all_pages_lead_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_of_the_readme_name_options_that_exist():
    parsers = "".join((ROOT / name).read_text() for name in ("benchmark/cli/parser.py", "tables/__main__.py"))
    known = set(re.findall(r'add\("(--[\w-]+)"', parsers))
    used = set(re.findall(r"`(--[\w-]+)", README)) | set(re.findall(r"run_all.py[^\n`]*?(--[\w-]+)", README))
    assert len(used) > 8
    assert used <= known, used - known
