"""Files of every protocol, what follows the main grid on request, and names that no format may trip over."""

import html.parser
import re
import shutil
import subprocess

import pytest

from benchmark.errors import ConfigError, RecordError
from tables.protocols.writers import GRIDS, write
from tables.rendering.grid import to_html, to_latex, to_markdown
from tables.rendering.markup import latex
from tables.rendering.table import Extras

HOSTILE = r"""a_b & 100% #1 $x {y} ~ ^ \z |<script>alert("1")</script>| *b* [l](u) `c` 'q' "r" ± — ↓ † ‡ ≥ é ﬁ λ 中 🦊
\end{document}

\input{/etc/passwd} ]]> \x"""
ALL = Extras(per_seed=True, interval=True, baseline="zero_shot")


@pytest.fixture
def everything(record, few, transfer):
    """Two methods, three seeds, every protocol."""
    records = []
    for method, level in (("zero_shot", 60), ("coop", 65)):
        for seed in (1, 2, 3):
            value = level if method == "zero_shot" else level + seed
            records += [record(method, name, value, 55, seed=seed) for name in ("imagenet", "dtd")]
            records += [few(method, "dtd", value, shots=shots, seed=seed) for shots in (1, 16)]
            for protocol in ("cross_dataset", "domain_generalization"):
                records.append(transfer(method, {"imagenet": value, "dtd": 40}, seed=seed, protocol=protocol))
    return records


def of(protocol, records):
    """The records of one protocol."""
    return [record for record in records if record.spec.protocol == protocol]


def test_both_files_of_every_protocol_are_written_whole(everything, tmp_path):
    paths = write(everything, tmp_path / "paper", planned=[record.spec for record in everything])
    assert [path.name for path in paths] == [f"{name}{suffix}" for name in GRIDS for suffix in (".md", ".tex")]
    assert sorted(path.name for path in (tmp_path / "paper").iterdir()) == sorted(path.name for path in paths)


def test_nothing_is_written_where_one_table_is_refused(everything, transfer, tmp_path):
    with pytest.raises(RecordError, match="source"):
        write([*everything, transfer("coop", {"caltech101": 1, "dtd": 1})], tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_records_say_what_to_run(tmp_path):
    with pytest.raises(RecordError, match=r"python run_all\.py --protocol base2new \(or cross_dataset, few_shot"):
        write([], tmp_path)


def test_protocol_without_a_table_is_refused_with_the_nearest(record, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'base2new'"):
        write([record("coop", "dtd", 1, 1, protocol="base2now")], tmp_path)


def test_intervals_follow_with_half_their_width(everything, texts):
    grid = GRIDS["cross_dataset"](of("cross_dataset", everything), extras=Extras(interval=True))[1]
    assert grid.name == "cross_dataset-interval"
    assert texts(grid)["CoOp"] == ["67.00 ± 2.48", "40.00 ± 0.00", "40.00 ± 0.00"]  # 4.3027 * 1 / sqrt(3)


def test_differences_to_a_baseline_are_paired_by_seed(record, texts):
    accuracies = {"zero_shot": (60, 61, 62), "coop": (62, 63, 67), "copl": (60, 60, 70)}
    records = [
        record(method, name, values[seed - 1], 50, seed=seed)
        for method, values in accuracies.items()
        for name in ("dtd", "eurosat")
        for seed in (1, 2, 3)
    ]
    kept = [r for r in records if (r.spec.method, r.spec.dataset, r.spec.seed) != ("copl", "dtd", 2)]
    grid = GRIDS["base2new"](kept, planned=[r.spec for r in records], extras=Extras(baseline="zero_shot"))[1]
    assert [heading for heading, _ in grid.groups] == ["CoOp", "CoPL"]
    assert texts(grid)["eurosat"][0] == "+3.00 ± 4.30"  # differences 2, 2, 5: deviation sqrt(3)
    assert texts(grid)["eurosat"][1] == "+0.00 ± 0.00"
    assert texts(grid)["dtd"][3].startswith("+4.00 ±")
    assert texts(grid)["dtd"][3].endswith("(2/3)")
    assert texts(grid)["Average"][0] == "+3.00 ± 4.30"
    assert texts(grid)["Average"][3].endswith("(2/3)"), "seed 2 lacks a dataset"


def test_difference_is_bold_where_its_interval_leaves_out_zero(transfer):
    def best(differences):
        records = [transfer("zero_shot", {"imagenet": 50, "dtd": 50}, seed=seed) for seed in (1, 2, 3)]
        records += [transfer("coop", {"imagenet": 50 + d, "dtd": 50}, seed=s) for s, d in enumerate(differences, 1)]
        return GRIDS["cross_dataset"](records, extras=Extras(baseline="zero_shot"))[1].rows[0][1].best

    assert best((3, 4, 5))
    assert best((-3, -4, -5))
    assert not best((1, 4, 7)), "4 ± 7.45"


def test_difference_of_one_seed_has_no_interval(transfer, texts):
    records = [transfer(method, {"imagenet": v, "dtd": 50}) for method, v in (("zero_shot", 50), ("coop", 53))]
    grid = GRIDS["cross_dataset"](records, extras=Extras(baseline="zero_shot"))[1]
    assert texts(grid)["CoOp"][0] == "+3.00"
    assert not grid.rows[0][1].best


def test_baseline_without_records_is_refused_with_the_nearest(everything):
    with pytest.raises(ConfigError, match=r"baseline 'cop': no record of base2new has it\. Did you mean 'coop'"):
        GRIDS["base2new"](of("base2new", everything), extras=Extras(baseline="cop"))


def test_each_seed_stands_in_a_column_and_what_stands_out_is_marked(few, texts):
    records = [few("zero_shot", "dtd", 50, shots=16)]
    records += [few("coop", "dtd", value, shots=16, seed=seed) for seed, value in ((1, 63.0), (2, 62.0), (3, 12.0))]
    grids = {grid.name: grid for grid in GRIDS["few_shot"](records, extras=Extras(per_seed=True))}
    assert texts(grids["few_shot-seeds-coop"])["dtd"] == ["63.00", "62.00", "12.00†‡"]
    assert grids["few_shot-seeds-coop"].columns == ["dataset", "seed 1", "seed 2", "seed 3"]
    assert texts(grids["few_shot-seeds-zero_shot"])["dtd"] == ["50.00"]


def test_each_seed_has_its_own_h_and_average(record, texts):
    records = [record("coop", name, 80, 60 + seed, seed=seed) for name in ("dtd", "eurosat") for seed in (0, 1)]
    grid = GRIDS["base2new"](records[:-1], extras=Extras(per_seed=True))[1]
    assert texts(grid)["dtd"] == ["80.00", "80.00", "60.00", "61.00", "68.57", "69.22"]
    assert texts(grid)["Average"] == ["80.00", "—", "60.00", "—", "68.57", "—"]


@pytest.fixture
def hostile(everything):
    """Every grid of every protocol, a dataset bearing a name that is markup in all formats."""
    return [
        grid
        for protocol in GRIDS
        for grid in GRIDS[protocol](
            of(protocol, everything), std=True, published=True, note=HOSTILE, titles={"dtd": HOSTILE}, extras=ALL
        )
    ]


def test_names_are_escaped_in_markdown(hostile):
    for grid in hostile:
        text = to_markdown(grid)
        assert "<script>" not in text
        assert "*b*" not in text.replace(r"\*", "")
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {len(grid.columns) + 2}


def test_names_are_escaped_in_html(hostile):
    class Reader(html.parser.HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.text = set(), ""

        def handle_starttag(self, tag, attributes):
            self.tags.add(tag)

        def handle_data(self, data):
            self.text += data

    for grid in hostile:
        reader = Reader()
        reader.feed(to_html(grid))
        assert reader.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "b", "p"}
        assert HOSTILE in reader.text


def test_names_are_escaped_in_latex(hostile):
    for grid in hostile:
        text = to_latex(grid)
        assert r"a\_b \& 100\% \#1 \$x \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z" in text
        rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(grid.columns) - 1}


@pytest.mark.parametrize(
    "text, printed",
    [("≥ 3", r"$\geq$ 3"), ("café", r"caf\'{e}"), ("cafe\u0301", r"caf\'{e}"), ("10²", r"10\textsuperscript{2}"),
     ("ﬁ", "fi"), ("中", "{[}U+4E2D{]}"), ("λΩ", r"$\lambda$$\Omega$"), ("a\n\nb", "a b"), ("\0", "{[}U+0000{]}"),
     ("[2pt]*", "{[}2pt{]}{*}"), ("ǖ", r'\"{u}{[}U+0304{]}')],
)  # fmt: skip
def test_what_latex_lacks_is_put_into_words_that_it_has(text, printed):
    assert latex(text) == printed


def test_any_text_is_ascii_in_latex():
    assert latex("".join(map(chr, range(0x3000)))).isascii()


def test_names_of_grids_are_unique_and_can_be_labels(hostile):
    names = [grid.name for grid in hostile]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w-]+", name) for name in names)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed; the structure is tested above")
def test_latex_compiles_with_booktabs_and_graphicx(everything, few, tmp_path):
    many = [few("coop", name, 50, shots=1) for name in ("imagenet", *map("d{}".format, range(40)))]
    paths = write(
        [*everything, *many],
        tmp_path,
        formats=["latex"],
        std=True,
        published=True,
        note=HOSTILE,
        titles={"dtd": HOSTILE, "d1": "[2pt] begins like an option"},
        extras=ALL,
    )
    document = "\\documentclass[twocolumn]{article}\\usepackage{booktabs,graphicx}\\begin{document}"
    body = "".join(f"\\input{{{path.name}}}\\clearpage\n" for path in paths)
    (tmp_path / "table.tex").write_text(f"{document}\n{body}\n\\end{{document}}")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("std", [False, True])
def test_papers_table_is_no_wider_than_a_page_of_two_columns(record, tmp_path, std):
    methods = ("zero_shot", "coop", "cocoop", "kgcoop", "prograd", "copl")
    names = ("imagenet", "caltech101", "oxford_pets", "stanford_cars", "oxford_flowers", "food101", "fgvc_aircraft")
    made = [
        record(method, name, 50 + seed + len(method), 40 - seed, seed=seed)
        for method in methods for name in names for seed in (1, 2, 3)
    ]  # fmt: skip
    write(made, tmp_path, formats=["latex"], std=std)
    document = "\\documentclass[twocolumn]{article}\\usepackage{booktabs,graphicx}\\textwidth=496pt"
    text = f"{document}\\begin{{document}}\\input{{base2new.tex}}\\end{{document}}"
    (tmp_path / "page.tex").write_text(text)
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"], cwd=tmp_path,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert ("resizebox" in (tmp_path / "base2new.tex").read_text()) == std
