"""From a method's recipe to its runs: what is in force for each seed, and the spec that says so."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.common.config import Options, RunSpec
from benchmark.data.catalog import Dataset
from benchmark.errors import ConfigError, MethodError
from benchmark.planning.request import Request
from benchmark.plugins.importer import code_of
from benchmark.plugins.recipes import Recipe, resolve_recipe
from benchmark.training.loaded import Loader
from benchmark.training.released import Released


@dataclass(frozen=True)
class Settled:
    """What is in force for one seed of a method.

    Attributes:
        plugin: short sha256 of the method's file where that is no part of this repository.
        file: what is loaded in place of a training; None where the method is trained.
        recipes: of the dataset trained on, then of the others that are scored.
    """

    method: str
    seed: int
    plugin: str
    file: Released | None
    recipes: Sequence[Recipe]


def settle(
    request: Request, loader: Loader, method: str, datasets: Sequence[Dataset], *, protocol: str, shots: int
) -> tuple[list[Settled], list[str]]:
    """A method's seeds that train on the first of some datasets, and what is wrong with its recipe or its files.

    Raises:
        MethodError: its code or recipe file cannot be used at all.
    """
    plugin, found, problems = code_of(method), [], []
    by_options: dict[Options, list[Recipe]] = {}  # of files of several seeds, most have the same
    for seed in loader.seeds(method, request.seeds):
        try:
            file = loader.released(method, dataset=datasets[0].name, shots=shots, seed=seed)
            of_file = Options(loader.options(method, file))
            if of_file not in by_options:
                by_options[of_file] = [_recipe(request, method, d, protocol, shots, of_file) for d in datasets]
            found.append(Settled(method, seed, plugin, file, by_options[of_file]))
        except MethodError:
            raise
        except ConfigError as error:
            problems.append(str(error))
    return found, problems


def lists_differ(recipes: Sequence[Recipe]) -> bool:
    """Whether these datasets have other lists of templates."""
    return any(recipe.options.get("templates") != recipes[0].options.get("templates") for recipe in recipes)


def spec_of(
    request: Request, settled: Settled, datasets: Sequence[Dataset], *, protocol: str, shots: int, checkpoint: str
) -> RunSpec:
    """The run of a seed that trains on the first of some datasets and scores all of them."""
    own, *others = settled.recipes
    return RunSpec(
        suite=request.suite.name,
        protocol=protocol,
        method=settled.method,
        dataset=datasets[0].name,
        shots=shots,
        seed=settled.seed,
        backbone=request.backbone,
        checkpoint=checkpoint,
        split=_split_hash(datasets),
        template=own.template,
        precision=request.precision,
        plugin=settled.plugin,
        options=own.options,
        training=own.training if settled.file is None else None,
        targets={dataset.name: other.template for dataset, other in zip(datasets[1:], others, strict=True)},
        loaded="" if settled.file is None else settled.file.digest,
    )


def _recipe(
    request: Request, method: str, dataset: Dataset, protocol: str, shots: int, of_file: Mapping[str, object]
) -> Recipe:
    suite = request.suite
    of_suite = [suite.recipes.get(method, {}), suite.protocol_recipes.get(protocol, {}).get(method, {})]
    return resolve_recipe(
        method,
        [*of_suite, of_file, request.overrides.get(method, {})],
        template=dataset.template,
        protocol=protocol,
        dataset=dataset.name,
        shots=shots,
    )


def _split_hash(datasets: Sequence[Dataset]) -> str:
    """Of the dataset trained on; where others are scored too, of those as well."""
    own, *others = datasets
    if not others:
        return own.split_sha256[:16]
    lines = sorted(f"{dataset.name} {dataset.split_sha256}" for dataset in others)
    return f"{own.split_sha256[:16]}+{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"
