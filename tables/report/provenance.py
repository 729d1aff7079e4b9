"""Collect the provenance of runs from their records: commits, machines, commands, recipes, time and memory."""

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from benchmark.common.config import RunSpec
from benchmark.records.record import RunRecord
from tables.aggregate import commits, dataset_titles, distinct, in_order, method_title, views_of
from tables.claims.rules import real_datasets
from tables.rendering.grid import Cell, Grid
from tables.selection import suite_of

UNKNOWN = "unknown"
ABSENT = "—"
LISTED_DATASETS = 3  # of more datasets, the number is given


def facts(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Names and values needed to reproduce the runs; several values where runs differ."""
    provenance = [record.provenance for record in records]
    machines = [part.get("machine") or {} for part in provenance]
    versions = [part.get("versions") or {} for part in provenance]
    packages = sorted({package for found in versions for package in found})
    times = sorted(str(part[key]) for part in provenance for key in ("started", "finished") if part.get(key))
    spent = sum(_seconds(record) + record.evaluation_seconds for record in records)
    return [
        ("suite", distinct(r.spec.suite for r in records)),
        ("backbone", distinct(f"{r.spec.backbone} (files {r.spec.checkpoint})" for r in records)),
        ("precision of the frozen towers", distinct(r.spec.precision for r in records)),
        ("seeds", distinct(r.spec.seed for r in records)),
        ("runs", str(len(records))),
        ("commit", ", ".join(commits(records))),
        ("measured", f"{times[0]} to {times[-1]}" if times else UNKNOWN),
        ("training and scoring", f"{spent / 3600:.2f} hours, summed over runs"),
        ("device", distinct(part.get("device") or UNKNOWN for part in provenance)),
        ("processor", distinct(_processor(machine) for machine in machines)),
        ("system", distinct(machine.get("platform") or UNKNOWN for machine in machines)),
        ("versions", "; ".join(f"{name} {distinct(v.get(name) or UNKNOWN for v in versions)}" for name in packages)),
    ]


def commands(records: Sequence[RunRecord]) -> list[str]:
    """A command line for each protocol that repeats these runs."""
    lines = []
    for protocol in dict.fromkeys(record.spec.protocol for record in records):
        own = [record for record in records if record.spec.protocol == protocol]
        names = dict.fromkeys(name for record in own for name in _named(record.spec))
        words = ["python", "run_all.py", "--protocol", protocol, "--suite", own[0].spec.suite]
        words += ["--data", "FOLDER"] if names.keys() & real_datasets().keys() else []
        used = dict.fromkeys([*(record.spec.dataset for record in own), *names])
        words += [word for name in used if name not in dataset_titles() for word in ("--dataset", f"{name}=PATH")]
        words += ["--methods", *in_order(record.spec.method for record in own)]
        if protocol == "cross_dataset":
            words += ["--source", *dict.fromkeys(record.spec.dataset for record in own)]
        suite = suite_of(own)
        words += ["--datasets", *names] if suite is None or set(names) != set(suite.datasets) else []
        words += ["--seeds", *map(str, sorted({record.spec.seed for record in own}))]
        words += ["--shots", *map(str, sorted({record.spec.shots for record in own}))]
        words += ["--backbone", own[0].spec.backbone, "--precision", own[0].spec.precision]
        words += [word for views in sorted(views_of(own)) for word in ("--views", str(views))]
        given = {(r.spec.method, key): value for r in own for key, value in r.overrides.items()}
        for (method, key), value in sorted(given.items()):
            words += ["--set", f"{method}.{key}={value if isinstance(value, str) else json.dumps(value)}"]
        for method in in_order(record.spec.method for record in own if record.spec.loaded):
            words += ["--load", f"{method}=PATH"]
        lines.append(shlex.join(words))
    return lines


def runs_grid(records: Sequence[RunRecord]) -> Grid:
    """Time and memory, one row per protocol and method."""
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        groups.setdefault((record.spec.protocol, record.spec.method), []).append(record)
    methods = in_order(method for _, method in groups)
    rows = []
    for protocol, method in sorted(groups, key=lambda key: methods.index(key[1])):
        own = groups[protocol, method]
        peaks = [r.peak_memory_bytes for r in own if r.peak_memory_bytes is not None]
        training, scoring = sum(map(_seconds, own)), sum(r.evaluation_seconds for r in own)
        steps = sum(int(r.training.get("steps") or 0) for r in own)
        rows.append(
            [
                Cell(method_title(method)),
                Cell(protocol),
                Cell.number(len(own), "{:.0f}"),
                Cell.number(steps, "{:.0f}"),
                Cell.number(training / 3600, "{:.3f}"),
                Cell.number(scoring / 3600, "{:.3f}"),
                Cell.number(max(peaks) / 2**30, "{:.2f}") if peaks else Cell(ABSENT),
            ]
        )
    return Grid(
        name="runs",
        caption="Runs, time and memory.",
        explained="Hours are sums over runs; seeds that were trained together share their time equally. Peak memory is "
        "that of the run on a GPU, and that of its process on a CPU.",
        columns=("method", "protocol", "runs", "steps", "training, hours", "scoring, hours", "peak memory, GiB"),
        rows=rows,
    )


def recipes_grid(records: Sequence[RunRecord]) -> Grid:
    """The resolved settings: one row per distinct recipe, and the runs that it applies to."""
    where: dict[tuple, list[RunSpec]] = {}
    for record in records:
        spec = record.spec
        given = ", ".join(sorted(record.overrides)) or ABSENT
        key = (spec.method, spec.options, spec.training, bool(spec.loaded), given)
        where.setdefault(key, []).append(spec)
    methods = in_order(key[0] for key in where)
    rows = [
        [*map(Cell, (method_title(method), _settings(dict(options)), _schedule(specs[0]), given, _scope(specs)))]
        for (method, options, _, _, given), specs in sorted(where.items(), key=lambda item: methods.index(item[0][0]))
    ]
    return Grid(
        name="recipes",
        caption="Resolved recipes.",
        explained="Options and training from the records, after the recipe file, the suite and --set.",
        columns=("method", "options", "training", "set by --set", "applies to"),
        rows=rows,
    )


def warnings(records: Iterable[RunRecord]) -> list[str]:
    """The distinct warnings, each with its number of runs."""
    counts: dict[str, int] = {}
    for record in records:
        for text in record.warnings:
            counts[text] = counts.get(text, 0) + 1
    return [f"{text} ({count} run{'s' * (count != 1)})" for text, count in counts.items()]


def _scope(specs: Sequence[RunSpec]) -> str:
    """Protocols, shots and datasets as text."""
    datasets = list(dict.fromkeys(spec.dataset for spec in specs))
    names = ", ".join(datasets) if len(datasets) <= LISTED_DATASETS else f"{len(datasets)} datasets"
    shots = distinct(spec.shots for spec in specs)
    return f"{distinct(spec.protocol for spec in specs)}; {shots} shots; {names}"


def _settings(values: dict[str, object]) -> str:
    return ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()) or ABSENT


def _schedule(spec: RunSpec) -> str:
    if spec.loaded:
        return "loaded from a file"
    if spec.training is None:
        return ABSENT
    return _settings({key: value for key, value in asdict(spec.training).items() if value is not None})


def _named(spec: RunSpec) -> list[str]:
    """The datasets of a run for --datasets; the source of domain_generalization is set by the suite."""
    return [*spec.targets] if spec.protocol == "domain_generalization" else [spec.dataset, *spec.targets]


def _processor(machine: dict) -> str:
    return f"{machine.get('processor') or UNKNOWN}, {machine.get('cores') or UNKNOWN} cores"


def _seconds(record: RunRecord) -> float:
    return float(record.training.get("seconds") or 0.0)
