"""Simulate the paper's grids on 1 to 512 GPUs: python -m benchmark.speed.scale [--json FILE].

The plans are those of suite `paper`, with datasets that have the numbers of classes and images of the catalog, and the
units are those that the queue hands out. Nothing is measured on a GPU: the seconds of a unit follow from its operations
and from the assumptions that are printed below the table.
"""

import argparse
import hashlib
import math
import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark.cli.arguments import read_request
from benchmark.cli.parser import parse
from benchmark.clip.backbone import Patches
from benchmark.common.command import path_option
from benchmark.common.config import load_suite
from benchmark.common.constants import CROP_SCALE, SHOTS
from benchmark.costs.estimate import Cost, Estimator
from benchmark.costs.operations import Tower, image_operations, rows_operations
from benchmark.data.catalog import Dataset, Item, load_catalog
from benchmark.features.encoder import STORE_BYTES
from benchmark.features.store import AHEAD_EPOCHS
from benchmark.method import Method
from benchmark.planning.plan import Plan, make_plan
from benchmark.planning.planned_run import PlannedRun
from benchmark.planning.request import choose_trainings, names_of
from benchmark.plugins.discovery import repository_names
from benchmark.protocols.registry import ALL, PROTOCOLS
from benchmark.running.queue import even_share, units_of, view_length
from benchmark.running.runner import seed_groups
from benchmark.speed.geometry import class_names, outline_clip
from benchmark.speed.measure import report
from benchmark.speed.scale.real import real_rows
from benchmark.speed.scale.simulation import Conditions, Unit, lower_bound, simulate, work_of
from benchmark.training.lockstep import can_share

PEAK = 790e12  # operations a second of one GPU in half precision, an H100's; from the first estimate of the project
SHARE = 0.4  # of it that the towers reach; the same
STEP_SECONDS = {"CUDA graphs": 1.2e-3, "eager": 5e-3}  # of a step besides its operations; the same
NEXT_SEED = 1 / 3  # of them for each further seed of a pass; the same
CORES = 16  # that decode for one GPU; assumed
DECODE, TEST_VIEW, TRAIN_VIEW = 0.9e-3, 2.6e-3, 1.4e-3  # CPU seconds, generated JPEG, 500 x 375; measured on AMD EPYC
PHOTO_BYTES = 3 * 500 * 375  # of a decoded one
START_SECONDS = 30.0  # of a process until its first unit: imports, plan, backbone; assumed
LOST_EVERY = 50  # processes, of which one is lost; assumed
PROCESSES = (1, 8, 64, 512)
MOST_PARTS = 10  # of a unit, in which features are made; finer parts change little
NOTABLE = 0.05  # of the time: a smaller cost does not bound it


MILLISECONDS = [1e3 * seconds for seconds in (DECODE, TEST_VIEW, TRAIN_VIEW)]
ASSUMED = f"""
Assumed for each process:
- one GPU, frozen towers in half precision: {PEAK / 1e12:.0f} TFLOP/s, of which the towers reach {SHARE:.0%};
- {{step:.1f}} ms for a step besides, and {NEXT_SEED:.0%} of it for each further seed of a pass; nothing for scoring;
- {CORES} cores that decode ahead, a JPEG of 500 x 375 pixels in {MILLISECONDS[0]:.1f} ms, its test view in
  {MILLISECONDS[1]:.1f} ms, a train view in {MILLISECONDS[2]:.1f} ms; {STORE_BYTES >> 30} GiB of decoded images stay;
- {START_SECONDS:.0f} s until the first unit;
- "lost": one process in {LOST_EVERY}, at least one, ends halfway through its first unit, and the same command is
  started again when the others are done;
- classes of equal size with the names of ImageNet or Cars; a feature cache with room for everything, read in no time.
"""


def counted(name: str) -> Dataset:
    """Return a dataset with the catalog's numbers of classes and images, classes of equal size, and no files."""
    entry = load_catalog()[name]
    names = class_names("cars" if name == "stanford_cars" else "imagenet", entry.classes)
    train = min(entry.counts["train"], max(SHOTS) * entry.classes)  # more are never sampled

    def items(part: str, count: int) -> list[Item]:
        labels = (i % entry.classes for i in range(count))
        return [Item(f"{name}/{part}/{i}", label, names[label]) for i, label in enumerate(labels)]

    return Dataset(
        name=name,
        class_names=names,
        template=entry.template,
        train=items("train", train),
        val=[],
        test=items("test", entry.counts["test"]),
        image_root=name,
        split_sha256=hashlib.sha256(name.encode()).hexdigest(),
        version="counted",  # so that no image is read
    )


def plan_of(protocol: str, methods: Sequence[str], datasets: Sequence[str] = ()) -> Plan:
    """Return the plan of suite `paper` for these methods, and datasets if any are named, with nothing recorded."""
    words = ["--suite", "paper", "--protocol", protocol, "--methods", *methods, "--precision", "bf16"]
    words += ["--datasets", *datasets] if datasets else []
    with TemporaryDirectory() as empty:
        request = replace(read_request(parse([*words, "--out", empty])), data=Path())
        named = names_of(choose_trainings(request)[0])
        return make_plan(request, fetch=False, datasets={name: counted(name) for name in named})


class Estimates:
    """Estimates units on a GPU.

    Args:
        step: seconds of a step besides its operations.
    Attributes:
        view: see queue.view_length.
    """

    def __init__(self, step: float):
        clip, config = outline_clip()
        self.step, self.view = step, view_length(config)
        self._estimator, self._tower = Estimator((clip, config)), Tower.vision(config)

    def unit(self, runs: Sequence[PlannedRun]) -> Unit:
        """Estimate a unit of the queue."""
        seconds, features, spec = 0.0, {}, runs[0].spec
        for group in seed_groups(runs):
            cost, method = self._estimator.cost(group[0]), self._estimator.method(group[0])
            again = NEXT_SEED if can_share([method]) else 1
            seconds += group[0].steps() * self.step * (1 + again * (len(group) - 1))
            seconds += len(group) * self._own(group[0], cost, method)
            for run in group:
                for key, needed in self._shared(run, cost, method):
                    features[key] = max(features.get(key, 0.0), needed)
        seeds = len({run.spec.seed for run in runs})
        parts = min(MOST_PARTS, math.ceil(spec.training.epochs / AHEAD_EPOCHS)) if spec.training else 1
        name = f"{spec.method} {spec.dataset}, seeds: {seeds}"
        return Unit(name=name, seconds=seconds, features=features, parts=parts)

    def _own(self, run: PlannedRun, cost: Cost, method: Method) -> float:
        """Seconds of what a run computes for itself: prompts, and images whose patches or rows it reads."""
        kind = method.needs_patches
        seconds = 1e9 * cost.text_gflop / (SHARE * PEAK)
        if kind is not None:
            seconds += self._views(run, cost.views, kind)
        if isinstance(kind, int):
            encoded = (cost.views + cost.tests) * self._encoding(kind)
            encoded += cost.views * self._encoding(None) * method.needs_pooled
            seconds += (1e9 * cost.image_gflop - encoded) / (SHARE * PEAK) + self._tests(cost.tests, kind)
        return seconds

    def _shared(self, run: PlannedRun, cost: Cost, method: Method) -> Iterator[tuple[Hashable, float]]:
        """Yield the features that a run reads from the store, and the seconds to make them."""
        spec, kind = run.spec, method.needs_patches
        half = PROTOCOLS[spec.protocol].trains_on
        if cost.views and (kind is None or method.needs_pooled):
            crop = spec.training.smallest_crop if spec.training else CROP_SCALE[0]
            yield ("views", spec.dataset, half, spec.shots, spec.seed, crop), self._views(run, cost.views, None)
        if not isinstance(kind, int):
            for scored, _ in run.scored_sets():  # with patches, which CoPL reads
                key = ("test", scored.dataset.name, half, scored.name)
                yield key, self._tests(len(scored.dataset.test), "projected")

    def _views(self, run: PlannedRun, views: int, kind: Patches | None) -> float:
        images = run.task.images
        kept = images * PHOTO_BYTES <= STORE_BYTES  # else each epoch decodes them again
        decoding = views * TRAIN_VIEW + (images if kept else views) * DECODE
        return max(views * self._encoding(kind) / (SHARE * PEAK), decoding / CORES)  # decoding runs ahead

    def _tests(self, images: int, kind: Patches | None) -> float:
        return images * max(self._encoding(kind) / (SHARE * PEAK), (DECODE + TEST_VIEW) / CORES)

    def _encoding(self, kind: Patches | None) -> int:
        if isinstance(kind, int):
            return rows_operations(self._tower, kind)
        return image_operations(self._tower, class_only=kind is None)


def row(units: Sequence[Unit], processes: int) -> dict[str, object]:
    """Simulate a grid: hours, with a shared cache, with a cache for each process, and with lost processes."""
    usual = Conditions(start=START_SECONDS)
    seconds, share = simulate(units, processes, usual), work_of(units) / processes
    bare = [replace(unit, features={}) for unit in units]
    costs = {
        "starts": seconds - simulate(units, processes, Conditions()),
        "features": seconds - simulate(bare, processes, usual) - (work_of(units) - work_of(bare)) / processes,
    }
    costs["longest unit"] = seconds - share - sum(costs.values())  # and an uneven end
    most = max(costs, key=costs.get)
    return {
        "processes": processes,
        "units": len(units),
        "bound": lower_bound(units, processes) / 60,
        "minutes": seconds / 60,
        "efficiency": share / seconds,
        "bounded by": most if costs[most] > NOTABLE * seconds else "work",
        "longest": max(units, key=lambda unit: unit.shortest).name,
        "own caches": simulate(units, processes, replace(usual, shared=False)) / 60,
        "lost": simulate(units, processes, replace(usual, lost_every=LOST_EVERY)) / 60,
    }


def rows_of(plan: Plan, estimates: Estimates) -> Iterator[dict[str, object]]:
    """Simulate a plan with each number of processes, with whole units and with those that the queue hands out."""
    known = {}
    for processes in PROCESSES:
        for whole in (True, False):
            share = math.inf if whole else even_share(plan.runs, processes, view=estimates.view)
            units = units_of(plan.runs, view=estimates.view, longest=share)
            keys = [tuple(id(run) for run in unit) for unit in units]
            known |= {key: estimates.unit(unit) for key, unit in zip(keys, units, strict=True) if key not in known}
            yield {"seeds": "together" if whole else "apart"} | row([known[key] for key in keys], processes)


def main(arguments: list[str] | None = None) -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.speed.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=path_option, metavar="FILE", help="also write the rows to this file")
    parser.add_argument("--eager", action="store_true", help="steps without CUDA graphs")
    parser.add_argument("--real", action="store_true", help="compare a simulation with runs of the embedded suite")
    options = parser.parse_args(arguments)
    if options.real and not sys.platform.startswith("linux"):
        parser.error("--real reads /proc. Run it on Linux.")
    if options.real:
        report(list(real_rows()), title="Simulated and real seconds", device="cpu", path=options.json)
        return
    estimates = Estimates(STEP_SECONDS["eager" if options.eager else "CUDA graphs"])
    rows = []
    for methods in (load_suite("paper").methods, repository_names()):
        for protocol in ("base2new", ALL):
            plan = plan_of(protocol, methods)
            about = {"protocol": protocol, "methods": len(methods), "runs": len(plan.runs)}
            rows += [about | found for found in rows_of(plan, estimates)]
    report(rows, title="Simulated minutes; nothing was measured on a GPU", device="cpu", path=options.json)
    print(ASSUMED.format(step=1e3 * estimates.step))


if __name__ == "__main__":
    main()
