"""What the tables of all protocols share: their captions, and the grids that follow the main one."""

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.common.config import RunSpec
from benchmark.errors import ConfigError, RecordError, did_you_mean
from benchmark.records.record import RunRecord
from tables.aggregate import (
    TRANSFERS,
    Place,
    Sheet,
    check_comparable,
    commits,
    loaded_note,
    method_title,
    number_of_runs,
)
from tables.published import Figures
from tables.rendering import cells
from tables.rendering.arrange import Heading, seeds_by_columns
from tables.rendering.cells import CellOf
from tables.rendering.grid import Grid
from tables.statistics import outliers

FAR, FAR_BELOW = "†", "‡"
SPREADS = "± is the sample standard deviation over seeds, of an average or H that of each seed's own."
INTERVALS = (
    "± is half the width of the 95 % interval of the mean over seeds, by Student's t; of an average or H, over each "
    "seed's own. One seed has no interval."
)
DIFFERENCES = (
    "Mean over seeds of the difference to {} at the same seed, in points; ± is half the width of its 95 % interval by "
    "Student's t; of an average or H, over each seed's own. Bold: the interval leaves out 0. "
    "(2/3): two of three seeds are paired."
)
EACH_SEED = (
    f"Accuracy in percent of each seed; an average only of seeds that all datasets have. {FAR}: more than 3 standard "
    f"deviations of the other seeds away from their mean, which of three seeds happens to one in four by chance. "
    f"{FAR_BELOW}: at least 10 points below zero-shot CLIP."
)


@dataclass(frozen=True, kw_only=True)
class Extras:
    """Which grids follow the main one: each seed's values, 95 % intervals, differences to a method."""

    per_seed: bool = False
    interval: bool = False
    baseline: str | None = None


NONE = Extras()


@dataclass(frozen=True, kw_only=True)
class Table:
    """What is particular to one protocol's table.

    Attributes:
        title: begins every caption.
        place: where a run's class set stands, as (dataset, column).
        sheet: (records, planned specs) to all numbers.
        arrange: a sheet, and what stands in each place of it, as grids.
        figures: (a measured spec, the sheet) to the published values that may stand beside it.
    """

    protocol: str
    title: str
    explained: str
    place: Place
    sheet: Callable[[Sequence[RunRecord], Sequence[RunSpec]], Sheet]
    arrange: Callable[[Sheet, CellOf, Heading], list[Grid]]
    figures: Callable[[RunSpec, Sheet], Figures]

    def grids(
        self,
        records: Sequence[RunRecord],
        *,
        planned: Sequence[RunSpec] | None = None,
        std: bool = False,
        published: bool = False,
        note: str = "",
        titles: Mapping[str, str] | None = None,
        extras: Extras = NONE,
    ) -> list[Grid]:
        """The finished tables, the main one first.

        Args:
            planned: the runs that were meant to be; decides rows, their order, and which cells are partial.
            published: show the published values of the same cells.
            note: a sentence for the captions.
            titles: dataset to the name of its row.
        Raises:
            RecordError: no records, or records that cannot stand in one table.
            ConfigError: a baseline without records, or a file of published values that is wrong.
        """
        if not records:
            raise RecordError(
                f"There is no record to make a table of. Run: python run_all.py --protocol {self.protocol}"
            )
        check_comparable(records)
        sheet = self.sheet(records, list(planned) if planned is not None else [record.spec for record in records])
        explained = f"{self.explained} {SPREADS}" if std else self.explained
        heading = Heading(name=self.protocol, title=self.title, facts=_facts(records, note, titles or {}),
                          explained=explained, titles=titles or {})  # fmt: skip
        below = []
        if published:
            figures = self.figures(records[0].spec, sheet)
            below = self._published(sheet, figures, heading)
            if not below:
                heading = dataclasses.replace(heading, explained=f"{explained} {figures.absent}")
        found = [*self.arrange(sheet, cells.measured(sheet, std=std), heading), *below]
        if extras.interval:
            intervals = self._below(heading, "interval", f"{self.title}, 95 % intervals", INTERVALS)
            found += self.arrange(sheet, cells.with_interval(sheet), intervals)
        if extras.baseline is not None:
            found += self._against(sheet, extras.baseline, heading)
        if extras.per_seed:
            found += self._per_seed(sheet, records, heading)
        return found

    def _below(self, heading: Heading, name: str, title: str, explained: str) -> Heading:
        return dataclasses.replace(heading, name=f"{self.protocol}-{name}", title=title, explained=explained)

    def _published(self, sheet: Sheet, figures: Figures, heading: Heading) -> list[Grid]:
        if not figures.values:
            return []
        title = f"Published values, and ours less theirs in brackets: {self.title}"
        whole = set(sheet.averaged) == figures.datasets
        explained = f"Sources: {figures.file}." + (
            "" if whole else " A published average is over other datasets than ours, and is not compared."
        )
        below = self._below(heading, "published", title, explained)
        return self.arrange(sheet, cells.published(sheet, figures.values, whole=whole), below)

    def _against(self, sheet: Sheet, baseline: str, heading: Heading) -> list[Grid]:
        if baseline not in sheet.methods:
            raise ConfigError(
                f"baseline '{baseline}': no record of {self.protocol} has it. {did_you_mean(baseline, sheet.methods)}"
            )
        others = dataclasses.replace(sheet, methods=[m for m in sheet.methods if m != baseline])
        if not others.methods:
            return []
        name = method_title(baseline)
        below = self._below(heading, f"against-{baseline}", f"{self.title}, against {name}", DIFFERENCES.format(name))
        return self.arrange(others, cells.against(sheet, baseline), below)

    def _per_seed(self, sheet: Sheet, records: Sequence[RunRecord], heading: Heading) -> list[Grid]:
        marks = {
            ((o.spec.method, *self.place(o.spec, o.class_set)), o.spec.seed): FAR * bool(o.far_from_others)
            + FAR_BELOW * bool(o.far_below_zero_shot)
            for o in outliers(records)
        }
        below = self._below(heading, "seeds", self.title, EACH_SEED)
        return [
            seeds_by_columns(sheet, m, marks, below.narrowed(m, f"{method_title(m)}, each seed")) for m in sheet.methods
        ]


def _facts(records: Sequence[RunRecord], note: str, titles: Mapping[str, str]) -> str:
    """What a reader must know to believe the table."""
    spec = records[0].spec
    learned = [record for record in records if not record.learns_nothing]
    shots = sorted({record.spec.shots for record in learned or records})
    seeds = sorted({record.spec.seed for record in records})
    source = f"trained on {titles.get(spec.dataset, spec.dataset)}, " if spec.protocol in TRANSFERS else ""
    return (
        f"suite {spec.suite}: {source}backbone {spec.backbone}, {spec.precision}, {', '.join(map(str, shots))} "
        f"shot{'s' * (shots != [1])}, seeds {', '.join(map(str, seeds))}, {number_of_runs(records)}, "
        f"commit {', '.join(commits(records))}, {datetime.date.today().isoformat()}."
    ) + "".join(f" {sentence}" for sentence in (loaded_note(records), note) if sentence)
