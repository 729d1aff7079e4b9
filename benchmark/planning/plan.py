"""Turn a request into the runs that it asks for; check everything that can be checked before anything is computed."""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.clip.backbone import Patches
from benchmark.common.config import RunSpec
from benchmark.common.files import shown
from benchmark.data.catalog import Dataset
from benchmark.errors import ConfigError, MethodError, listed
from benchmark.planning.capability import Prober, scores_untrained_classes
from benchmark.planning.inputs import load_datasets
from benchmark.planning.memory import MemoryCheck
from benchmark.planning.planned_run import PlannedRun, Task
from benchmark.planning.request import Request, check_names, check_options, choose_trainings
from benchmark.planning.run_settings import Backbone, RunSettings
from benchmark.planning.specs import add_images, make_spec, resolve_recipes, seen_targets
from benchmark.plugins.discovery import clashes
from benchmark.protocols.registry import PROTOCOLS
from benchmark.records import store
from benchmark.training.loaded import CompatibilityCheck, Loader, file_notes
from benchmark.training.loop import FEW_STEPS
from benchmark.training.reuse import find_training, training_id

SMALL_STEPS, SMALL_IMAGES = 300, 2000  # limits below which one process is faster than several


@dataclass(kw_only=True)
class Findings:
    """What planning found besides the runs.

    Attributes:
        broken: plugins and other methods whose code or recipe cannot be used, with the error; they have no runs.
        refused: runs that a method or protocol cannot do, in words; the other runs are planned.
        warnings: what a user should know before the runs start.
        problems: reasons to refuse the whole request.
    """

    broken: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of a request, with what they share and what a user should know; it can be pickled.

    Attributes:
        protocols: those that have something to do.
        broken, refused, warnings: see Findings.
        side_by_side: processes whose runs may fit into the memory together.
    """

    request: Request
    settings: RunSettings
    protocols: list[str]
    runs: list[PlannedRun]
    broken: dict[str, str]
    refused: list[str]
    warnings: list[str]
    side_by_side: int

    @property
    def specs(self) -> list[RunSpec]:
        """The specs of all runs."""
        return [run.spec for run in self.runs]

    @property
    def missing(self) -> list[PlannedRun]:
        """The runs that have no record yet."""
        return [run for run in self.runs if run.missing]


def make_plan(request: Request, *, fetch: bool, datasets: dict[str, Dataset] | None = None) -> Plan:
    """Plan the runs of a request: check names, recipes, datasets, capabilities and files, and find finished records.

    Args:
        fetch: whether a backbone that is not in the local cache may be downloaded.
        datasets: all datasets of the request, already read and checked; None: they are read here.
    Raises:
        BenchmarkError: all problems of the request in one message.
    """
    check_names(request)
    check_options(request)
    trainings, left_out = choose_trainings(request)
    backbone = Backbone.find(request.backbone, fetch=fetch)
    datasets = load_datasets(request, trainings) if datasets is None else datasets
    loader = Loader(request.loads)
    found = Findings(broken=dict(request.left_out), refused=left_out, warnings=clashes())
    found.warnings += [note for method in request.methods for note in loader.notes(method, request.seeds)]
    found.warnings += _unused_datasets(request, datasets)
    found.warnings += [f"{name}: {note}." for name, dataset in datasets.items() for note in dataset.notes]
    runs = []
    for task in _tasks(request, trainings, datasets):
        if problems := task.problems():
            found.problems += problems
            continue
        found.warnings += task.warnings() + task.one_class_sets()
        runs += _runs_of(task, request, backbone, loader, found)
    memory = MemoryCheck(backbone.folder, device=request.device, precision=request.precision)
    runs, patches = _keep_capable(runs, Prober(backbone.folder), memory, found)
    _check_files(runs, backbone, loader, found)
    _raise_problems(runs, found)
    runs = add_images(runs)
    found.warnings += seen_targets(runs)
    runs = _mark_missing(runs, request.out, memory)
    found.refused += memory.refused()
    _raise_problems(runs, found)
    return Plan(
        request=request,
        settings=RunSettings.of(request, backbone, patches),
        protocols=list(trainings),
        runs=runs,
        broken=found.broken,
        refused=found.refused,
        warnings=[*dict.fromkeys(found.warnings + memory.notes), *_superseded(runs, request.out), *_few_steps(runs)],
        side_by_side=memory.side_by_side,
    )


def is_small(runs: Sequence[PlannedRun]) -> bool:
    """Whether these runs end before another process has started."""
    images = {dataset.name: len(dataset.test) for run in runs for dataset in run.task.datasets}
    return sum(run.steps() for run in runs) <= SMALL_STEPS and sum(images.values()) <= SMALL_IMAGES


def _unused_datasets(request: Request, datasets: Mapping[str, Dataset]) -> list[str]:
    unused = [name for name in request.custom if name not in datasets]
    if not unused:
        return []
    return [f"--dataset {', '.join(unused)}: nothing here uses it; name it with --datasets to do so."]


def _tasks(
    request: Request, trainings: Mapping[str, Mapping[str, Sequence[str]]], datasets: Mapping[str, Dataset]
) -> Iterator[Task]:
    for protocol, of_protocol in trainings.items():
        for name, targets in of_protocol.items():
            for shots in request.shots_of(PROTOCOLS[protocol]):
                yield Task(protocol, datasets[name], tuple(datasets[target] for target in targets), shots)


def _runs_of(task: Task, request: Request, backbone: Backbone, loader: Loader, found: Findings) -> list[PlannedRun]:
    """The runs of a task: every method for each seed."""
    suite, recipes = request.suite, []
    for method in request.methods:
        try:
            resolved, problems = resolve_recipes(
                method,
                task,
                seeds=request.seeds,
                loader=loader,
                of_suite=suite.recipes.get(method, {}),
                overrides=request.overrides.get(method, {}),
            )
        except MethodError as error:
            found.broken[method] = str(error)
            continue
        found.problems += problems
        if any(recipe.template_lists_differ for recipe in resolved):
            found.refused.append(
                f"{method}: its list of templates is another for each dataset, and a run of {task.protocol} has one "
                "for all of them: its runs are left out. Name the list, or leave templates alone."
            )
        else:
            recipes += resolved
    specs = [make_spec(recipe, task, request, backbone) for recipe in recipes]
    return [
        PlannedRun(
            spec=replace(alike, seed=seed),
            alike=alike,
            task=task,
            overrides=request.overrides.get(recipe.method, {}),
            file=recipe.file and recipe.file.path,
        )
        for seed in request.seeds
        for recipe, alike in zip(recipes, specs, strict=True)
        if seed in recipe.seeds
    ]


def _keep_capable(
    runs: Sequence[PlannedRun], prober: Prober, memory: MemoryCheck, found: Findings
) -> tuple[list[PlannedRun], frozenset[Patches | None]]:
    """The runs whose method can do what their protocol asks, and the patch features that these methods read."""
    groups: dict[RunSpec, list[PlannedRun]] = {}
    for run in runs:
        groups.setdefault(run.alike, []).append(run)
    views, patches, refused = {}, set(), Counter()
    for alike, (run, *others) in groups.items():
        method = prober.probe(run)
        if method is None:
            continue
        if not method.transfers and scores_untrained_classes(run):
            refused[alike.method, alike.protocol] += 1 + len(others)
            continue
        memory.look_at(run, method)
        patches.add(method.needs_patches)
        views[alike] = 0 if run.file else method.sample_views
    found.broken |= prober.broken
    found.problems += prober.problems
    found.refused += [
        f"{method}, as configured, learns for the trained classes alone and cannot score others, which {protocol} "
        f"asks for: its {'run is' if count == 1 else f'{count} runs are'} left out."
        for (method, protocol), count in refused.items()
    ]
    able = (run for run in runs if run.alike in views and run.spec.method not in found.broken)
    return [replace(run, sample_views=views[run.alike]) for run in able], frozenset(patches)


def _check_files(runs: Sequence[PlannedRun], backbone: Backbone, loader: Loader, found: Findings) -> None:
    """Check that the files of learned values fit the runs that load them."""
    loaded = [run for run in runs if run.file]
    check = CompatibilityCheck(backbone.folder) if loaded and backbone.folder else None
    for run in loaded:
        released, class_names = loader.read[run.file], run.training_set().class_names
        found.warnings += file_notes(run.spec, released, class_names)
        found.problems += check.problems(run.spec, released, class_names) if check else []


def _raise_problems(runs: Sequence[PlannedRun], found: Findings) -> None:
    if not runs:
        found.problems += [*found.broken.values(), *found.refused]
    if found.problems:
        raise ConfigError(listed("this request", sorted(set(found.problems))))


def _mark_missing(runs: Sequence[PlannedRun], results: Path, memory: MemoryCheck) -> list[PlannedRun]:
    """Mark which runs have no record, and which of these find their training in a record or in a run before them.

    A run without a record that does not fit into memory is left out.
    """
    missing = set(store.missing([run.spec for run in runs], results))
    names, training_of = functools.cache(store.names_in), functools.cache(training_id)
    marked, known = [], set()
    for run in runs:
        absent, reuses = run.spec in missing, False
        if absent and not memory.fits(run):
            continue
        if absent and run.spec.training is not None:
            training = (training_of(run.alike), run.spec.seed)  # the images follow from these
            reuses = training in known or find_training(run.spec, results, names) is not None
            known.add(training)
        marked.append(replace(run, missing=absent, reuses_training=reuses))
    return marked


def _superseded(runs: Sequence[PlannedRun], results: Path) -> list[str]:
    """A note for each reason why recorded runs are no longer those of the plan, with their number."""
    names = functools.cache(store.names_in)
    reasons = Counter(
        (path.parent, _what_changed(old, run.spec))
        for run in runs
        if run.missing
        for path, old in store.superseded(run.spec, results, names)
    )
    return [
        f"{shown(folder)}: {what} {count} run{'s were' if count > 1 else ' was'} recorded there. The records stay, and "
        "are not part of these tables; delete them when the new ones are there."
        for (folder, what), count in reasons.items()
    ]


def _what_changed(old: RunSpec, new: RunSpec) -> str:
    if old.plugin != new.plugin:
        return f"the file of {new.method} changed since"
    if not old.images:
        return f"{new.dataset} runs again, since an earlier version did not note of which images"
    trained = old.images.split("+")[0] != new.images.split("+")[0]
    return f"the content of {'training' if trained else 'test'} images of {new.dataset} changed since"


def _few_steps(runs: Sequence[PlannedRun]) -> list[str]:
    """Warnings about trainings so short that their schedule hardly changes anything."""
    training = [run for run in runs if run.missing and run.trains]
    one_seed = {(r.spec.protocol, r.spec.method, r.spec.dataset, r.spec.shots): r for r in training}
    few: dict[tuple[str, str], list[str]] = {}
    for (protocol, method, dataset, shots), run in one_seed.items():  # all seeds have the same number of steps
        if (steps := run.steps()) <= FEW_STEPS:
            few.setdefault((protocol, method), []).append(f"{steps} on {dataset} at {shots} shot{'s' * (shots != 1)}")
    return [
        f"{method} in {protocol} trains {FEW_STEPS} steps or fewer in all: {', '.join(found)}."
        for (protocol, method), found in few.items()
    ]
