"""Write the report of a results folder: python -m tables.report --from results/paper"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.common.command import Parser, answer, made_to_last, path_option
from benchmark.common.config import RunSpec
from benchmark.common.files import write_atomically
from benchmark.errors import RecordError
from benchmark.records.record import RunRecord
from benchmark.records.store import collect
from tables.aggregate import headline
from tables.claims import judge as claims
from tables.figures import reliability
from tables.figures.draw import draw
from tables.protocols.writers import GRIDS
from tables.rendering.grid import Cell, Grid
from tables.rendering.options import DEFAULTS, TableOptions
from tables.report import calibration, provenance
from tables.report.missing_runs import Failure, Run, failures_below, missing
from tables.report.page import FigureImage, Page, Section, to_html, to_markdown
from tables.selection import add_options, select, shorten, suite_of
from tables.statistics import outliers

TITLES = {"base2new": "Base to new", "cross_dataset": "Cross-dataset transfer", "few_shot": "Few-shot",
          "domain_generalization": "Domain generalization"}  # fmt: skip
RUN = "Run: python run_all.py --protocol all"


@dataclass(frozen=True, kw_only=True)
class Content:
    """What the report shows, without markup.

    Attributes:
        tables: protocol to its grids.
        planned: whether `missing` is relative to a plan; else to the grid that the records span.
        left_out: messages about files that are not readable records.
        calibration: a section of its own, with figures.
    """

    suite: str
    note: str
    headline: str
    tables: Mapping[str, Sequence[Grid]]
    figures: Sequence[FigureImage]
    claims: Grid
    outliers: Sequence[str]
    facts: Sequence[tuple[str, str]]
    commands: Sequence[str]
    provenance: Sequence[Grid]
    warnings: Sequence[str]
    failures: Sequence[Failure]
    missing: Sequence[Run]
    planned: bool
    left_out: Sequence[str]
    calibration: Section | None = None


def compose(content: Content) -> Page:
    """Arrange the content in sections; a section without content says so."""
    failed = f"Runs that failed: {len(content.failures)}. The same command runs them again."
    against = "of the plan" if content.planned else "of the grid that the records span (the plan is not known)"
    absent = f"Runs {against} without a record: {len(content.missing)}." if content.missing else f"None {against}."
    sections = [_tables_section(protocol, grids) for protocol, grids in content.tables.items()]
    sections += [Section(anchor="part-figures", title="Figures", figures=content.figures)] if content.figures else []
    sections += [content.calibration] if content.calibration else []
    sections += [
        Section(anchor="part-claims", title="Claims", grids=[content.claims], wraps=True),
        Section(
            anchor="part-outliers",
            title="Outliers among seeds",
            text=[] if content.outliers else ["None."],
            items=content.outliers,
        ),
        Section(
            anchor="part-provenance",
            title="Provenance",
            facts=content.facts,
            items=[f"warning: {text}" for text in content.warnings],
            commands=content.commands,
            grids=content.provenance,
            wraps=True,
        ),
        Section(
            anchor="part-failed",
            title="Failed runs",
            text=[failed if content.failures else "None."],
            grids=[_failures_grid(content.failures)] if content.failures else [],
            wraps=True,
        ),
        Section(
            anchor="part-missing",
            title="Missing runs",
            text=[absent],
            items=[f"left out: {text}" for text in content.left_out],
            grids=[_missing_grid(content.missing)] if content.missing else [],
            wraps=True,
        ),
    ]
    return Page(
        title=f"Prompt learning for CLIP: suite {content.suite}",
        subtitle=content.headline,
        note=content.note,
        sections=sections,
    )


def _tables_section(protocol: str, grids: Sequence[Grid]) -> Section:
    """The tables of a protocol; an explanation that several share is given once, before them."""
    counts = Counter(grid.explained for grid in grids)
    shared = [text for text, count in counts.items() if text and count > 1]
    return Section(
        anchor=f"part-{protocol}",
        title=TITLES.get(protocol, protocol),
        text=shared,
        grids=[replace(grid, explained="") if grid.explained in shared else grid for grid in grids],
    )


def _failures_grid(failures: Sequence[Failure]) -> Grid:
    rows = [[*_run_cells(f.run), Cell.number(f.run.seed), Cell(f.reason), Cell(f.path)] for f in failures]
    columns = (*Run._fields, "error", "traceback, below the results folder")
    return Grid(name="failures", caption="Runs that failed.", explained="", columns=columns, rows=rows)


def _missing_grid(runs: Sequence[Run]) -> Grid:
    """Runs without a record; runs that differ in the seed only share a row."""
    seeds: dict[Run, list[int]] = {}
    for run in runs:
        seeds.setdefault(run._replace(seed=0), []).append(run.seed)
    rows = [[*_run_cells(run), Cell(", ".join(map(str, sorted(found))))] for run, found in seeds.items()]
    columns = (*Run._fields[:-1], "seeds")
    return Grid(name="missing-runs", caption="Runs without a record.", explained="", columns=columns, rows=rows)


def _run_cells(run: Run) -> list[Cell]:
    return [Cell(run.protocol), Cell(run.method), Cell(run.dataset), Cell.number(run.shots)]


def write(
    records: Sequence[RunRecord],
    out: Path,
    options: TableOptions = DEFAULTS,
    *,
    planned: Sequence[RunSpec] | None = None,
    failures: Sequence[Failure] = (),
    left_out: Sequence[str] = (),
) -> list[Path]:
    """Write report.html, report.md and the figures of the latter into `out`.

    Raises:
        RecordError: no records, records of several suites, or records that cannot be in one table.
    """
    suites = sorted({record.spec.suite for record in records})
    if len(suites) != 1:
        raise RecordError(f"A report is of one suite; these records are of {', '.join(suites) or 'none'}. {RUN}")
    tables = {}
    for protocol, grids in GRIDS.items():
        own = [record for record in records if record.spec.protocol == protocol]
        specs = None if planned is None else [spec for spec in planned if spec.protocol == protocol]
        if own:
            tables[protocol] = grids(own, options, planned=specs)
    failed = {failure.run for failure in failures}
    figures = [FigureImage(drawing.name, drawing.caption, drawing.svg(), drawing.svg(captioned=True))
               for drawing in draw(records, options)]  # fmt: skip
    diagrams = [figure for figure in figures if figure.name.startswith(reliability.NAME)]
    content = Content(
        suite=suites[0],
        note=options.note,
        headline=headline(records),
        tables=tables,
        figures=[figure for figure in figures if figure not in diagrams],
        claims=claims.grid(claims.judge(records), records, note=options.note),
        outliers=[str(outlier) for outlier in outliers(records)],
        facts=provenance.facts(records),
        commands=provenance.commands(records),
        provenance=[provenance.runs_grid(records), provenance.recipes_grid(records)],
        warnings=provenance.warnings(records),
        failures=failures,
        missing=[run for run in missing(records, planned) if run not in failed],
        planned=planned is not None,
        left_out=left_out,
        calibration=calibration.section(records, diagrams, options, planned=planned),
    )
    return render(content, Path(out))


def render(content: Content, out: Path) -> list[Path]:
    """Write report.html, report.md and the figures of the latter, each atomically."""
    page = compose(content)
    for figure in (figure for section in page.sections for figure in section.figures):
        write_atomically(out / "figures" / f"{figure.name}.svg", figure.captioned_svg.encode())
    files = {out / "report.html": to_html(page), out / "report.md": to_markdown(page)}
    for path, text in files.items():
        write_atomically(path, text.encode(errors="backslashreplace"))  # a path may hold lone surrogates
    return list(files)


def main(arguments: list[str] | None = None) -> int:
    """Read the records and write the report; exit code 0, or 2 with one message."""
    parsed = parse(arguments)
    return answer(lambda: _write_from(parsed))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m tables.report", description=__doc__)
    add = parser.add_argument
    add("--from", dest="folder", type=path_option, required=True, metavar="FOLDER", help="results of one suite, e.g. "
        "results/synthetic")  # fmt: skip
    add("--out", type=path_option, metavar="FOLDER", help="folder of the report (default: FOLDER)")
    add_options(parser)
    add("--std", action="store_true", help="show the standard deviation over seeds in the tables")
    return parser.parse_args(arguments)


def _write_from(parsed: argparse.Namespace) -> int:
    with made_to_last():
        records, problems = collect(parsed.folder)
    for problem in shorten(problems):
        sys.stderr.write(f"left out: {problem}\n")
    if not records:
        raise RecordError(f"{parsed.folder}: holds no record. {RUN}")
    suite = suite_of(records)
    failures, unread = failures_below(parsed.folder.resolve().parent, records[0].spec.suite)
    paths = write(
        select(records, parsed, suite),
        parsed.out or parsed.folder,
        TableOptions.of_suite(suite, std=parsed.std),
        failures=failures,
        left_out=problems + unread,
    )
    sys.stdout.write("Written: " + ", ".join(map(str, paths)) + "\n")
    return 0
