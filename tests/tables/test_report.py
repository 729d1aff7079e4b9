"""The report: one page that loads nothing, well formed whatever things are called; the same content in Markdown."""

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmark.records.store import save, save_failure
from tables.rendering.grid import Cell, Grid
from tables.report import page
from tables.report.missing_runs import Failure, Run, failures_below, missing, reason_of
from tables.report.page import Picture
from tables.report.report import Content, compose, main, render

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = """<script>alert('x')</script> | a & b `c` ``` "d" 'e' ]]> --> </style> <img src=http://evil.example/x> \\"""
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
    """What a browser would make of a page: its elements, its text, whether every end tag fits."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text, self.unfitting = [], [], [], []
        self.feed(text)
        self.close()
        self.unfitting += self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unfitting.append(tag)

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
    """content(name): a report in which everything that has a name is called so."""

    def make(name="plain"):
        return Content(
            suite=name, note=name, headline=name, planned=True,
            tables={"base2new": [table("base2new", name)], "few_shot": [table("few_shot", name)]},
            pictures=[Picture("curves", name, SVG, "with"), Picture("bars", name, SVG, "with")],
            claims=table("claims", name), outliers=[name], facts=[(name, name)], commands=[name],
            conduct=[table("runs", name)], warnings=[name],
            failures=[Failure(Run("base2new", name, name, 16, 1), name, name)],
            missing=[Run("few_shot", name, name, 1, seed) for seed in (1, 2)], left_out=[name],
        )  # fmt: skip

    return make


def html_of(content):
    return page.to_html(compose(content))


def test_page_is_balanced_and_its_only_script_is_our_own_whatever_things_are_called(content):
    text = html_of(content(HOSTILE))
    read = Reader(text)
    assert read.unfitting == []
    assert len(read.all("script")) == 1
    script = (ROOT / "tables" / "report" / "report.js").read_text()
    assert re.findall(r"<script>(.*?)</script>", text, re.DOTALL) == [script]
    assert read.all("img") == []
    assert HOSTILE in "".join(read.text), "the name is there, as text"
    assert [tag for tag, attributes in read.elements if any(name.startswith("on") for name in attributes)] == []


def test_page_loads_nothing_and_forbids_it(content):
    read = Reader(html_of(content(HOSTILE)))
    for tag, attributes in read.elements:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            assert attributes.get(name, "").startswith(("#", "data:image/")) or not attributes.get(name), (tag, name)
    assert {"link", "iframe", "object", "embed", "base"}.isdisjoint(tag for tag, _ in read.elements)
    assert not re.search(r"@import|url\((?!#)", (ROOT / "tables" / "report" / "report.css").read_text())
    [policy] = [m["content"] for m in read.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", policy)
    assert "http" not in policy


def test_ids_of_the_page_are_unique_and_its_links_lead_to_them(content):
    read = Reader(html_of(content()))
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for _, a in read.elements if a.get("href", "").startswith("#")]
    assert len(links) == 8 + 2, "the sections, and what the two pictures use"
    assert {link[1:] for link in links} <= set(ids)


def test_two_pictures_keep_their_clips_apart(content):
    text = html_of(content())
    assert 'clip-path="url(#curves-p1)"' in text
    assert 'clip-path="url(#bars-p1)"' in text
    assert "alert" not in text
    assert "evil" not in text
    assert "A &lt; B" in text


def test_sections_stand_in_order_with_the_note_before_all(content):
    titles = ["Base to new", "Few-shot", "Figures", "Claims", "Outliers among seeds", "How it was run", "What failed",
              "What is missing"]  # fmt: skip
    made = compose(content("a note"))
    assert [section.title for section in made.sections] == titles
    text = page.to_html(made)
    assert text.index('class="note"') < text.index("<main>")
    markdown = page.to_markdown(made)
    assert [line[3:] for line in markdown.splitlines() if line.startswith("## ")] == titles
    assert markdown.index("> **a note**") < markdown.index("## Base to new")


def test_empty_parts_say_that_there_is_nothing(content):
    empty = dataclasses.replace(content(), pictures=[], outliers=[], failures=[], missing=[], left_out=[], warnings=[])
    sections = {section.title: section for section in compose(empty).sections}
    assert "Figures" not in sections
    assert sections["Outliers among seeds"].text == ["None."]
    assert sections["What failed"].text == ["Nothing."]
    assert sections["What is missing"].text == ["None of the plan."]


def test_markdown_holds_what_the_page_holds(content):
    made = compose(content("special"))
    read = Reader(page.to_html(made))
    html_cells = len(read.all("td")) + len(read.all("th"))
    markdown = page.to_markdown(made)
    rows = [line for line in markdown.splitlines() if line.startswith("|") and not re.match(r"\|[:|-]+\|$", line)]
    facts = 2 + 2 * len(read.all("dd"))  # facts are a list there, a table with a heading here
    assert sum(line.count("|") - 1 for line in rows) == html_cells + facts
    assert markdown.count("special") == "".join(read.text).count("special") - 1  # the title stands twice there


def test_markdown_is_escaped_whatever_things_are_called(content):
    markdown = page.to_markdown(compose(content(HOSTILE)))
    assert "<script>" not in re.sub(r"````.*?````", "", markdown, flags=re.DOTALL)
    assert f"````\n{HOSTILE}\n````" in markdown, "the fence is longer than the backticks of a command"
    tables = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    assert len(tables) == 7
    for lines in map(str.splitlines, tables):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_half_a_character_of_a_path_stops_no_report(content, tmp_path):
    render(content("caf\udce9"), tmp_path)
    assert b"caf\\udce9" in (tmp_path / "report.html").read_bytes()
    assert b"udce9" in (tmp_path / "report.md").read_bytes()


def test_markdown_refers_to_pictures_that_are_written(content, tmp_path):
    render(content(), tmp_path)
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (tmp_path / "report.md").read_text())
    assert pictures == ["figures/curves.svg", "figures/bars.svg"]
    assert all((tmp_path / name).read_text() == "with" for name in pictures)


def test_cells_sort_by_their_number(content):
    read = Reader(html_of(content()))
    assert {"data-value": "50.0"} in read.all("td")


@pytest.mark.parametrize(
    "error, reason",
    [
        ("dtd: no split file.\nPut one there.", "dtd: no split file."),
        ('Traceback (most recent call last):\n  File "x"\n    a\nValueError: bad\nmore', "ValueError: bad"),
        (
            'Traceback (most recent call last):\n  File "x"\nKeyError: 1\n\nDuring handling of it:\n\n'
            'Traceback (most recent call last):\n  File "y"\nRuntimeError: two',
            "RuntimeError: two",
        ),
        ("", "no message"),
    ],
)
def test_reason_is_a_messages_first_line_or_a_tracebacks_last_exception(error, reason):
    assert reason_of(error) == reason


def test_planned_runs_without_a_record_are_missing(record):
    records = [record("coop", "dtd", 1, 1, seed=seed) for seed in (1, 2, 3)]
    assert missing(records[:2], [r.spec for r in records]) == [Run("base2new", "coop", "dtd", 16, 3)]


def test_without_a_plan_gaps_of_the_recorded_grid_are_missing(record):
    records = [record("coop", "dtd", 1, 1, seed=1), record("coop", "dtd", 1, 1, seed=2), record("copl", "dtd", 1, 1)]
    records += [record("zero_shot", "dtd", 1, 1)]  # learns nothing: one run is all there is
    assert missing(records, None) == [Run("base2new", "copl", "dtd", 16, 2)]


@pytest.fixture
def stored(tmp_path, record):
    """Two methods on two datasets of a suite on disk, and a run that failed."""
    results = tmp_path / "results"
    for method in ("zero_shot", "coop"):
        for dataset in ("dtd", "eurosat"):
            made = record(method, dataset, 60, 50, overrides={"epochs": 2} if method == "coop" else {})
            save(made, results, predictions={}, learned=None)
    save_failure(record("copl", "dtd", 1, 1).spec, results, "ValueError: <b>no</b>")
    return results / "paper"


def test_report_of_a_folder_is_rendered_with_its_failures_and_commands(stored, capsys):
    assert main(["--from", str(stored)]) == 0
    assert "report.html" in capsys.readouterr().out
    text = (stored / "report.html").read_text()
    assert Reader(text).unfitting == []
    for part in ("ValueError: &lt;b&gt;no&lt;/b&gt;", "failed/paper/base2new/copl/dtd/shots16-seed1-", "DTD",
                 "--protocol base2new --suite paper --data FOLDER", "--set coop.epochs=2", "--datasets dtd eurosat",
                 "epochs = 10", "not measured", "abc123"):  # fmt: skip
        assert part in text, part
    assert "ValueError" in (stored / "report.md").read_text()


def test_failures_name_run_reason_and_place(stored):
    [failure], problems = failures_below(stored.parent, "paper")
    assert problems == []
    assert failure.run == Run("base2new", "copl", "dtd", 16, 1)
    assert (stored.parent / failure.path).is_file()
    assert failures_below(stored.parent, "other") == ([], [])


def test_damaged_record_is_named_in_the_report(stored):
    path = next((stored / "base2new" / "coop").rglob("*.json"))
    path.write_text(path.read_text()[:50])
    assert main(["--from", str(stored)]) == 0
    assert path.name in (stored / "report.md").read_text()


def test_report_renders_where_torch_cannot_be_imported(stored):
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'accelerate'): sys.modules[name] = None\n"
        "from tables.report.report import main\n"
        f"sys.exit(main(['--from', {str(stored)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (stored / "report.html").is_file()


def test_empty_folder_and_mixed_suites_say_what_to_do(tmp_path, record, capsys):
    assert main(["--from", str(tmp_path)]) == 2
    assert "python run_all.py --protocol all" in capsys.readouterr().err
    for suite in ("paper", "other"):
        save(record("coop", "dtd", 1, 1, suite=suite), tmp_path, predictions={}, learned=None)
    assert main(["--from", str(tmp_path)]) == 2
    assert "other, paper" in capsys.readouterr().err


def test_tables_explained_alike_are_explained_once(content):
    grids = [dataclasses.replace(table(f"few{i}"), explained="Read it so.") for i in range(5)]
    made = compose(dataclasses.replace(content(), tables={"few_shot": grids}))
    assert page.to_html(made).count("Read it so.") == page.to_markdown(made).count("Read it so.") == 1


def test_report_of_a_part_shows_that_part(stored):
    assert (
        main(["--from", str(stored), "--methods", "coop", "--datasets", "eurosat", "--out", str(stored / "part")]) == 0
    )
    text = (stored / "part" / "report.md").read_text()
    assert "EuroSAT" in text
    assert "DTD" not in text.split("Claims")[0]
    assert main(["--from", str(stored), "--methods", "cop"]) == 2


def test_many_files_of_another_version_are_told_in_a_few_lines(stored, capsys):
    for number in range(20):
        (stored / f"old-{number:02}.json").write_text('{"schema": 1}')
    for path in (stored / "base2new").rglob("*.json"):
        path.unlink()
    assert main(["--from", str(stored)]) == 2
    told = capsys.readouterr().err
    assert "and 15 more files" in told
    assert len(told.splitlines()) == 7
