"""Draw figures from records: few-shot curves, base-to-new charts, transfer, training time, reliability."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.common.files import write_atomically
from benchmark.records.record import RunRecord
from tables.aggregate import TRANSFERS
from tables.comparable import check_comparable, check_same_setup
from tables.figures import accuracy_vs_time, curves, gains, reliability, targets
from tables.figures.drawing import Drawing
from tables.rendering.options import DEFAULTS, TableOptions

FIGURES = {"base2new": gains.draw, "few_shot": curves.draw, "cross_dataset": targets.draw,
            "domain_generalization": targets.draw}  # fmt: skip
FORMATS = ("svg", "png")


def draw(records: Sequence[RunRecord], options: TableOptions = DEFAULTS) -> list[Drawing]:
    """The figures of the records of one suite, by protocol; empty for no records.

    A Drawing is rendered by `.svg()` (text) and `.png()` (bytes). Its caption, which names what is missing, belongs
    next to the figure, or inside it with `captioned=True`.

    Args:
        records: any mix of protocols; datasets are drawn in the order of their first record.
        options: titles of datasets, and the note of each caption.
    Raises:
        RecordError: records that are not comparable, or two of one run.
    """
    check_same_setup(records)
    groups: dict[str, list[RunRecord]] = {name: [] for name in FIGURES}
    for record in records:
        if record.spec.protocol in groups:
            groups[record.spec.protocol].append(record)
    groups = {protocol: own for protocol, own in groups.items() if own}
    for own in groups.values():  # each source has its own figure
        for source in {record.spec.dataset for record in own} if own[0].spec.protocol in TRANSFERS else {None}:
            check_comparable([record for record in own if source in (None, record.spec.dataset)])
    drawings = [drawing for protocol, own in groups.items() for drawing in FIGURES[protocol](own, options)]
    diagrams = [drawing for own in groups.values() for drawing in reliability.draw(own, options)]
    return [*drawings, *accuracy_vs_time.draw(groups, options), *diagrams]


def write(
    records: Sequence[RunRecord],
    out: Path,
    options: TableOptions = DEFAULTS,
    *,
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Write `out`/figures/<name>.svg and .png with their captions inside, each atomically.

    Raises:
        RecordError: as `draw`, or a file that cannot be written.
    """
    paths = []
    for drawing in draw(records, options):
        for kind in formats:
            content = drawing.svg(captioned=True).encode() if kind == "svg" else drawing.png(captioned=True)
            paths.append(Path(out) / "figures" / f"{drawing.name}.{kind}")
            write_atomically(paths[-1], content)
    return paths
