"""Describe a plan or a forecast in words and tables."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple

from tabulate import tabulate

from benchmark.clip.backbone import outline
from benchmark.costs.estimate import Estimator
from benchmark.costs.forecast import Forecast, Part
from benchmark.planning.plan import Plan
from benchmark.protocols.registry import PROTOCOLS


def describe(plan: Plan) -> str:
    """Describe a plan: the runs of each protocol by method, steps, what is done, refused or to know."""
    parts, totals = [], []
    for protocol in plan.protocols:
        text, total = _describe_protocol(plan, protocol)
        parts.append(text)
        totals.append(total)
    if len(totals) > 1:
        sums = [sum(column) for column in zip(*totals, strict=True)]
        parts.append(
            f"all protocols: {sums[0]} runs, {sums[1]} done, {sums[2]} to run, {sums[4]} steps in {sums[3]} trainings"
        )
    if plan.settings.backbone.folder is None:
        parts.append("The backbone is not in the local cache; the first run downloads it.")
    notes = [f"error: left out: {text}" for text in plan.broken.values()]
    notes += [f"refused: {text}" for text in plan.refused] + [f"note: {text}" for text in plan.warnings]
    if reused := sum(run.reuses_training for run in plan.missing):
        notes.append(f"note: {reused} of the runs to do take what another one learns and train nothing.")
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"


def _describe_protocol(plan: Plan, protocol: str) -> tuple[str, list[int]]:
    """What a protocol runs, as a table, and its total: runs, done, to run, trainings, steps."""
    request, runs = plan.request, [run for run in plan.runs if run.spec.protocol == protocol]
    specs = [run.spec for run in runs]
    counts, rows = Counter(spec.method for spec in specs), []
    for method in request.methods:
        to_run = [run for run in runs if run.spec.method == method and run.missing]
        trained = [run for run in to_run if run.trains]
        steps = sum(run.steps() for run in trained)
        rows.append([method, counts[method], counts[method] - len(to_run), len(to_run), len(trained), steps])
    total = [sum(row[i] for row in rows) for i in range(1, 6)]
    trained, scored = {spec.dataset for spec in specs}, {name for spec in specs for name in spec.targets}
    where = f"{len(trained)} dataset{'s' * (len(trained) != 1)}"
    if scored:
        where = f"trained on {', '.join(sorted(trained))}, scored on it and {len(scored)} others"
    shots = ", ".join(map(str, request.shots_of(PROTOCOLS[protocol])))
    head = (
        f"{protocol} on suite '{request.suite.name}': {where}, {shots} shot{'s' * (shots != '1')}, "
        f"seeds {', '.join(map(str, request.seeds))}, backbone {request.backbone}, {request.precision}"
        + (f", {request.views} view{'s' * (request.views != 1)} of each training image" if request.views else "")
    )
    headers = ["method", "runs", "done", "to run", "trainings", "steps"]
    return f"{head}\n\n{tabulate([*rows, ['total', *total]], headers=headers, tablefmt='simple')}", total


def describe_cost(plan: Plan) -> str:
    """What the missing runs will compute: a row for each (protocol, method, dataset, shots), then the sum."""
    folder, precision = plan.settings.backbone.folder, plan.settings.precision
    estimator, rows, groups = Estimator(outline(folder) if folder else None, precision=precision), [], {}
    for run in plan.missing:
        key = (run.spec.protocol, run.spec.method, run.spec.dataset, run.spec.shots, run.reuses_training)
        groups.setdefault(key, []).append(run)
    for (protocol, method, dataset, shots, _), runs in groups.items():
        rows.append([protocol, method, dataset, shots, len(runs), *astuple(estimator.cost(runs[0]))])
    rows.append(["total", "", "", "", len(plan.missing), *astuple(estimator.total(plan.missing))])
    headers = ["protocol", "method", "dataset", "shots", "runs", "steps", "train views", "test images", "text tokens",
               "text GFLOP", "image GFLOP"]  # fmt: skip
    return (
        "What a run computes, alone and from nothing; in the total, images that runs share count once.\n\n"
        + tabulate(rows, headers=headers, tablefmt="simple", intfmt=",", floatfmt=",.0f", missingval="?")
        + "\n\n`python -m benchmark calibrate` adds hours and memory: it times some of each kind of work here."
    )


def describe_forecast(forecast: Forecast) -> str:
    """Describe a forecast: runs, trainings, steps, time and memory of what is missing, and what was measured."""
    if not forecast.parts:
        return "Nothing is left to run."
    groups: dict[tuple[str, str], list[Part]] = {}
    for part in forecast.parts:
        groups.setdefault((part.protocol, part.method), []).append(part)
    rows = [[*names, *_sums(forecast, parts)] for names, parts in groups.items()]
    rows.append(["total", "", *_sums(forecast, forecast.parts)])
    headers = ["protocol", "method", "runs", "trainings", "steps", "h:mm:ss"]
    encoded, found = (sum(getattr(portion, name) for portion in forecast.portions) for name in ("encoded", "found"))
    one = forecast.processes == 1
    in_processes = "in one process" if one else f"in {forecast.processes} processes side by side"
    memory = f"{'memory of the GPU' if forecast.on_gpu else 'peak memory'}: {_gigabytes(forecast.process_bytes)}"
    if not one:
        memory += f" a process, {_gigabytes(forecast.all_bytes)} in all with the one that starts them"
    return "\n".join(
        [
            tabulate(rows, headers=headers, tablefmt="simple", intfmt=",", colalign=["left"] * 2 + ["right"] * 4),
            "",
            f"time: {_clock(forecast.seconds)} from the command to the last run, {in_processes}; a row has its share.",
            memory,
            f"images: {encoded:,} to encode, the features of {found:,} are on disk",
            "",
            f"Measured in {forecast.took:.0f} s, {in_processes}: the start, some steps of each kind of training, "
            "scoring of some images of each class set, decoding and encoding of some images of each dataset.",
            "Extrapolated: how often each occurs. Assumed: a machine as busy as just now, and files as quick as when "
            "they are read a second time. Not in it: the tables.",
        ]
    )


def _sums(forecast: Forecast, parts: Sequence[Part]) -> list[object]:
    counts = [sum(getattr(part, name) for part in parts) for name in ("runs", "trainings", "steps")]
    return [*counts, _clock(forecast.share(parts))]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
