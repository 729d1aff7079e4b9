"""Print what the doctor found, as tables or as JSON."""

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, fields

from tabulate import tabulate

from benchmark.cli.doctor.checks import BY_HAND, DatasetCheck, Diagnosis
from benchmark.cli.doctor.datasets import Files, Survey
from benchmark.data.headers import LONGEST_RATIO, SHORTEST_SIDE

JSON_SCHEMA = 1  # increased whenever a key of to_json changes its name or meaning
NOTE_WIDTH = 60  # characters


def to_json(found: Diagnosis) -> str:
    """A JSON object; docs/data.md explains its keys, and unknown values are null."""
    values = {f.name: getattr(found, f.name) for f in fields(found)}
    for key in ("backbone", "device", "memory"):
        values[key] = asdict(values[key])
    for key in ("disks", "caches", "versions"):
        values[key] = [asdict(each) for each in values[key]]
    values["datasets"] = [_dataset_json(check) for check in found.datasets]
    return json.dumps({"schema": JSON_SCHEMA, "starts": found.starts} | values, indent=2)


def _dataset_json(check: DatasetCheck) -> dict:
    survey = {f.name: getattr(check.survey, f.name) for f in fields(Survey) if f.name != "dataset"}
    for key in ("missing", "unreadable", "odd"):
        survey[key] = asdict(survey[key])
    return survey | {"needed": check.needed, "next_command": check.next_command, "note": note_on(check.survey)}


def to_text(found: Diagnosis) -> str:
    """Tables, then whether the run would start, and the commands to type if not."""
    return "\n\n".join([*_data_tables(found), *_machine_tables(found), _verdict(found)])


def _data_tables(found: Diagnosis) -> list[str]:
    rows = [
        [
            check.survey.name,
            check.survey.state,
            "yes" if check.needed else "no",
            check.survey.images or None,
            check.survey.classes,
            textwrap.fill(note_on(check.survey), NOTE_WIDTH),
        ]
        for check in found.datasets
    ]
    parts = [_table(rows, ["dataset", "state", "needed", "images", "classes", "note"])]
    commands = [[check.survey.name, check.next_command] for check in found.datasets if check.next_command]
    return parts + ([_table(commands, ["dataset", "next command"])] if commands else [])


def _machine_tables(found: Diagnosis) -> list[str]:
    backbone, device, memory = found.backbone, found.device, found.memory
    on_gpu = f"{_size(device.free_bytes)} of {_size(device.total_bytes)} free" if device.total_bytes else "-"
    name = device.name or found.machine.get("processor") or "-"
    disks = [[d.what, d.folder, _size(d.free_bytes), "yes" if d.writable else "no", d.note] for d in found.disks]
    caches = [[c.what, c.folder, _size(c.size_bytes), _size(c.limit_bytes, "none")] for c in found.caches]
    return [
        _table(
            [[backbone.name, backbone.state, _size(backbone.size_bytes), backbone.folder]],
            ["backbone", "state", "size", "folder"],
        ),
        _table(
            [[device.device, name, on_gpu, device.precision, device.processes, device.threads]],
            ["device", "what it is", "its own memory", "precision", "processes", "threads of each"],
        ),
        _table([[_size(memory.total_bytes), _size(memory.available_bytes)]], ["memory", "of it free"]),
        _table(disks, ["disk of", "folder", "free", "can be written", "note"]),
        _table(caches, ["cache", "folder", "size", "limit"]),
        _table(
            [[p.name, p.installed, p.tested, p.note] for p in found.versions], ["version of", "here", "tested", "note"]
        ),
    ]


def _verdict(found: Diagnosis) -> str:
    lines = [f"note: {note}" for note in found.notes]
    if any(check.survey.undecoded for check in found.datasets):
        lines.append("note: before it starts, a run decodes every image that is not a JPEG; --deep does so now.")
    if found.starts:
        return "\n".join([*lines, f"This would start ({found.done} of {found.runs} done):", f"  {found.run_command}"])
    lines += ["This would not start:", f"  {found.run_command}"]
    lines += [textwrap.indent(problem, "    ").replace("    ", "  - ", 1) for problem in found.problems]
    if found.next_commands:
        lines += ["Next:", *(f"  {line}" for line in found.next_commands)]
    if found.smaller_command:
        lines += ["Or the same on the datasets that are there:", f"  {found.smaller_command}"]
    return "\n".join(lines)


def note_on(survey: Survey) -> str:
    """Notes on a dataset, as one text."""
    notes = list(survey.problems)
    notes += _files(survey.missing, f"of {survey.images} listed images are not there")
    notes += _files(survey.unreadable, "files are not complete images")
    if survey.state == "to be drawn":
        notes.append("the first run draws it")
    elif survey.images and survey.catalogue_images not in (None, survey.images):
        notes.append(f"{survey.images} of {survey.catalogue_images} images")
    if survey.classes and survey.catalogue_classes not in (None, survey.classes):
        notes.append(f"{survey.classes} of {survey.catalogue_classes} classes")
    limits = f"below {SHORTEST_SIDE} pixels or longer than 1:{LONGEST_RATIO}"
    notes += _files(survey.odd, f"images have an odd size ({limits}), which is no fault")
    if survey.dataset is None and survey.name == BY_HAND:
        notes.append("each user gets it by hand: docs/data.md")
    return "; ".join(notes)


def _files(files: Files, what: str) -> list[str]:
    if not files.count:
        return []
    more = ", ..." if files.count > len(files.first) else ""
    return [f"{files.count} {what}: {', '.join(files.first)}{more}"]


def _table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers=headers, tablefmt="simple", intfmt=",", missingval="-")


def _size(count: int | None, unknown: str = "unknown") -> str:
    return unknown if count is None else f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
