"""Make the grids of one protocol: the main table, and the ones that options add."""

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmark.common.config import RunSpec
from benchmark.errors import ConfigError, RecordError, did_you_mean
from benchmark.records.record import RunRecord
from tables.aggregate import AVERAGE, TRANSFERS, Place, Sheet, caveats, commits, method_title, run_count
from tables.comparable import check_comparable
from tables.metrics import ACCURACY, Metric
from tables.published import PublishedValues
from tables.rendering import cells
from tables.rendering.arrange import Heading, seeds_by_columns
from tables.rendering.cells import CellOf
from tables.rendering.grid import Grid
from tables.rendering.options import DEFAULTS, TableOptions
from tables.statistics import one_class_note, outliers

FAR, FAR_BELOW = "†", "‡"
SPREADS = "± is the sample standard deviation over seeds, of an average or H that of each seed's own."
INTERVALS = (
    "± is half the width of the 95 % interval of the mean over seeds, by Student's t; of an average or H, over each "
    "seed's own. One seed has no interval."
)
DIFFERENCES = (
    "Mean over seeds of the difference to {} at the same seed, in {}; ± is half the width of its 95 % interval by "
    "Student's t; of an average or H, over each seed's own. Bold: the interval leaves out 0. "
    "(2/3): two of three seeds are paired."
)
FEWER = f" {cells.FEWER_VIEWS}: ours repeats a few views of each training image, theirs has a new one each epoch."
EACH_SEED = "{} of each seed; an average only of seeds that all datasets have."
OUTLIERS = (
    f" {FAR}: more than 3 standard "
    f"deviations of the other seeds away from their mean, which of three seeds happens to one in four by chance. "
    f"{FAR_BELOW}: at least 10 points below zero-shot CLIP."
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """What is particular to the table of one protocol.

    Attributes:
        title: the first words of every caption.
        explained: a metric to the sentences on how to read the table.
        place: (spec, class set) to (dataset, column), the cell that shows it.
        sheet: (records, planned specs, metric) to all numbers.
        arrange: (sheet, cell function, heading) to grids.
        published: (a measured spec, the sheet) to the published values of its cells, which are accuracies.
    """

    protocol: str
    title: str
    explained: Callable[[Metric], str]
    place: Place
    sheet: Callable[[Sequence[RunRecord], Sequence[RunSpec], Metric], Sheet]
    arrange: Callable[[Sheet, CellOf, Heading], list[Grid]]
    published: Callable[[RunSpec, Sheet], PublishedValues]

    def grids(
        self,
        records: Sequence[RunRecord],
        options: TableOptions = DEFAULTS,
        *,
        planned: Sequence[RunSpec] | None = None,
    ) -> list[Grid]:
        """The finished tables, the main one first.

        Args:
            planned: the planned runs (default: those of the records); they decide the rows, their order, and which
                cells are partial.
        Raises:
            RecordError: no records, or records that cannot be in one table.
            ConfigError: a baseline without records, or an invalid file of published values.
        """
        if not records:
            raise RecordError(f"There are no records for a table. Run: python run_all.py --protocol {self.protocol}")
        check_comparable(records)
        metric = options.metric
        specs = list(planned) if planned is not None else [record.spec for record in records]
        sheet = self.sheet(records, specs, metric)
        explained = " ".join([self.explained(metric), *([SPREADS] if options.std else [])])
        title = ", ".join(filter(None, (self.title, metric.title)))
        heading = Heading(name=f"{self.protocol}{metric.suffix}", title=title, facts=_facts(records, options),
                          explained=explained, options=options)  # fmt: skip
        below = []
        if options.published and metric == ACCURACY:
            values = self.published(records[0].spec, sheet)
            below = self._published(sheet, values, heading, records)
            if not below:
                heading = dataclasses.replace(heading, explained=f"{explained} {values.absent}")
        alone = self.one_class(sheet, records)
        found = [*self.arrange(sheet, cells.marked(cells.measured(sheet, std=options.std), alone), heading), *below]
        if options.interval:
            intervals = _below(heading, "interval", f"{title}, 95 % intervals", INTERVALS)
            found += self.arrange(sheet, cells.marked(cells.with_interval(sheet), alone), intervals)
        if options.baseline is not None:
            found += self._differences(sheet, options.baseline, heading)
        if options.per_seed:
            found += self._per_seed(sheet, records, heading)
        return found

    def one_class(self, sheet: Sheet, records: Sequence[RunRecord]) -> set[tuple[str, str]]:
        """Dataset and column of the cells that rest on a set of one class, averages and H with such a part included."""
        classes = {self.place(r.spec, name): score.classes for r in records for name, score in r.scores.items()}
        alone = {place for place, count in classes.items() if count == 1}
        computed = sheet.columns.keys() - {column for _, column in classes}  # H
        alone |= {(dataset, column) for dataset, _ in alone for column in computed}
        return alone | {(AVERAGE, column) for dataset, column in alone if dataset in sheet.averaged}

    def _published(
        self, sheet: Sheet, published: PublishedValues, heading: Heading, records: Sequence[RunRecord]
    ) -> list[Grid]:
        if not published.values:
            return []
        trained = [record.spec for record in records if record.spec.training is not None]
        fewer = {spec.method for spec in trained if spec.training.repeats_views}
        title = f"Published values, and ours less theirs in brackets: {self.title}"
        same = set(sheet.averaged) == published.datasets
        explained = f"Sources: {published.file}." + (
            "" if same else " A published average is over other datasets than ours, and is not compared."
        )
        explained += FEWER if fewer else ""
        below = _below(heading, "published", title, explained)
        cell = cells.published(sheet, published.values, same_datasets=same, fewer_views=fewer)
        return self.arrange(sheet, cell, below)

    def _differences(self, sheet: Sheet, baseline: str, heading: Heading) -> list[Grid]:
        if baseline not in sheet.methods:
            raise ConfigError(
                f"baseline '{baseline}': {self.protocol} has no record of it. {did_you_mean(baseline, sheet.methods)}"
            )
        others = dataclasses.replace(sheet, methods=[m for m in sheet.methods if m != baseline])
        if not others.methods:
            return []
        name = method_title(baseline)
        explained = DIFFERENCES.format(name, sheet.metric.unit)
        below = _below(heading, f"against-{baseline}", f"{heading.title}, against {name}", explained)
        return self.arrange(others, cells.difference_to(sheet, baseline), below)

    def _per_seed(self, sheet: Sheet, records: Sequence[RunRecord], heading: Heading) -> list[Grid]:
        of_accuracy = sheet.metric == ACCURACY
        marks = {
            ((o.spec.method, *self.place(o.spec, o.class_set)), o.spec.seed): FAR * bool(o.far_from_others)
            + FAR_BELOW * bool(o.far_below_zero_shot)
            for o in (outliers(records) if of_accuracy else ())
        }
        explained = EACH_SEED.format(sheet.metric.what) + (OUTLIERS if of_accuracy else "")
        below = _below(heading, "seeds", heading.title, explained)
        return [
            seeds_by_columns(sheet, m, marks, below.narrowed(m, f"{method_title(m)}, each seed")) for m in sheet.methods
        ]


def _below(heading: Heading, name: str, title: str, explained: str) -> Heading:
    """The heading of a table below the main one."""
    return dataclasses.replace(heading, name=f"{heading.name}-{name}", title=title, explained=explained)


def _facts(records: Sequence[RunRecord], options: TableOptions) -> str:
    """How the records were measured, as every caption states it."""
    spec = records[0].spec
    learned = [record for record in records if not record.learns_nothing]
    shots = sorted({record.spec.shots for record in learned or records})
    seeds = sorted({record.spec.seed for record in records})
    source = f"trained on {options.title_of(spec.dataset)}, " if spec.protocol in TRANSFERS else ""
    return (
        f"suite {spec.suite}: {source}backbone {spec.backbone}, {spec.precision}, {', '.join(map(str, shots))} "
        f"shot{'s' * (shots != [1])}, seeds {', '.join(map(str, seeds))}, {run_count(records)}, "
        f"commit {', '.join(commits(records))}, {datetime.date.today().isoformat()}."
    ) + "".join(f" {each}" for each in (one_class_note(records), caveats(records), options.note) if each)
