"""The report: a page that loads nothing and is well formed for any name, and the same content in Markdown."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmark.records.store import save, save_failure
from tables.__main__ import main as tables
from tables.protocols.writers import TABLES
from tables.rendering.grid import Cell, Grid
from tables.report import page
from tables.report.missing_runs import Failure, Run, failures_below, missing
from tables.report.page import FigureImage
from tables.report.report import Content, compose, main, render

FOLDER = Path(page.__file__).parent
HOSTILE = (
    """<script>alert('x')</script> | a & b `c` ``` "d" 'e' {{ 7 * 7 }} ]]> --> </style> <img src=http://e.x/x> \\"""
)
VOID = {"meta", "br", "img", "hr", "link", "input"}
SVG = (
    '<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd">\n'
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9" onload="x()">'
    "<metadata>http://purl.org</metadata><script>alert(2)</script>"
    '<defs><clipPath id="p1"><path id="m"/></clipPath></defs><!-- <script>alert(3)</script> -->'
    '<g clip-path="url(#p1)"><use xlink:href="#m"/><image href="http://evil.example/y.png"/>'
    '<image xlink:href="data:image/png;base64,AAAA"/><text>A &lt; B</text></g></svg>'
)


class Reader(HTMLParser):
    """The elements and text of a page as a browser sees them, and the tags that are not balanced."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text, self.unbalanced = [], [], [], []
        self.feed(text)
        self.close()
        self.unbalanced += self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def table(name, text="a"):
    cells = [[Cell(text), Cell("50.00", best=True, value=50.0), Cell("—")]]
    return Grid(name=name, caption=text, explained=text, columns=("dataset", text, "new"), rows=cells, ruled=1)


@pytest.fixture
def content():
    """content(name): a report in which everything with a name has this one."""

    def make(name="plain"):
        return Content(
            suite=name, note=name, headline=name, planned=True,
            tables={"base2new": [table("base2new", name)], "few_shot": [table("few_shot", name)]},
            figures=[FigureImage("curves", name, SVG, "with"), FigureImage("bars", name, SVG, "with")],
            claims=table("claims", name), outliers=[name], facts=[(name, name)], commands=[name],
            provenance=[table("runs", name)], warnings=[name],
            failures=[Failure(Run("base2new", name, name, 16, 1), name, name)],
            missing=[Run("few_shot", name, name, 1, seed) for seed in (1, 2)], left_out=[name],
        )  # fmt: skip

    return make


def test_page_is_balanced_loads_nothing_and_runs_its_own_script_only_for_any_name(content):
    text = page.to_html(compose(content(HOSTILE)))
    read = Reader(text)
    assert read.unbalanced == []
    assert re.findall(r"<script>(.*?)</script>", text, re.DOTALL) == [(FOLDER / "report.js").read_text()]
    assert read.all("img") == []
    assert HOSTILE in "".join(read.text), "the name is in the text"
    assert [tag for tag, attributes in read.elements if any(name.startswith("on") for name in attributes)] == []
    assert {"data-value": "50.0"} in read.all("td"), "cells sort by their number"
    for tag, attributes in read.elements:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            assert attributes.get(name, "").startswith(("#", "data:image/")) or not attributes.get(name), (tag, name)
    assert {"link", "iframe", "object", "embed", "base"}.isdisjoint(tag for tag, _ in read.elements)
    assert not re.search(r"@import|url\((?!#)", (FOLDER / "report.css").read_text())
    [policy] = [m["content"] for m in read.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert re.fullmatch(r"default-src 'none'; .*script-src 'sha256-[\w+/]{43}='; img-src data:; .*", policy)


def test_ids_are_unique_links_lead_to_them_and_figures_are_sanitized(content):
    text = page.to_html(compose(content()))
    read = Reader(text)
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for _, a in read.elements if a.get("href", "").startswith("#")]
    assert len(links) == 8 + 2, "the sections, and the clip paths of two figures"
    assert {link[1:] for link in links} <= set(ids)
    assert 'clip-path="url(#curves-p1)"' in text
    assert 'clip-path="url(#bars-p1)"' in text
    assert "alert" not in text
    assert "evil" not in text
    assert "A &lt; B" in text


def test_sections_are_in_order_after_the_note_and_say_if_they_are_empty(content):
    titles = ["Base to new", "Few-shot", "Figures", "Claims", "Outliers among seeds", "Provenance", "Failed runs",
              "Missing runs"]  # fmt: skip
    composed = compose(content("a note"))
    assert [section.title for section in composed.sections] == titles
    text, markdown = page.to_html(composed), page.to_markdown(composed)
    assert text.index('class="note"') < text.index("<main>")
    assert [line[3:] for line in markdown.splitlines() if line.startswith("## ")] == titles
    assert markdown.index("> **a note**") < markdown.index("## Base to new")
    empty = dataclasses.replace(content(), figures=[], outliers=[], failures=[], missing=[], left_out=[], warnings=[])
    texts = {section.title: list(section.text) for section in compose(empty).sections}
    assert "Figures" not in texts
    assert texts["Outliers among seeds"] == texts["Failed runs"] == ["None."]
    assert texts["Missing runs"] == ["None of the plan."]


def test_markdown_has_the_content_of_the_page(content):
    composed = compose(content("special"))
    read = Reader(page.to_html(composed))
    html_cells = len(read.all("td")) + len(read.all("th"))
    markdown = page.to_markdown(composed)
    rows = [line for line in markdown.splitlines() if line.startswith("|") and not re.match(r"\|[:|-]+\|$", line)]
    facts = 2 + 2 * len(read.all("dd"))  # in Markdown, facts are a table with a heading
    assert sum(line.count("|") - 1 for line in rows) == html_cells + facts
    assert markdown.count("special") == "".join(read.text).count("special") - 1  # the page has its title twice
    grids = [dataclasses.replace(table(f"few{i}"), explained="Read it so.") for i in range(5)]
    composed = compose(dataclasses.replace(content(), tables={"few_shot": grids}))
    assert page.to_html(composed).count("Read it so.") == page.to_markdown(composed).count("Read it so.") == 1


def test_markdown_is_escaped_for_any_name(content):
    markdown = page.to_markdown(compose(content(HOSTILE)))
    assert "<script>" not in re.sub(r"````.*?````", "", markdown, flags=re.DOTALL)
    assert f"````\n{HOSTILE}\n````" in markdown, "the fence is longer than the backticks of a command"
    tables = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    assert len(tables) == 7
    for lines in map(str.splitlines, tables):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_files_have_paths_with_lone_surrogates_and_links_to_figures(content, tmp_path):
    render(content("caf\udce9"), tmp_path)
    assert b"caf\\udce9" in (tmp_path / "report.html").read_bytes()
    markdown = (tmp_path / "report.md").read_text()
    assert "udce9" in markdown
    links = re.findall(r"!\[[^]]*\]\(([^)]+)\)", markdown)
    assert links == ["figures/curves.svg", "figures/bars.svg"]
    assert all((tmp_path / name).read_text() == "with" for name in links)


def test_missing_runs_are_those_of_the_plan_or_gaps_of_the_grid(record):
    records = [record("coop", "dtd", 1, 1, seed=seed) for seed in (1, 2, 3)]
    assert missing(records[:2], [r.spec for r in records]) == [Run("base2new", "coop", "dtd", 16, 3)]
    records = [*records[:2], record("copl", "dtd", 1, 1), record("zero_shot", "dtd", 1, 1)]
    assert missing(records, None) == [Run("base2new", "copl", "dtd", 16, 2)], "one run of zero-shot is complete"


@pytest.fixture
def stored(tmp_path, record):
    """The folder of a suite with two methods on two datasets, and a failed run."""
    results = tmp_path / "results"
    for method in ("zero_shot", "coop"):
        for dataset in ("dtd", "eurosat"):
            run = record(method, dataset, 60, 50, overrides={"epochs": 2} if method == "coop" else {})
            save(run, results, predictions={}, learned=None)
    save_failure(record("copl", "dtd", 1, 1).spec, results, "ValueError: <b>no</b>")
    return results / "paper"


def test_report_of_a_folder_or_part_of_it(stored, capsys):
    (stored / "broken.json").write_text("{")
    assert main(["--from", str(stored)]) == 0
    assert "report.html" in capsys.readouterr().out
    text = (stored / "report.html").read_text()
    assert Reader(text).unbalanced == []
    for part in ("ValueError: &lt;b&gt;no&lt;/b&gt;", "failed/paper/base2new/copl/dtd/shots16-seed1-", "DTD",
                 "--protocol base2new --suite paper --data FOLDER", "--set coop.epochs=2", "--datasets dtd eurosat",
                 "epochs = 10", "not measured", "abc123", "broken.json"):  # fmt: skip
        assert part in text, part
    assert "ValueError" in (stored / "report.md").read_text()
    [failure], _ = failures_below(stored.parent, "paper")
    assert (failure.run, (stored.parent / failure.path).is_file()) == (Run("base2new", "copl", "dtd", 16, 1), True)
    assert failures_below(stored.parent, "other") == ([], [])
    out = stored / "part"
    assert main(["--from", str(stored), "--methods", "coop", "--datasets", "eurosat", "--out", str(out)]) == 0
    text = (out / "report.md").read_text()
    assert "EuroSAT" in text
    assert "DTD" not in text.split("Claims")[0]


def test_section_on_calibration_has_averages_a_diagram_and_the_runs_without_confidences(
    tmp_path, runs_of, detailed, sketched, capsys
):
    runs = [run for each in runs_of.values() for run in each]
    for run in (runs[0], *map(detailed, runs[1:])):
        save(run, tmp_path, predictions={}, learned=None)
    assert main(["--from", str(tmp_path / "paper")]) == 0
    text = (tmp_path / "paper" / "report.md").read_text()
    part = text.split("## Calibration and accuracy by class")[1].split("\n## ")[0]
    assert f"left out: {runs[0].spec.record_path('').as_posix()}: holds no confidences" in part.replace("\\", "")
    for protocol, columns in (("base2new", 8), ("cross_dataset", 8), ("few_shot", 12)):
        assert f"figures/reliability_{protocol}.svg" in part
        assert (tmp_path / "paper" / "figures" / f"reliability_{protocol}.svg").is_file()
        title = TABLES[protocol].title
        table = part.split(f"**{title}: calibration and accuracy by class")[1].split("\n\n")[1].splitlines()
        assert table[0].count("|") == columns + 2
    assert part.count("<br>H") == 0 and "| CoOp" in part
    # the averages are those of the table of the metric
    assert tables(["--from", str(tmp_path / "paper" / "few_shot"), "--metric", "nll", "--format", "markdown"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| CoOp"))
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert [cell.strip() for cell in table[-2].split("|")[2:-1]][3:6] == cells


def test_empty_folder_and_several_suites_are_refused(tmp_path, record, capsys):
    for number in range(20):
        (tmp_path / f"old-{number:02}.json").write_text('{"schema": 1}')
    assert main(["--from", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "python run_all.py --protocol all" in message
    assert "and 15 more files" in message
    assert len(message.splitlines()) == 7
    for suite in ("paper", "other"):
        save(record("coop", "dtd", 1, 1, suite=suite), tmp_path, predictions={}, learned=None)
    assert main(["--from", str(tmp_path)]) == 2
    assert "other, paper" in capsys.readouterr().err
