"""The tables of some records, a file for each protocol and format."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.config import RunSpec
from benchmark.records import RunRecord
from tables import base2new


def write(
    records: Sequence[RunRecord],
    out: Path,
    *,
    planned: Sequence[RunSpec] | None = None,
    std: bool = False,
    published: bool = False,
    note: str = "",
    titles: dict[str, str] | None = None,
) -> list[Path]:
    """Render what has a table: base-to-new."""
    own = [record for record in records if record.spec.protocol == "base2new"]
    specs = None if planned is None else [spec for spec in planned if spec.protocol == "base2new"]
    if not own:
        return []
    return base2new.write(own, out, planned=specs, std=std, published=published, note=note, titles=titles)
