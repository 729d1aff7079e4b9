"""Every protocol's tables, and their files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.common.config import RunSpec
from benchmark.common.files import write_atomically
from benchmark.errors import ConfigError, RecordError, did_you_mean
from benchmark.records.record import RunRecord
from tables.protocols import base2new, cross_dataset, domain_generalization, few_shot
from tables.rendering.grid import Grid, to_latex, to_markdown
from tables.rendering.table import NONE, Extras

GRIDS = {
    "base2new": base2new.grids,
    "cross_dataset": cross_dataset.grids,
    "few_shot": few_shot.grids,
    "domain_generalization": domain_generalization.grids,
}
COMMANDS = f"python run_all.py --protocol base2new (or {', '.join(list(GRIDS)[1:])}, all)"
FLOATS = 12  # LaTeX keeps few unplaced tables in mind; after so many they are set


def _latex(grids: Sequence[Grid]) -> str:
    parts = [to_latex(grid) + ("\\clearpage\n" if n % FLOATS == 0 else "") for n, grid in enumerate(grids, start=1)]
    return "\n".join(parts)


def _markdown(grids: Sequence[Grid]) -> str:
    return "\n".join(map(to_markdown, grids))


FORMATS = {"markdown": (".md", _markdown), "latex": (".tex", _latex)}


def by_protocol(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Records under their protocol, protocols in the order of GRIDS.

    Raises:
        ConfigError: a record of a protocol that has no table.
    """
    groups: dict[str, list[RunRecord]] = {protocol: [] for protocol in GRIDS}
    for record in records:
        if record.spec.protocol not in GRIDS:
            raise ConfigError(
                f"{record.spec.record_path('')}: there is no table for protocol '{record.spec.protocol}'. "
                f"{did_you_mean(record.spec.protocol, GRIDS)}"
            )
        groups[record.spec.protocol].append(record)
    return {protocol: group for protocol, group in groups.items() if group}


def write(
    records: Sequence[RunRecord],
    out: Path,
    *,
    formats: Sequence[str] = tuple(FORMATS),
    planned: Sequence[RunSpec] | None = None,
    std: bool = False,
    published: bool = False,
    note: str = "",
    titles: Mapping[str, str] | None = None,
    extras: Extras = NONE,
) -> list[Path]:
    """Render into `out`/<protocol>.md and .tex, each whole or not at all; nothing is written if any table is refused.

    The arguments are those of Table.grids; `planned` may hold the runs of several protocols.
    """
    if not records:
        raise RecordError(f"There is no record to make a table of. Run: {COMMANDS}")
    contents = {}
    for protocol, group in by_protocol(records).items():
        specs = None if planned is None else [spec for spec in planned if spec.protocol == protocol]
        found = GRIDS[protocol](
            group, planned=specs, std=std, published=published, note=note, titles=titles, extras=extras
        )
        for name in formats:
            suffix, render = FORMATS[name]
            contents[Path(out) / f"{protocol}{suffix}"] = render(found)
    for path, text in contents.items():
        write_atomically(path, text.encode())
    return list(contents)
