"""The pages of docs/: their commands run as a reader's would, and what they quote is what the files say."""

import re
import shlex
from pathlib import Path

import pytest

import run_all
from benchmark.common.yaml import read_yaml
from tests.helpers.pages import BLOCK, in_this_process, run_page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SECTIONS = {"CLIP": "zero_shot", "CoOp": "coop", "CoCoOp": "cocoop", "KgCoOp": "kgcoop", "ProGrad": "prograd",
            "CoPL": "copl"}  # fmt: skip


@pytest.mark.slow
def test_own_data_page_leads_to_a_row_in_every_table(tmp_path):
    run_page(DOCS / "your-own-data.md", tmp_path)
    tables = {path.stem: path.read_text() for path in (tmp_path / "mine" / "results").glob("*/*.md")}
    assert "shapes" in tables["few_shot"]
    assert "| prepared " in tables["base2new"]
    assert "dark" in tables["cross_dataset"]
    assert "dark" in tables["domain_generalization"]
    written = {path.name for path in (tmp_path / "mine" / "shapes").iterdir() if path.is_file()}
    assert written == {"dataset.yaml"}, "nothing but what the page itself puts there"


@pytest.mark.slow
def test_messages_of_the_troubleshooting_page_are_those_that_are_printed(tmp_path):
    printed = run_page(DOCS / "troubleshooting.md", tmp_path, run=in_this_process)
    assert "Traceback" not in printed


@pytest.mark.parametrize("name", sorted(path.name for path in DOCS.glob("*.md")))
def test_commands_of_a_page_name_options_that_exist(name):
    text = (DOCS / name).read_text()
    blocks = [block["text"].replace("\\\n", " ") for block in BLOCK.finditer(text) if block["language"] == "bash"]
    commands = re.findall(r"\bpython run_all\.py\b([^\n#]*)", "\n".join(blocks))
    commands += re.findall(r"`python run_all\.py\b([^`\n]*)`", text)
    for command in commands:
        run_all.parse([word for word in shlex.split(command) if word not in ("...", "\\")])


def test_page_of_the_paper_gives_the_recipes_as_they_are():
    text = (DOCS / "reproducing-the-paper.md").read_text()
    for title, method in SECTIONS.items():
        (section,) = re.findall(rf"(?ms)^### {title}\n(.*?)^###? ", text)
        rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
        told = {key: cells[-1] for cells in rows for key in re.findall(r"`(\w+)`", cells[0])}
        defaults = read_yaml(ROOT / "methods" / f"{method}.yaml")["defaults"]
        assert told.keys() >= defaults.keys(), title
        for key, value in defaults.items():
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            assert value is None or re.search(rf"(?<![\w.]){re.escape(shown)}(?!\w)", told[key]), f"{title}: {key}"


def test_percentages_on_the_page_of_the_paper_are_published_ones():
    text = (DOCS / "reproducing-the-paper.md").read_text()
    known = "".join(path.read_text() for path in (ROOT / "tables" / "reference").glob("*.csv"))
    shown = re.findall(r"(?<![\d.,])\d\d\.\d\d(?![\d.])", text)
    assert len(shown) > 20
    assert not [number for number in shown if not re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", known)]
