"""Aggregate records to accuracies and means over seeds."""

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.common.config import RunSpec
from benchmark.common.files import REPOSITORY
from benchmark.common.yaml import read_yaml
from benchmark.errors import ConfigError
from benchmark.records.metrics import mean, sample_std
from benchmark.records.record import RunRecord, Score
from tables.metrics import ACCURACY, Metric

if TYPE_CHECKING:
    import pandas as pd

METHOD_ORDER = ("zero_shot", "coop", "cocoop", "kgcoop", "prograd", "copl")  # the paper's
AVERAGE = "average"  # in the place of a dataset's name, as in the published files
TRANSFERS = ("cross_dataset", "domain_generalization")  # protocols with one source dataset per table

COLUMNS = ("protocol", "method", "dataset", "shots", "seed", "class_set", "accuracy", "correct", "total", "record")

Key = tuple[str, str, str]  # method, dataset or AVERAGE, column
Place = Callable[[RunSpec, str], tuple]  # spec and class set -> dataset and column of the cell


@dataclass(frozen=True)
class Value:
    """Mean and sample standard deviation over seeds, the number of seeds and that of planned ones."""

    mean: float
    std: float | None
    count: int
    planned: int

    @property
    def complete(self) -> bool:
        """Whether all planned seeds were measured."""
        return self.count >= self.planned


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """All numbers of a table, unrounded.

    Attributes:
        datasets: in the order of the table.
        averaged: the datasets that AVERAGE is the mean of.
        columns: name to heading.
        seeds: value by seed; for AVERAGE, only seeds that all averaged datasets have.
        values: what the table shows; for AVERAGE, `count` and `planned` are numbers of datasets.
        planned: number of planned seeds.
        metric: what the numbers are.
    """

    methods: Sequence[str]
    datasets: Sequence[str]
    averaged: Sequence[str]
    columns: Mapping[str, str]
    seeds: Mapping[Key, Mapping[int, float]]
    values: Mapping[Key, Value]
    planned: Mapping[Key, int]
    metric: Metric = ACCURACY


def commits(records: Iterable[RunRecord]) -> list[str]:
    """The commits of the runs, sorted; `+changes` marks a dirty working tree."""
    found = [record.provenance.get("git") or {} for record in records]
    return sorted({f"{git.get('commit') or 'unknown'}{'+changes' if git.get('dirty') else ''}" for git in found})


def run_count(records: Sequence[RunRecord]) -> str:
    """The number of runs, as captions state it."""
    return f"{len(records)} run{'s' * (len(records) != 1)}"


@cache
def dataset_titles() -> dict[str, str]:
    """Dataset to its title, from both catalogs."""
    data = REPOSITORY / "benchmark" / "data"
    catalogs = (data / "catalog.yaml", data / "synthetic" / "catalog.yaml")
    return {name: entry["title"] for path in catalogs for name, entry in read_yaml(path).items()}


@cache
def method_titles() -> dict[str, str]:
    """Method to its title, from the recipes in methods/; unreadable recipes are skipped."""
    titles = {}
    for path in sorted((REPOSITORY / "methods").glob("*.yaml")):
        with suppress(ConfigError):
            titles[path.stem] = str(read_yaml(path).get("title", path.stem))
    return titles


def method_title(name: str) -> str:
    """The title of a method; the name of one that is not in methods/."""
    return method_titles().get(name, name)


def untrained_methods(records: Iterable[RunRecord]) -> set[str]:
    """Methods that learn nothing: their result is the same for every seed and number of shots."""
    return {record.spec.method for record in records if record.learns_nothing}


def caveats(records: Sequence[RunRecord]) -> str:
    """Sentences about runs that a reader of any table must know of; "" if there are none."""
    unknown = sum(not record.spec.images for record in records)
    no_images = ""
    if unknown:
        no_images = (
            f"{unknown} of {run_count(records)} recorded without a fingerprint of the images, by an earlier version: "
            "whether these are today's images is not known; the command that made them makes them again."
        )
    return " ".join(filter(None, (_loaded(records), _views(records), no_images)))


def views_of(records: Iterable[RunRecord]) -> set[int]:
    """The values of --views that the records were trained with; empty if none was given."""
    trainings = (record.spec.training for record in records)
    return {training.views for training in trainings if training is not None and training.views is not None}


def _views(records: Iterable[RunRecord]) -> str:
    """The sentence that states the number of views of a training image; "" if --views was not given."""
    views = views_of(records)
    if not views:
        return ""
    count = f"{distinct(views)} random view{'s' * (views != {1})}"
    return f"Trained on at most {count} of each image, which the epochs take in turn (--views)."


def _loaded(records: Iterable[RunRecord]) -> str:
    """The sentence that names methods whose learned values were loaded from files; "" if there are none."""
    runs: dict[str, list[bool]] = {}
    for record in records:
        runs.setdefault(record.spec.method, []).append(bool(record.spec.loaded))
    loaded = [
        method_title(name) + ("" if all(runs[name]) else f" ({sum(runs[name])} of {len(runs[name])} runs)")
        for name in in_order(runs)
        if any(runs[name])
    ]
    return f"Loaded from files, not trained here: {', '.join(loaded)}." if loaded else ""


def headline(records: Sequence[RunRecord]) -> str:
    """The sentence that states suite, backbone, precision, seeds, number of runs, commit and today's date."""
    return (
        f"Suite {distinct(r.spec.suite for r in records)}: backbone {distinct(r.spec.backbone for r in records)}, "
        f"{distinct(r.spec.precision for r in records)}, seeds {distinct(r.spec.seed for r in records)}, "
        f"{run_count(records)}, commit {', '.join(commits(records))}, {datetime.date.today().isoformat()}."
        f" {caveats(records)}"
    ).rstrip()


def distinct(values: Iterable[object]) -> str:
    """The distinct values, sorted."""
    return ", ".join(map(str, sorted(set(values), key=lambda value: value if isinstance(value, int) else str(value))))


def to_percent(score: Score) -> float:
    """The accuracy of one class set in percent, unrounded."""
    return ACCURACY.of(score)


def to_frame(records: Iterable[RunRecord]) -> "pd.DataFrame":
    """One row per run and class set: COLUMNS; accuracy in percent, unrounded; record is its path below the results."""
    import pandas as pd  # slow to import, and no table needs it

    rows = [
        (
            record.spec.protocol,
            record.spec.method,
            record.spec.dataset,
            record.spec.shots,
            record.spec.seed,
            class_set,
            to_percent(score),
            score.correct,
            score.total,
            record.spec.record_path(Path()).as_posix(),
        )
        for record in records
        for class_set, score in record.scores.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def values_over_seeds(values: Sequence[float], planned: int) -> Value:
    """Mean and sample standard deviation of one value per seed."""
    return Value(mean(values), sample_std(values), len(values), max(planned, len(values)))


def seeds_of(records: Iterable[RunRecord], place: Place, metric: Metric = ACCURACY) -> dict[Key, dict[int, float]]:
    """Accuracy or another metric by seed, by the cell that shows it."""
    cells: dict[Key, dict[int, float]] = {}
    for record in records:
        for class_set, score in record.scores.items():
            key = (record.spec.method, *place(record.spec, class_set))
            cells.setdefault(key, {})[record.spec.seed] = metric.of(score)
    return {key: dict(sorted(runs.items())) for key, runs in cells.items()}


def planned_of(
    specs: Iterable[RunSpec], class_sets: Callable[[RunSpec], Iterable[str]], place: Place
) -> dict[Key, int]:
    """Number of planned seeds, by the cell that shows them."""
    counts: dict[Key, int] = {}
    for spec in specs:
        for class_set in class_sets(spec):
            key = (spec.method, *place(spec, class_set))
            counts[key] = counts.get(key, 0) + 1
    return counts


def make_sheet(
    seeds: Mapping[Key, Mapping[int, float]],
    planned: Mapping[Key, int],
    *,
    methods: Iterable[str],
    datasets: Sequence[str],
    averaged: Sequence[str],
    columns: Mapping[str, str],
    metric: Metric,
) -> Sheet:
    """Means over seeds, then over datasets."""
    methods = in_order(methods)
    seeds, counts = dict(seeds), {key: max(planned.get(key, 0), len(runs)) for key, runs in seeds.items()}
    values = {key: values_over_seeds(list(runs.values()), counts[key]) for key, runs in seeds.items()}
    for method in methods:
        for column in columns:
            present = [(method, dataset, column) for dataset in averaged if (method, dataset, column) in values]
            if not present:
                continue
            shared = set.intersection(*(set(seeds[key]) for key in present)) if len(present) == len(averaged) else ()
            each = {seed: mean([seeds[key][seed] for key in present]) for seed in sorted(shared)}
            complete = sum(values[key].complete for key in present)
            key = (method, AVERAGE, column)
            spread = sample_std(list(each.values())) if complete == len(averaged) else None
            values[key] = Value(mean([values[k].mean for k in present]), spread, complete, len(averaged))
            seeds[key], counts[key] = each, max(counts[k] for k in present)
    return Sheet(methods=methods, datasets=datasets, averaged=averaged, columns=columns, seeds=seeds, values=values,
                 planned=counts, metric=metric)  # fmt: skip


def in_order(methods: Iterable[str]) -> list[str]:
    """Distinct methods: those of the paper in its order, then others alphabetically."""
    found = set(methods)
    return [m for m in METHOD_ORDER if m in found] + sorted(found - set(METHOD_ORDER))
