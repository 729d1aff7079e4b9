"""Print what the doctor found as tables."""

import textwrap
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from benchmark.cli.doctor.environment import Row

NOTE_WIDTH = 60  # characters


def to_text(found: Mapping) -> str:
    """Tables, then whether the run would start, and the commands to type if not.

    Args:
        found: what `examine` returns.
    """
    datasets = [
        row | {"images": row["images"] or None, "note": textwrap.fill(row["note"], NOTE_WIDTH)}
        for row in found["datasets"]
    ]
    commands = [row for row in datasets if row["next_command"]]
    device = found["device"]
    own_memory = f"{_size(device['free_bytes'])} of {_size(device['total_bytes'])} free"
    device |= {"memory": own_memory if device["total_bytes"] else "-"}
    device |= {"name": device["name"] or found["machine"].get("processor") or "-"}
    tables = [
        _table(datasets, {"dataset": "name"} | _same("state", "needed", "images", "classes", "note")),
        *([_table(commands, {"dataset": "name", "next command": "next_command"})] if commands else []),
        _table([found["backbone"]], {"backbone": "name", "state": "state", "size": "size_bytes", "folder": "folder"}),
        _table(
            [device],
            {"device": "device", "what it is": "name", "its own memory": "memory", "precision": "precision",
             "processes": "processes", "threads of each": "threads"},
        ),
        _table([found["memory"]], {"memory": "total_bytes", "of it free": "available_bytes"}),
        _table(
            found["disks"],
            {"disk of": "what", "folder": "folder", "free": "free_bytes", "can be written": "writable", "note": "note"},
        ),
        _table(found["caches"], {"cache": "what", "folder": "folder", "size": "size_bytes", "limit": "limit_bytes"}),
        _table(found["versions"], {"version of": "name", "here": "installed"} | _same("tested", "note")),
    ]  # fmt: skip
    return "\n\n".join([*tables, _verdict(found)])


def _verdict(found: Mapping) -> str:
    lines = [f"note: {note}" for note in found["notes"]]
    if any(row["undecoded"] for row in found["datasets"]):
        lines.append("note: before it starts, a run decodes every image that is not a JPEG; --deep does so now.")
    if found["starts"]:
        head = f"This would start ({found['done']} of {found['runs']} done):"
        return "\n".join([*lines, head, f"  {found['run_command']}"])
    lines += ["This would not start:", f"  {found['run_command']}"]
    lines += [textwrap.indent(problem, "    ").replace("    ", "  - ", 1) for problem in found["problems"]]
    if found["next_commands"]:
        lines += ["Next:", *(f"  {line}" for line in found["next_commands"])]
    if found["smaller_command"]:
        lines += ["Or the same on the datasets that are there:", f"  {found['smaller_command']}"]
    return "\n".join(lines)


def _same(*keys: str) -> dict[str, str]:
    return dict(zip(keys, keys, strict=True))


def _table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """A table; `columns` maps its headers to keys of the rows."""
    cells = [[_cell(key, row[key]) for key in columns.values()] for row in rows]
    return tabulate(cells, headers=list(columns), tablefmt="simple", intfmt=",", missingval="-")


def _cell(key: str, value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "limit_bytes" and value is None:
        return "none"
    return _size(value) if key.endswith("_bytes") else value


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
