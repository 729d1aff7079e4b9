"""Figures from records: few-shot curves, base-to-new charts, transfer, accuracy against training time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.errors import RecordError
from benchmark.records import RunRecord, write_whole
from tables import curves, gains, seconds, targets
from tables.drawing import Drawing

PAINTERS = {"base2new": gains.draw, "few_shot": curves.draw, "cross_dataset": targets.draw,
            "domain_generalization": targets.draw}  # fmt: skip
SAME_FOR_ALL = ("suite", "backbone", "checkpoint", "precision")
FORMATS = ("svg", "png")


def draw(records: Sequence[RunRecord], *, titles: Mapping[str, str] | None = None, note: str = "") -> list[Drawing]:
    """What the records of one suite allow, protocol by protocol; none for no records.

    A Drawing has `.name`, `.caption`, `.svg()` (text) and `.png()` (bytes); nothing is rendered before one of them is
    called. The caption belongs beside the picture, or into it with `captioned=True`; it says what is missing.

    Args:
        records: any mix of protocols; datasets are drawn in the order in which they are first named.
        titles: dataset to its name in the figures.
        note: the suite's, for each caption.
    Raises:
        RecordError: records that were not measured alike, or one run twice.
    """
    _check(records)
    groups: dict[str, list[RunRecord]] = {name: [] for name in PAINTERS}
    for record in records:
        if record.spec.protocol in groups:
            groups[record.spec.protocol].append(record)
    groups = {protocol: own for protocol, own in groups.items() if own}
    context = {"titles": titles or {}, "note": note}
    drawings = [drawing for protocol, own in groups.items() for drawing in PAINTERS[protocol](own, **context)]
    return [*drawings, *seconds.draw(groups, **context)]


def write(
    records: Sequence[RunRecord],
    out: Path,
    *,
    titles: Mapping[str, str] | None = None,
    note: str = "",
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Draw into `out`/figures/<name>.svg and .png, captions inside; each file whole or not at all.

    Raises:
        RecordError: as `draw`, or a file that cannot be written.
    """
    paths = []
    for drawing in draw(records, titles=titles, note=note):
        for kind in formats:
            content = drawing.svg(captioned=True).encode() if kind == "svg" else drawing.png(captioned=True)
            paths.append(Path(out) / "figures" / f"{drawing.name}.{kind}")
            write_whole(paths[-1], content)
    return paths


def _check(records: Sequence[RunRecord]) -> None:
    """Refuse what would be averaged though it differs: settings that all share, shots, and a run of two recipes."""
    seen: dict[object, RunRecord] = {}
    for record in records:
        spec = record.spec
        for field in SAME_FOR_ALL:
            _refuse_other(records[0], record, field)
        if spec.protocol != "few_shot":
            _refuse_other(seen.setdefault(spec.protocol, record), record, "shots")
        run = (spec.protocol, spec.method, spec.dataset, spec.shots, spec.seed)
        if (again := seen.setdefault(run, record)) is not record:
            raise RecordError(f"{_name(again)} and {_name(record)} are the same run with other settings; {_REMEDY}")


_REMEDY = "delete the one you do not mean, or keep them in different folders (--out)."


def _refuse_other(one: RunRecord, other: RunRecord, field: str) -> None:
    first, second = getattr(one.spec, field), getattr(other.spec, field)
    if first != second:
        raise RecordError(
            f"{_name(one)} and {_name(other)} cannot stand in one figure: they differ in {field} ({first} and "
            f"{second}); {_REMEDY}"
        )


def _name(record: RunRecord) -> str:
    return record.spec.record_path("").as_posix()
