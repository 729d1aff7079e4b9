"""Define what tables, figures and the report show besides the measured means."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmark.common.config import Suite
from tables.aggregate import AVERAGE, dataset_titles
from tables.metrics import ACCURACY, Metric


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What is shown with the measured means, and how datasets are named.

    Attributes:
        std: the standard deviation over seeds.
        published: the published values of the same cells.
        note: a sentence for every caption.
        titles: dataset to its title; a dataset without a title is shown by its name.
        per_seed: tables with the values of each seed.
        interval: tables with 95 % intervals of the means.
        baseline: a method; tables with the mean differences to it.
        metric: what the tables show.
    """

    std: bool = False
    published: bool = False
    note: str = ""
    titles: Mapping[str, str] = field(default_factory=dict)
    per_seed: bool = False
    interval: bool = False
    baseline: str | None = None
    metric: Metric = ACCURACY

    @classmethod
    def of_suite(cls, suite: Suite | None, **changes: object) -> "TableOptions":
        """The options that a suite sets, with the titles of all catalogs; `changes` take precedence."""
        own = {"published": suite.published, "note": suite.note} if suite else {}
        return cls(**{"titles": dataset_titles(), **own, **changes})

    def title_of(self, dataset: str) -> str:
        """The title of a dataset or of AVERAGE."""
        return "Average" if dataset == AVERAGE else self.titles.get(dataset, dataset)


DEFAULTS = TableOptions()
