"""One report of all that a results folder holds. Again, on any laptop: python -m tables.report --from results/paper"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.common.config import RunSpec
from benchmark.common.files import write_atomically
from benchmark.errors import BenchmarkError, RecordError
from benchmark.records.record import RunRecord
from benchmark.records.store import collect
from tables.aggregate import dataset_titles, headline
from tables.claims import judge as claims
from tables.figures import draw as figures
from tables.protocols.writers import GRIDS
from tables.rendering.grid import Cell, Grid
from tables.report import provenance
from tables.report.missing_runs import Failure, Run, failures_below, missing
from tables.report.page import Page, Picture, Section, to_html, to_markdown
from tables.selection import add_options, first_of, select, suite_of
from tables.statistics import outliers

TITLES = {"base2new": "Base to new", "cross_dataset": "Cross-dataset transfer", "few_shot": "Few-shot",
          "domain_generalization": "Domain generalisation"}  # fmt: skip
RUN = "Run: python run_all.py --protocol all"


@dataclass(frozen=True, kw_only=True)
class Content:
    """What the report says, before any markup.

    Attributes:
        tables: protocol to its tables, in order.
        planned: whether `missing` compares with a plan; else with the grid that the records span.
        left_out: files that could not be read as records.
    """

    suite: str
    note: str
    headline: str
    tables: Mapping[str, Sequence[Grid]]
    pictures: Sequence[Picture]
    claims: Grid
    outliers: Sequence[str]
    facts: Sequence[tuple[str, str]]
    commands: Sequence[str]
    conduct: Sequence[Grid]
    warnings: Sequence[str]
    failures: Sequence[Failure]
    missing: Sequence[Run]
    planned: bool
    left_out: Sequence[str]


def compose(content: Content) -> Page:
    """The report's sections in their order, each with a sentence where there is nothing to show."""
    failed = f"Runs that failed: {len(content.failures)}. The same command runs them again."
    against = "of the plan" if content.planned else "of the grid that the records span (no plan was at hand)"
    lacking = f"Runs {against} without a record: {len(content.missing)}." if content.missing else f"None {against}."
    sections = [_tables_section(protocol, grids) for protocol, grids in content.tables.items()]
    sections += [Section(anchor="part-figures", title="Figures", pictures=content.pictures)] if content.pictures else []
    sections += [
        Section(anchor="part-claims", title="Claims", grids=[content.claims], wordy=True),
        Section(
            anchor="part-outliers",
            title="Outliers among seeds",
            text=[] if content.outliers else ["None."],
            items=content.outliers,
        ),
        Section(
            anchor="part-conduct",
            title="How it was run",
            facts=content.facts,
            items=[f"warning: {text}" for text in content.warnings],
            commands=content.commands,
            grids=content.conduct,
            wordy=True,
        ),
        Section(
            anchor="part-failed",
            title="What failed",
            text=[failed if content.failures else "Nothing."],
            grids=[_failures_grid(content.failures)] if content.failures else [],
            wordy=True,
        ),
        Section(
            anchor="part-missing",
            title="What is missing",
            text=[lacking],
            items=[f"left out: {text}" for text in content.left_out],
            grids=[_missing_grid(content.missing)] if content.missing else [],
            wordy=True,
        ),
    ]
    return Page(
        title=f"Prompt learning for CLIP: suite {content.suite}",
        subtitle=content.headline,
        note=content.note,
        sections=sections,
    )


def _tables_section(protocol: str, grids: Sequence[Grid]) -> Section:
    """The tables of a protocol; what explains several of them stands once, before them."""
    counts = Counter(grid.explained for grid in grids)
    shared = [text for text, count in counts.items() if text and count > 1]
    return Section(
        anchor=f"part-{protocol}",
        title=TITLES.get(protocol, protocol),
        text=shared,
        grids=[replace(grid, explained="") if grid.explained in shared else grid for grid in grids],
    )


def _failures_grid(failures: Sequence[Failure]) -> Grid:
    rows = [[*_run_cells(f.run), _number(f.run.seed), Cell(f.reason), Cell(f.path)] for f in failures]
    columns = (*Run._fields, "error", "traceback, below the results folder")
    return Grid(name="failures", caption="Runs that failed.", explained="", columns=columns, rows=rows)


def _missing_grid(runs: Sequence[Run]) -> Grid:
    """Runs without a record, those that differ in their seed in one row."""
    seeds: dict[Run, list[int]] = {}
    for run in runs:
        seeds.setdefault(run._replace(seed=0), []).append(run.seed)
    rows = [[*_run_cells(run), Cell(", ".join(map(str, sorted(found))))] for run, found in seeds.items()]
    columns = (*Run._fields[:-1], "seeds")
    return Grid(name="missing-runs", caption="Runs without a record.", explained="", columns=columns, rows=rows)


def _run_cells(run: Run) -> list[Cell]:
    return [Cell(run.protocol), Cell(run.method), Cell(run.dataset), _number(run.shots)]


def _number(value: int) -> Cell:
    return Cell(str(value), value=float(value))


def write(
    records: Sequence[RunRecord],
    out: Path,
    *,
    planned: Sequence[RunSpec] | None = None,
    failures: Sequence[Failure] = (),
    left_out: Sequence[str] = (),
    std: bool = False,
    published: bool = False,
    note: str = "",
    titles: Mapping[str, str] | None = None,
) -> list[Path]:
    """Gather what the modules of tables/ make of the records, and put the report of it into `out`.

    Raises:
        RecordError: no records, of several suites, or records that cannot stand in one table.
    """
    suites = sorted({record.spec.suite for record in records})
    if len(suites) != 1:
        raise RecordError(f"A report is of one suite; these records are of {', '.join(suites) or 'none'}. {RUN}")
    tables = {}
    for protocol, grids in GRIDS.items():
        own = [record for record in records if record.spec.protocol == protocol]
        specs = None if planned is None else [spec for spec in planned if spec.protocol == protocol]
        if own:
            tables[protocol] = grids(own, planned=specs, std=std, published=published, note=note, titles=titles)
    failed = {failure.run for failure in failures}
    content = Content(
        suite=suites[0],
        note=note,
        headline=headline(records),
        tables=tables,
        pictures=[
            Picture(drawing.name, drawing.caption, drawing.svg(), drawing.svg(captioned=True))
            for drawing in figures.draw(records, titles=titles or {}, note=note)
        ],
        claims=claims.grid(claims.judge(records), records, note=note),
        outliers=[str(outlier) for outlier in outliers(records)],
        facts=provenance.facts(records),
        commands=provenance.commands(records),
        conduct=[provenance.runs_grid(records), provenance.recipes_grid(records)],
        warnings=provenance.warnings(records),
        failures=failures,
        missing=[run for run in missing(records, planned) if run not in failed],
        planned=planned is not None,
        left_out=left_out,
    )
    return render(content, Path(out))


def render(content: Content, out: Path) -> list[Path]:
    """Put report.html, report.md and the figures of the latter into a folder, each whole or not at all."""
    page = compose(content)
    for picture in content.pictures:
        write_atomically(out / "figures" / f"{picture.name}.svg", picture.captioned.encode())
    files = {out / "report.html": to_html(page), out / "report.md": to_markdown(page)}
    for path, text in files.items():
        write_atomically(path, text.encode(errors="backslashreplace"))  # a path may hold half of a character
    return list(files)


def main(arguments: list[str] | None = None) -> int:
    """Read what is stored, render it; exit code 0, or 2 with one message."""
    parser = argparse.ArgumentParser(prog="python -m tables.report", description=__doc__)
    parser.add_argument("--from", dest="folder", type=Path, required=True, metavar="FOLDER", help="results of one "
        "suite, e.g. results/synthetic")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the report goes (default: FOLDER)")
    add_options(parser)
    parser.add_argument("--std", action="store_true", help="tables with the standard deviation over seeds")
    options = parser.parse_args(arguments)
    try:
        records, problems = collect(options.folder)
        if not records:
            raise RecordError("\n".join([f"{options.folder}: holds no record. {RUN}", *first_of(problems)]))
        suite = suite_of(records)
        failures, unread = failures_below(options.folder.resolve().parent, records[0].spec.suite)
        paths = write(
            select(records, options, suite),
            options.out or options.folder,
            failures=failures,
            left_out=problems + unread,
            std=options.std,
            published=bool(suite and suite.published),
            note=suite.note if suite else "",
            titles=dataset_titles(),
        )
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write("Written: " + ", ".join(map(str, paths)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
