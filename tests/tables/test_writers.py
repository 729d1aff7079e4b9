"""Files of every protocol, the tables that options add, and hostile names in every format."""

import re
import shutil
import subprocess

import pytest

from benchmark.errors import ConfigError, RecordError
from tables.protocols.writers import GRIDS, write
from tables.rendering.grid import to_latex, to_markdown
from tables.rendering.markup import latex
from tables.rendering.options import TableOptions

HOSTILE = r"""a_b & 100% #1 $x {y} ~ ^ \z |<script>alert("1")</script>| *b* [l](u) `c` 'q' "r" ± — ↓ † ‡ ≥ é ﬁ λ 中 🦊
\end{document}

\input{/etc/passwd} ]]> \x"""
ALL = TableOptions(std=True, published=True, note=HOSTILE, titles={"dtd": HOSTILE, "d1": "[2pt] as of an option"},
                   per_seed=True, interval=True, baseline="zero_shot")  # fmt: skip
needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


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


def test_files_of_every_protocol_are_written_or_none(everything, transfer, tmp_path):
    with pytest.raises(RecordError, match="source"):
        write([*everything, transfer("coop", {"caltech101": 1, "dtd": 1})], tmp_path)
    assert not list(tmp_path.iterdir())
    paths = write(everything, tmp_path, planned=[record.spec for record in everything])
    assert [path.name for path in paths] == [f"{name}{suffix}" for name in GRIDS for suffix in (".md", ".tex")]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_no_records_and_protocols_without_a_table_are_refused(record, tmp_path):
    with pytest.raises(RecordError, match=r"python run_all\.py --protocol base2new \(or cross_dataset, few_shot"):
        write([], tmp_path)
    for protocol, grids in GRIDS.items():
        with pytest.raises(RecordError, match=rf"python run_all\.py --protocol {protocol}"):
            grids([])
    with pytest.raises(ConfigError, match="Did you mean 'base2new'"):
        write([record("coop", "dtd", 1, 1, protocol="base2now")], tmp_path)


def test_hostile_names_are_escaped(everything):
    grids = [grid for protocol in GRIDS for grid in GRIDS[protocol](of(protocol, everything), ALL)]
    assert len({grid.name for grid in grids}) == len(grids)
    for grid in grids:
        assert re.fullmatch(r"[\w-]+", grid.name), "names are LaTeX labels"
        text = to_markdown(grid)
        assert "<script>" not in text
        assert "*b*" not in text.replace(r"\*", "")
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {len(grid.columns) + 2}
        text = to_latex(grid)
        assert r"a\_b \& 100\% \#1 \$x \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z" in text
        assert text.isascii()
        rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(grid.columns) - 1}


@pytest.mark.parametrize(
    "text, escaped",
    [("≥ 3", r"$\geq$ 3"), ("café", r"caf\'{e}"), ("cafe\u0301", r"caf\'{e}"), ("10²", r"10\textsuperscript{2}"),
     ("ﬁ", "fi"), ("中", "{[}U+4E2D{]}"), ("λΩ", r"$\lambda$$\Omega$"), ("a\n\nb", "a b"), ("\0", "{[}U+0000{]}"),
     ("[2pt]*", "{[}2pt{]}{*}"), ("ǖ", r'\"{u}{[}U+0304{]}')],
)  # fmt: skip
def test_latex_without_packages_for_any_text(text, escaped):
    assert latex(text) == escaped
    assert latex("".join(map(chr, range(0x3000)))).isascii()


def compile_latex(body, folder):
    """What pdflatex prints about a two-column document with this body."""
    head = "\\documentclass[twocolumn]{article}\\usepackage{booktabs,graphicx}\\textwidth=496pt\\begin{document}\n"
    (folder / "all.tex").write_text(f"{head}{body}\n\\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


@needs_latex
@pytest.mark.slow
def test_latex_compiles_with_booktabs_and_graphicx(everything, few, tmp_path):
    many = [few("coop", name, 50, shots=1) for name in ("imagenet", *map("d{}".format, range(40)))]
    paths = write([*everything, *many], tmp_path, ALL, formats=["latex"])
    compile_latex("".join(f"\\input{{{path.name}}}\\clearpage\n" for path in paths), tmp_path)


@needs_latex
@pytest.mark.slow
@pytest.mark.parametrize("std", [False, True])
def test_table_of_the_paper_is_no_wider_than_a_two_column_page(record, tmp_path, std):
    methods = ("zero_shot", "coop", "cocoop", "kgcoop", "prograd", "copl")
    names = ("imagenet", "caltech101", "oxford_pets", "stanford_cars", "oxford_flowers", "food101", "fgvc_aircraft")
    records = [
        record(method, name, 50 + seed + len(method), 40 - seed, seed=seed)
        for method in methods for name in names for seed in (1, 2, 3)
    ]  # fmt: skip
    write(records, tmp_path, TableOptions(std=std), formats=["latex"])
    assert "Overfull" not in compile_latex("\\input{base2new.tex}", tmp_path)
    assert ("resizebox" in (tmp_path / "base2new.tex").read_text()) == std
