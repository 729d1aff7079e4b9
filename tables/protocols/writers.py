"""Write the tables of every protocol to files."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.common.config import RunSpec
from benchmark.common.files import write_atomically
from benchmark.errors import ConfigError, RecordError, did_you_mean
from benchmark.records.record import RunRecord
from tables.protocols import base2new, cross_dataset, domain_generalization, few_shot
from tables.rendering.grid import Grid, to_latex, to_markdown
from tables.rendering.options import DEFAULTS, TableOptions

TABLES = {module.TABLE.protocol: module.TABLE for module in (base2new, cross_dataset, few_shot, domain_generalization)}
GRIDS = {protocol: table.grids for protocol, table in TABLES.items()}
COMMANDS = f"python run_all.py --protocol base2new (or {', '.join(list(GRIDS)[1:])}, all)"
FLOATS = 12  # LaTeX holds few unplaced tables; a \clearpage after so many places them


def _latex(grids: Sequence[Grid]) -> str:
    parts = [to_latex(grid) + ("\\clearpage\n" if n % FLOATS == 0 else "") for n, grid in enumerate(grids, start=1)]
    return "\n".join(parts)


def _markdown(grids: Sequence[Grid]) -> str:
    return "\n".join(map(to_markdown, grids))


FORMATS = {"markdown": (".md", _markdown), "latex": (".tex", _latex)}


def by_protocol(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Protocol to its records, in the order of GRIDS.

    Raises:
        ConfigError: a record whose protocol has no table.
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
    options: TableOptions = DEFAULTS,
    *,
    planned: Sequence[RunSpec] | None = None,
    formats: Sequence[str] = tuple(FORMATS),
) -> list[Path]:
    """Write `out`/<protocol>.md and .tex, each atomically; write nothing if any table is refused.

    The names of tables of another metric than accuracy end in its name: <protocol>-ece.md.

    Args:
        planned: the planned runs of all protocols, as for Table.grids.
    """
    if not records:
        raise RecordError(f"There are no records for a table. Run: {COMMANDS}")
    contents = {}
    for protocol, group in by_protocol(records).items():
        specs = None if planned is None else [spec for spec in planned if spec.protocol == protocol]
        found = GRIDS[protocol](group, options, planned=specs)
        for name in formats:
            suffix, render = FORMATS[name]
            contents[Path(out) / f"{protocol}{options.metric.suffix}{suffix}"] = render(found)
    for path, text in contents.items():
        write_atomically(path, text.encode())
    return list(contents)
