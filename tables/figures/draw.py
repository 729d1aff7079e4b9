"""Figures from records: few-shot curves, base-to-new charts, transfer, accuracy against training time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.common.files import write_atomically
from benchmark.records.record import RunRecord
from tables.aggregate import TRANSFERS, check_alike, check_comparable
from tables.figures import accuracy_vs_time as seconds
from tables.figures import curves, gains, targets
from tables.figures.drawing import Drawing

PAINTERS = {"base2new": gains.draw, "few_shot": curves.draw, "cross_dataset": targets.draw,
            "domain_generalization": targets.draw}  # fmt: skip
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
    check_alike(records)
    groups: dict[str, list[RunRecord]] = {name: [] for name in PAINTERS}
    for record in records:
        if record.spec.protocol in groups:
            groups[record.spec.protocol].append(record)
    groups = {protocol: own for protocol, own in groups.items() if own}
    for own in groups.values():  # two sources are two figures
        for source in {record.spec.dataset for record in own} if own[0].spec.protocol in TRANSFERS else {None}:
            check_comparable([record for record in own if source in (None, record.spec.dataset)])
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
            write_atomically(paths[-1], content)
    return paths
