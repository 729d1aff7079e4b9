"""A plan in words and tables: what runs, what is done already, what it will compute."""

from collections import Counter
from dataclasses import astuple

from tabulate import tabulate

from benchmark.estimate import Estimator
from benchmark.plan import Plan, steps_of
from benchmark.protocols.registry import PROTOCOLS


def describe(plan: Plan) -> str:
    """The plan in words: each protocol's runs by method, steps and what is done; what is refused, what to know."""
    parts, totals = [], []
    for protocol in plan.protocols:
        text, total = _describe_protocol(plan, protocol)
        parts.append(text)
        totals.append(total)
    if len(totals) > 1:
        sums = [sum(column) for column in zip(*totals, strict=True)]
        parts.append(f"all protocols: {sums[0]} runs, {sums[1]} done, {sums[2]} to run, {sums[3]} steps")
    if plan.checkpoint is None:
        parts.append("The backbone is not in the local cache; the first run fetches it.")
    notes = [f"error: left out: {text}" for text in plan.broken.values()]
    notes += [f"refused: {text}" for text in plan.refused] + [f"note: {text}" for text in plan.warnings]
    if plan.taken:
        notes.append(f"note: {len(plan.taken)} of the runs to do take what another one learns and train nothing.")
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"


def _describe_protocol(plan: Plan, protocol: str) -> tuple[str, list[int]]:
    """What a protocol runs, as a table, and its total: runs, done, to run, steps."""
    request, missing = plan.request, set(plan.missing)
    specs = [spec for spec in plan.specs if spec.protocol == protocol]
    counts, rows = Counter(spec.method for spec in specs), []
    for method in request.methods:
        to_run = [spec for spec in specs if spec.method == method and spec in missing]
        rows.append(
            [method, counts[method], counts[method] - len(to_run), len(to_run), sum(steps_of(plan, s) for s in to_run)]
        )
    total = [sum(row[i] for row in rows) for i in range(1, 5)]
    trained, scored = {spec.dataset for spec in specs}, {name for spec in specs for name in spec.targets}
    where = f"{len(trained)} dataset{'s' * (len(trained) != 1)}"
    if scored:
        where = f"trained on {', '.join(sorted(trained))}, scored on it and {len(scored)} others"
    shots = ", ".join(map(str, request.shots_of(PROTOCOLS[protocol])))
    head = (
        f"{protocol} on suite '{request.suite.name}': {where}, {shots} shots, "
        f"seeds {', '.join(map(str, request.seeds))}, backbone {request.backbone}, {request.precision}"
    )
    headers = ["method", "runs", "done", "to run", "steps"]
    return f"{head}\n\n{tabulate([*rows, ['total', *total]], headers=headers, tablefmt='simple')}", total


def describe_cost(plan: Plan) -> str:
    """What the missing runs will compute: a row for each (protocol, method, dataset, shots), then the sum."""
    estimator, rows, groups = Estimator(plan), [], {}
    for spec in plan.missing:
        key = (spec.protocol, spec.method, spec.dataset, spec.shots, spec in plan.taken)
        groups.setdefault(key, []).append(spec)
    for (protocol, method, dataset, shots, _), specs in groups.items():
        rows.append([protocol, method, dataset, shots, len(specs), *astuple(estimator.cost(specs[0]))])
    rows.append(["total", "", "", "", len(plan.missing), *astuple(estimator.total(plan.missing))])
    headers = ["protocol", "method", "dataset", "shots", "runs", "steps", "train views", "test images", "text tokens",
               "text GFLOP", "image GFLOP"]  # fmt: skip
    return (
        "What a run computes, alone and from nothing; in the total, images that runs share count once.\n\n"
        + tabulate(rows, headers=headers, tablefmt="simple", intfmt=",", floatfmt=",.0f", missingval="?")
    )
