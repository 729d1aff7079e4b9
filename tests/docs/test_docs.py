"""Test docs/ and the README: commands run, links lead somewhere, and quoted facts agree with the files."""

import re
import shutil
from pathlib import Path

import pytest

import methods
import run_all
from benchmark.common.yaml import read_yaml
from benchmark.plugins import discovery
from tests.helpers import pages
from tests.helpers.pages import run_page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
EXAMPLE = dict(re.findall(r"<!-- example: ([\w.]+) -->\n```\w+\n(.*?)```", README, re.DOTALL))
PAGES = [ROOT / "README.md", ROOT / "results" / "README.md", *sorted(DOCS.glob("*.md"))]
VERBS = {"doctor", "download", "export", "new-method", "plan", "calibrate"}
METHODS = {"CLIP": "zero_shot", "CoOp": "coop", "CoCoOp": "cocoop", "KgCoOp": "kgcoop", "ProGrad": "prograd",
           "CoPL": "copl", "MaPLe": "maple", "PromptSRC": "promptsrc", "TCP": "tcp", "MMA": "mma",
           "MMRL": "mmrl"}  # fmt: skip


@pytest.mark.slow
def test_method_page_leads_to_a_row_in_every_table_from_a_file_and_from_a_package(tmp_path):
    run_page(DOCS / "adding-a-method.md", tmp_path)
    for table in ("synthetic/base2new", "anchor-0.0/synthetic/base2new", "anchor-10.0/synthetic/base2new",
                  "small/synthetic/base2new", "small/synthetic/few_shot", "small/synthetic/cross_dataset"):  # fmt: skip
        assert r"my\_method" in (tmp_path / "results" / f"{table}.md").read_text()
    assert r"held\_context" in (tmp_path / "results" / "installed" / "synthetic" / "base2new.md").read_text()


@pytest.mark.slow
def test_own_data_page_leads_to_a_row_in_every_table(tmp_path):
    run_page(DOCS / "your-own-data.md", tmp_path)
    tables = {path.stem: path.read_text() for path in (tmp_path / "mine" / "results").glob("*/*.md")}
    for table, row in (("few_shot", "shapes"), ("base2new", "| prepared "), ("cross_dataset", "dark"),
                       ("domain_generalization", "dark")):  # fmt: skip
        assert row in tables[table]
    written = {path.name for path in (tmp_path / "mine" / "shapes").iterdir() if path.is_file()}
    assert written == {"dataset.yaml"}, "only the page itself writes there"


@pytest.mark.slow
def test_troubleshooting_page_quotes_the_messages_that_are_printed(tmp_path):
    assert "Traceback" not in run_page(DOCS / "troubleshooting.md", tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_paths_and_commands_of_a_page_exist(page):
    text = page.read_text().replace("\\\n", " ")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target
    for path in re.findall(r"`((?:benchmark|methods|tables|tests)/[\w/.-]+)`", text):
        assert (ROOT / path).exists() or path.startswith("methods/smooth_coop"), path
    sources = [ROOT / "run_all.py", *(ROOT / "benchmark" / "cli").rglob("*.py"), *(ROOT / "tables").rglob("*.py")]
    known = set(re.findall(r'"(--[a-z][\w-]*)"', "".join(path.read_text() for path in sources)))
    for program, rest in re.findall(r"\bpython (run_all\.py|-m (?:benchmark|tables)\b[\w.]*)([^\n`#]*)", text):
        options = set(re.findall(r"(?<!\S)--[a-z][\w-]*", rest))
        assert program.startswith("-m benchmark.speed") or options <= known, f"{program}: {options - known}"
        assert program != "-m benchmark" or VERBS.issuperset(rest.split()[:1]), rest


def test_index_lists_every_page():
    listed = set(re.findall(r"\(([\w.-]+)\)", (DOCS / "index.md").read_text()))
    assert {path.name for path in DOCS.glob("*.*")} <= listed | {"index.md"}


def test_page_of_the_paper_gives_the_recipes_as_they_are():
    text = (DOCS / "reproducing-the-paper.md").read_text()
    for title, method in METHODS.items():
        (section,) = re.findall(rf"(?ms)^### {title}\n(.*?)^###? ", text)
        rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
        given = {key: cells[-1] for cells in rows for key in re.findall(r"`(\w+)`", cells[0])}
        defaults = read_yaml(ROOT / "methods" / f"{method}.yaml")["defaults"]
        assert given.keys() >= defaults.keys(), title
        for key, value in defaults.items():
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            assert value is None or re.search(rf"(?<![\w.]){re.escape(shown)}(?!\w)", given[key]), f"{title}: {key}"


def test_percentages_on_the_page_of_the_paper_are_published():
    text = (DOCS / "reproducing-the-paper.md").read_text()
    known = "".join(path.read_text() for path in (ROOT / "tables" / "reference").glob("*.csv"))
    shown = re.findall(r"(?<![\d.,])\d\d\.\d\d(?![\d.])", text)
    assert len(shown) > 20
    assert not [number for number in shown if not re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", known)]


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- run -->\n```bash\nfalse; true\n```\n", "exit code 1, not 0"),
        ("<!-- run: exit 2 -->\n```bash\ntrue\n```\n", "exit code 0, not 2"),
        ("<!-- run -->\n```bash\necho a\n```\n<!-- output -->\n```\na\nb\n```\n", "not printed: .'b'"),
        ("<!-- run -->\n```bash\ntrue\n```\n```bash\nrm -r everything\n```\n", "mark this block"),
        ("<!-- file: a.txt -->\n```\na\n```\n", "no command is marked"),
        ("<!-- run -->\n```bash\ntrue\n```\n<!-- message -->\n```\nthe ... is blue\n```\n", "no source file says"),
    ],
)
def test_mistake_of_a_page_is_found(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(pages, "COPIED", ())
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(AssertionError, match=message):
        run_page(tmp_path / "page.md", tmp_path)
