"""From a request to its runs: everything that can be known, checked and refused before anything is computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmark import provenance, records
from benchmark.cache import cache_folder
from benchmark.clip.backbone import Patches, load_clip, locate_checkpoint
from benchmark.config import RunSpec, Suite
from benchmark.data.catalog import Dataset, count_by_label, load_catalog, load_dataset
from benchmark.data.synthetic.suite import CHECKPOINT, SYNTHETIC, materialise, suite_version
from benchmark.errors import ConfigError, DataError, did_you_mean, listed
from benchmark.fit import batches_per_epoch
from benchmark.protocols.base2new import PROTOCOL as BASE2NEW
from benchmark.protocols.protocol import Protocol
from benchmark.registry import create_method, method_names, resolve_recipe

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (BASE2NEW,)}
EMBEDDED = "embedded"  # the backbone that lies in this repository


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asked for, names still unchecked.

    Attributes:
        data: folder of the real datasets; None where all datasets are the embedded suite's.
        lockstep: whether the seeds of a (method, dataset) are trained in one pass.
        graphs: whether training steps may be CUDA graphs.
        cache: whether image features may be kept on disk.
        overrides: method to the option values given on the command line.
    """

    protocol: str
    suite: Suite
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    shots: int
    backbone: str
    precision: str
    data: Path | None
    out: Path
    overrides: Mapping[str, Mapping[str, object]]
    cache: bool = True
    lockstep: bool = True
    graphs: bool = True


@dataclass
class Plan:
    """The runs of a request: all of them, those without a record, and what a user should know before they start.

    Attributes:
        patches: the features of image patches that some method reads, None for the pooled embedding alone.
    """

    request: Request
    checkpoint: Path | None
    datasets: dict[str, Dataset]
    specs: list[RunSpec]
    missing: list[RunSpec]
    warnings: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    patches: set[Patches | None] = field(default_factory=set)


def make_plan(request: Request, *, fetch: bool) -> Plan:
    """Everything that can be known without computing: names, recipes, datasets, capabilities, what is done already.

    Args:
        fetch: whether a backbone that is not in the local cache may be downloaded.
    Raises:
        BenchmarkError: all problems of the request in one message.
    """
    _check_names(request)
    checkpoint = CHECKPOINT if request.backbone == EMBEDDED else locate_checkpoint(request.backbone, fetch=fetch)
    digest = "not-fetched" if checkpoint is None else _checkpoint_hash(checkpoint)
    datasets = _load_datasets(request)
    plan = Plan(request, checkpoint, datasets, [], [])
    protocol, problems = PROTOCOLS[request.protocol], []
    for name, dataset in datasets.items():
        if len(dataset.class_names) < protocol.min_classes:
            problems.append(f"{name}: {protocol.name} needs {protocol.min_classes} classes or more")
        plan.warnings += _few_images(name, dataset, request.shots)
        for seed in request.seeds:
            for method in request.methods:
                try:
                    plan.specs.append(_spec(request, method, dataset, seed, digest))
                except ConfigError as error:
                    problems.append(str(error))
    problems += _refuse_incapable(plan, protocol)
    if problems:
        raise ConfigError(listed("this request", sorted(set(problems))))
    plan.missing = records.missing(plan.specs, request.out)
    return plan


def steps_of(plan: Plan, spec: RunSpec) -> int:
    """Optimiser steps that a run takes."""
    if spec.training is None:
        return 0
    training_set = PROTOCOLS[spec.protocol].training_set(plan.datasets[spec.dataset], shots=spec.shots, seed=spec.seed)
    return spec.training.epochs * batches_per_epoch(len(training_set.train), spec.training.batch_size)


def _check_names(request: Request) -> None:
    """Refuse unknown names and values, all in one message."""
    problems = []
    for kind, given, allowed in (
        ("protocol", (request.protocol,), PROTOCOLS),
        ("method", (*request.methods, *request.overrides), method_names()),
        ("dataset", request.datasets, load_catalog()),
    ):
        problems += [
            f"'{name}' is not a {kind}. {did_you_mean(name, allowed)}" for name in given if name not in allowed
        ]
    for kind, given in (("methods", request.methods), ("datasets", request.datasets), ("seeds", request.seeds)):
        problems += [f"--{kind} names one twice: {given}"] if len(set(given)) < len(given) else []
    problems += [f"--seeds {seed}: a seed is 0 or more" for seed in request.seeds if seed < 0]
    problems += [f"--shots {request.shots}: at least 1 is needed"] if request.shots < 1 else []
    real = [name for name in request.datasets if name in load_catalog() and name not in SYNTHETIC]
    if real and request.data is None:
        problems.append(f"{', '.join(real)}: real images are needed; give --data FOLDER (its layout: docs/data.md)")
    if problems:
        raise ConfigError(listed("this request", problems))


def _load_datasets(request: Request) -> dict[str, Dataset]:
    """All datasets, checked file by file before anything is computed; the problems of all in one error."""
    embedded = [name for name in request.datasets if name in SYNTHETIC]
    cache = cache_folder() / f"synthetic-{suite_version()}"
    if embedded:
        materialise(cache, embedded)
    datasets, problems = {}, []
    for name in request.datasets:
        try:
            root = cache if name in SYNTHETIC else request.data
            datasets[name] = load_dataset(name, root, check_files=name not in SYNTHETIC)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    return datasets


def _spec(request: Request, method: str, dataset: Dataset, seed: int, checkpoint: str) -> RunSpec:
    recipe = resolve_recipe(
        method,
        [request.suite.recipes.get(method, {}), request.overrides.get(method, {})],
        template=dataset.template,
        protocol=request.protocol,
        dataset=dataset.name,
        shots=request.shots,
    )
    return RunSpec(
        suite=request.suite.name,
        protocol=request.protocol,
        method=method,
        dataset=dataset.name,
        shots=request.shots,
        seed=seed,
        backbone=request.backbone,
        checkpoint=checkpoint,
        split=dataset.split_sha256[:16],
        template=recipe.template,
        precision=request.precision,
        options=recipe.options,
        training=recipe.training,
    )


def _refuse_incapable(plan: Plan, protocol: Protocol) -> list[str]:
    """Take out the runs of methods that, as configured, cannot do what the protocol asks; returns other problems.

    What a method can do is read from an instance of it, made here on the embedded checkpoint, which loads at once.
    """
    clip, problems = load_clip(CHECKPOINT), []
    for method in plan.request.methods:
        own = [spec for spec in plan.specs if spec.method == method]
        for options, template in sorted({(spec.options, spec.template) for spec in own}, key=str):
            try:
                probe = create_method(
                    method, clip=clip, class_names=("a", "b"), template=template, config=dict(options)
                )
            except ConfigError as error:
                problems.append(f"{method}: {error}")
                continue
            if protocol.transfers and not probe.transfers:
                plan.specs = [spec for spec in plan.specs if spec.method != method]
                plan.refused.append(
                    f"{method}, as configured, learns prompts of the trained classes alone and cannot score others, "
                    f"which {protocol.name} asks for: its {len(own)} runs are left out, the rest goes on."
                )
                break
            plan.patches.add(probe.needs_patches)
    return problems


def _few_images(name: str, dataset: Dataset, shots: int) -> list[str]:
    counts = count_by_label(dataset.train, len(dataset.class_names))
    few = sum(count < shots for count in counts)
    return (
        [f"{name}: {few} of {len(counts)} classes have fewer than {shots} training images; all are used."]
        if few
        else []
    )


def _checkpoint_hash(folder: Path) -> str:
    files = ["config.json", "*.safetensors", "vocab.json", "merges.txt", "tokenizer.json"]
    if not any(folder.glob("*.safetensors")):
        files.append("pytorch_model*.bin")
    return provenance.sha256_folder(folder, files)[:16]
