"""Resolve the recipe of a method for each seed of a task, and write the spec of each run."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.common.config import Options, RunSpec
from benchmark.data.catalog import Dataset
from benchmark.errors import ConfigError, MethodError
from benchmark.features.fingerprint import fingerprint
from benchmark.planning.planned_run import PlannedRun, Task
from benchmark.planning.request import Request
from benchmark.planning.run_settings import Backbone
from benchmark.plugins.importer import code_of
from benchmark.plugins.recipes import Recipe, resolve_recipe
from benchmark.training.loaded import Loader
from benchmark.training.released import Released


@dataclass(frozen=True)
class SharedRecipe:
    """The recipe of a method in a task, for all seeds or for that of a file.

    Attributes:
        seeds: that it is for.
        plugin: short sha256 of the method's file if it is not part of this repository.
        file: learned values that replace the training; None if the method is trained.
        recipes: one for each dataset of the task, the dataset trained on first.
    """

    method: str
    seeds: list[int]
    plugin: str
    file: Released | None
    recipes: Sequence[Recipe]

    @property
    def template_lists_differ(self) -> bool:
        """Whether the datasets have different lists of templates, which one run cannot have."""
        lists = [recipe.options.get("templates") for recipe in self.recipes]
        return any(one != lists[0] for one in lists)


def resolve_recipes(
    method: str,
    task: Task,
    *,
    seeds: Sequence[int],
    loader: Loader,
    of_suite: Mapping[str, object],
    overrides: Mapping[str, object],
) -> tuple[list[SharedRecipe], list[str]]:
    """The recipes of a method in a task, and the problems of its recipe and files.

    Args:
        of_suite: option values of the suite; those that follow from a file replace them.
        overrides: option values of the command line, which replace all others.
    Raises:
        MethodError: the code or the recipe file of the method cannot be used.
    """
    plugin, found, problems = code_of(method), {}, []
    by_options: dict[Options, list[Recipe]] = {}  # the files of several seeds mostly have the same options
    for seed in loader.seeds(method, seeds):
        try:
            file = loader.released(method, dataset=task.dataset.name, shots=task.shots, seed=seed)
            path = file and file.path
            if path not in found:
                of_file = Options(loader.options(method, file))
                if of_file not in by_options:
                    layers = [of_suite, of_file, overrides]
                    by_options[of_file] = [_resolve(method, task, dataset, layers) for dataset in task.datasets]
                found[path] = SharedRecipe(method, [], plugin, file, by_options[of_file])
            found[path].seeds.append(seed)
        except MethodError:
            raise
        except ConfigError as error:
            problems.append(str(error))
    return list(found.values()), problems


def make_spec(recipe: SharedRecipe, task: Task, request: Request, backbone: Backbone) -> RunSpec:
    """The spec of the runs of a recipe, without their seed and images."""
    own, *others = recipe.recipes
    trains = own.training is not None and recipe.file is None
    return RunSpec(
        suite=request.suite.name,
        protocol=task.protocol,
        method=recipe.method,
        dataset=task.dataset.name,
        shots=task.shots,
        seed=0,
        backbone=backbone.name,
        checkpoint=backbone.hash,
        split=_split_hash(task),
        template=own.template,
        precision=request.precision,
        plugin=recipe.plugin,
        options=own.options,
        training=replace(own.training, views=request.views) if trains else None,
        targets={dataset.name: other.template for dataset, other in zip(task.targets, others, strict=True)},
        loaded="" if recipe.file is None else recipe.file.digest,
    )


def add_images(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The runs with the fingerprint of their images in their specs; images that are not known yet are read.

    Raises:
        DataError: an image cannot be read.
    """
    trained, tested = {}, {}
    for run in runs:
        if (key := (id(run.task), run.spec.seed)) not in trained:
            sample = run.training_set()
            trained[key] = fingerprint((sample, sample.train))
        if id(run.task) not in tested:
            scored = [each.dataset for each in run.task.scored_sets]
            tested[id(run.task)] = fingerprint(*((dataset, dataset.test) for dataset in scored))

    def with_images(run: PlannedRun) -> PlannedRun:
        images = f"{trained[id(run.task), run.spec.seed]}+{tested[id(run.task)]}"
        return replace(run, spec=replace(run.spec, images=images))

    return [with_images(run) for run in runs]


def seen_targets(runs: Sequence[PlannedRun]) -> list[str]:
    """Note targets whose test images have the bytes of training images; add_images has read them."""
    notes = []
    shared = {(id(run.task), run.spec.seed): (run.task, run.spec.seed) for run in runs if run.task.targets}
    for task, seed in shared.values():
        known = task.dataset.digests
        trained = {known[item.path] for item in task.training_set(seed).train if item.path in known}
        for target in task.targets if trained else ():
            if count := sum(target.digests.get(item.path) in trained for item in target.test):
                notes.append(
                    f"{target.name}: {count} of {len(target.test)} test images have the same bytes as an image of "
                    f"{task.dataset.name} that is trained on; accuracies on them are not those of unseen images."
                )
    return notes


def _resolve(method: str, task: Task, dataset: Dataset, layers: Sequence[Mapping[str, object]]) -> Recipe:
    return resolve_recipe(
        method, layers, template=dataset.template, protocol=task.protocol, dataset=dataset.name, shots=task.shots
    )


def _split_hash(task: Task) -> str:
    """The hash of the dataset trained on, followed by a common hash of the targets if there are any."""
    own = task.dataset.split_sha256[:16]
    if not task.targets:
        return own
    lines = sorted(f"{dataset.name} {dataset.split_sha256}" for dataset in task.targets)
    return f"{own}+{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"
