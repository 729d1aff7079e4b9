"""Files of every protocol, the tables that options add, and hostile names in every format."""

import re

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


def test_files_of_every_protocol_are_written_or_none(runs_of, transfer, tmp_path):
    records = [run for runs in runs_of.values() for run in runs]
    with pytest.raises(RecordError, match="source"):
        write([*records, transfer("coop", {"caltech101": 1, "dtd": 1})], tmp_path)
    assert not list(tmp_path.iterdir())
    paths = write(records, tmp_path, planned=[record.spec for record in records])
    assert [path.name for path in paths] == [f"{name}{suffix}" for name in runs_of for suffix in (".md", ".tex")]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_no_records_and_protocols_without_a_table_are_refused(record, tmp_path):
    with pytest.raises(RecordError, match=r"python run_all\.py --protocol base2new \(or cross_dataset, few_shot"):
        write([], tmp_path)
    for protocol, grids in GRIDS.items():
        with pytest.raises(RecordError, match=rf"python run_all\.py --protocol {protocol}"):
            grids([])
    with pytest.raises(ConfigError, match="Did you mean 'base2new'"):
        write([record("coop", "dtd", 1, 1, protocol="base2now")], tmp_path)


def test_hostile_names_are_escaped(runs_of):
    grids = [grid for protocol, runs in runs_of.items() for grid in GRIDS[protocol](runs, ALL)]
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
