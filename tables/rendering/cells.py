"""Format the cells of a table: measured means, published values, intervals and differences to a baseline."""

import dataclasses
from collections.abc import Callable, Mapping, Set

from tables.aggregate import AVERAGE, Key, Sheet, Value
from tables.metrics import Metric
from tables.rendering.grid import Cell
from tables.statistics import student_interval

ABSENT = "—"
BELOW, ABOVE = "↓", "↑"
ONE_CLASS = "§"
FEWER_VIEWS = "¶"
ZERO_SHOT = "zero_shot"

PARTIAL = "(2/3): measured on two of three."

CellOf = Callable[[Key], Cell]


def reading(metric: Metric) -> str:
    """The sentences that explain the marks of measured cells."""
    worse = f"{ABOVE}: above" if metric.lower_is_better else f"{BELOW}: below"
    return f"{worse} zero-shot CLIP. {PARTIAL}"


def measured(sheet: Sheet, *, std: bool) -> CellOf:
    """The mean; bold for the best complete one, marked where it is worse than zero-shot or incomplete."""
    metric = sheet.metric

    def cell(key: Key) -> Cell:
        value = sheet.values.get(key)
        if value is None:
            return Cell(ABSENT)
        spread = f" ± {metric.text(value.std)}" if std and value.std is not None else ""
        zero_shot = sheet.values.get((ZERO_SHOT, *key[1:]))
        worse = key[0] != ZERO_SHOT and zero_shot is not None and _rank(metric, value) < _rank(metric, zero_shot)
        mark = (ABOVE if metric.lower_is_better else BELOW) if worse else ""
        text = f"{metric.text(value.mean)}{spread}{_partial(value)}{mark}"
        return Cell(text, best=_is_best(sheet, key), value=value.mean)

    return cell


def published(
    sheet: Sheet, values: Mapping[Key, float], *, same_datasets: bool, fewer_views: Set[str] = frozenset()
) -> CellOf:
    """The published value, and the measured one minus it.

    Args:
        same_datasets: whether measured and published averages are over the same datasets; others are not compared.
        fewer_views: methods that were trained on fewer views here; their differences are marked.
    """

    def cell(key: Key) -> Cell:
        figure, value = values.get(key), sheet.values.get(key)
        if figure is None:
            return Cell(ABSENT)
        comparable = value is not None and (key[1] != AVERAGE or same_datasets)
        mark = FEWER_VIEWS if key[0] in fewer_views else ""
        return Cell(f"{figure:.2f}" + (f" ({value.mean - figure:+.2f}{mark})" if comparable else ""), value=figure)

    return cell


def with_interval(sheet: Sheet) -> CellOf:
    """The mean and half the width of its 95 % interval over seeds."""

    def cell(key: Key) -> Cell:
        value = sheet.values.get(key)
        if value is None:
            return Cell(ABSENT)
        interval = student_interval(list(sheet.seeds[key].values()))
        text = f"{sheet.metric.text(value.mean)}{_margin(sheet.metric, interval)}{_partial(value)}"
        return Cell(text, value=value.mean)

    return cell


def difference_to(sheet: Sheet, baseline: str) -> CellOf:
    """The mean difference to the baseline, paired by seed; bold where its 95 % interval excludes 0."""

    def cell(key: Key) -> Cell:
        own, other = sheet.seeds.get(key, {}), sheet.seeds.get((baseline, *key[1:]), {})
        differences = [own[seed] - other[seed] for seed in own if seed in other]
        if not differences:
            return Cell(ABSENT)
        center, interval = sum(differences) / len(differences), student_interval(differences)
        planned = sheet.planned[key]
        partial = "" if len(differences) >= planned else f" ({len(differences)}/{planned})"
        certain = interval is not None and not interval[0] <= 0 <= interval[1]
        text = f"{sheet.metric.text(center, '+')}{_margin(sheet.metric, interval)}{partial}"
        return Cell(text, best=certain, value=center)

    return cell


def marked(cell: CellOf, places: Set[tuple[str, str]]) -> CellOf:
    """The cells, with a mark on those of sets of one class; `places` are their datasets and columns."""

    def with_mark(key: Key) -> Cell:
        found = cell(key)
        alone = key[1:] in places and found.value is not None
        return dataclasses.replace(found, text=f"{found.text}{ONE_CLASS}") if alone else found

    return with_mark


def _margin(metric: Metric, interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ± {metric.text((interval[1] - interval[0]) / 2)}"


def _partial(value: Value) -> str:
    return "" if value.complete else f" ({value.count}/{value.planned})"


def _rank(metric: Metric, value: Value) -> float:
    """The mean as printed, with the sign that makes a better one higher."""
    return round(-value.mean if metric.lower_is_better else value.mean, metric.digits)


def _is_best(sheet: Sheet, key: Key) -> bool:
    """Whether no other method has a better complete value in the same row and column, as printed."""
    rivals = [value for m in sheet.methods if (value := sheet.values.get((m, *key[1:]))) is not None and value.complete]
    value = sheet.values[key]
    ranks = [_rank(sheet.metric, rival) for rival in rivals]
    return value.complete and len(rivals) > 1 and _rank(sheet.metric, value) == max(ranks)
