"""What stands in one place of a table, made from a sheet: measured, published, with an interval, against a baseline."""

from collections.abc import Callable, Mapping

from tables.aggregate import AVERAGE, Key, Sheet, Value
from tables.rendering.grid import Cell
from tables.statistics import student_interval

ABSENT = "—"
BELOW = "↓"
ZERO_SHOT = "zero_shot"

CellOf = Callable[[Key], Cell]


def measured(sheet: Sheet, *, std: bool) -> CellOf:
    """The mean, the best complete one of its place in bold, marked where it is below zero-shot or incomplete."""

    def cell(key: Key) -> Cell:
        value = sheet.values.get(key)
        if value is None:
            return Cell(ABSENT)
        spread = f" ± {value.std:.2f}" if std and value.std is not None else ""
        zero_shot = sheet.values.get((ZERO_SHOT, *key[1:]))
        below = key[0] != ZERO_SHOT and zero_shot is not None and _printed(value) < _printed(zero_shot)
        text = f"{value.mean:.2f}{spread}{_partial(value)}{BELOW if below else ''}"
        return Cell(text, best=_is_best(sheet, key), value=value.mean)

    return cell


def published(sheet: Sheet, figures: Mapping[Key, float], *, whole: bool) -> CellOf:
    """The published figure and ours less it; `whole`: our averages are over the same datasets as the published."""

    def cell(key: Key) -> Cell:
        figure, value = figures.get(key), sheet.values.get(key)
        if figure is None:
            return Cell(ABSENT)
        comparable = value is not None and (key[1] != AVERAGE or whole)
        return Cell(f"{figure:.2f}" + (f" ({value.mean - figure:+.2f})" if comparable else ""), value=figure)

    return cell


def with_interval(sheet: Sheet) -> CellOf:
    """The mean and half the width of its 95 % interval over seeds."""

    def cell(key: Key) -> Cell:
        value = sheet.values.get(key)
        if value is None:
            return Cell(ABSENT)
        interval = student_interval(list(sheet.seeds[key].values()))
        return Cell(f"{value.mean:.2f}{_margin(interval)}{_partial(value)}", value=value.mean)

    return cell


def against(sheet: Sheet, baseline: str) -> CellOf:
    """The mean difference to the baseline's value of the same seed, bold where its 95 % interval leaves out 0."""

    def cell(key: Key) -> Cell:
        ours, theirs = sheet.seeds.get(key, {}), sheet.seeds.get((baseline, *key[1:]), {})
        differences = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        if not differences:
            return Cell(ABSENT)
        centre, interval = sum(differences) / len(differences), student_interval(differences)
        planned = sheet.planned[key]
        partial = "" if len(differences) >= planned else f" ({len(differences)}/{planned})"
        certain = interval is not None and not interval[0] <= 0 <= interval[1]
        return Cell(f"{centre:+.2f}{_margin(interval)}{partial}", best=certain, value=centre)

    return cell


def _margin(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ± {(interval[1] - interval[0]) / 2:.2f}"


def _partial(value: Value) -> str:
    return "" if value.complete else f" ({value.count}/{value.planned})"


def _printed(value: Value) -> float:
    return round(value.mean, 2)


def _is_best(sheet: Sheet, key: Key) -> bool:
    """Whether no method prints a higher complete value in this place."""
    rivals = [value for m in sheet.methods if (value := sheet.values.get((m, *key[1:]))) is not None and value.complete]
    value = sheet.values[key]
    return value.complete and len(rivals) > 1 and _printed(value) == max(map(_printed, rivals))
