"""The grid: from a request to its runs, from the missing runs to records, from the records to tables."""

import datetime
import os
import resource
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from accelerate import Accelerator

from benchmark import provenance, records
from benchmark.clip.backbone import Clip, load_clip, locate_checkpoint
from benchmark.config import RunSpec, Suite
from benchmark.data.catalog import Dataset, count_by_label, load_catalog, load_dataset
from benchmark.data.synthetic.suite import CHECKPOINT, SYNTHETIC, materialise, suite_version
from benchmark.errors import BenchmarkError, ConfigError, DataError, did_you_mean, listed
from benchmark.evaluate import evaluate
from benchmark.features import FeatureStore
from benchmark.fit import FitReport, batches_per_epoch, fit
from benchmark.metrics import accuracy_percent
from benchmark.progress import Progress
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


@dataclass
class Plan:
    """The runs of a request: all of them, those without a record, and what a user should know before they start."""

    request: Request
    checkpoint: Path | None
    datasets: dict[str, Dataset]
    specs: list[RunSpec]
    missing: list[RunSpec]
    warnings: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


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


def execute(plan: Plan, *, accelerator: Accelerator, progress: Progress) -> None:
    """Run what is missing. A run that fails leaves its traceback under failed/, and the others go on."""
    todo = plan.missing[accelerator.process_index :: accelerator.num_processes]
    if not todo:
        return
    clip = load_clip(plan.checkpoint, device=accelerator.device)
    store = FeatureStore(clip, autocast=accelerator.autocast)
    for spec in todo:
        epochs = spec.training.epochs if spec.training else 1
        with progress.run(spec.label(), epochs):
            try:
                line = _execute_one(plan, spec, clip=clip, store=store, accelerator=accelerator, progress=progress)
            except Exception as error:  # the one broad net: whatever a method or a file does, the grid goes on
                text = str(error) if isinstance(error, BenchmarkError) else traceback.format_exc()
                path = records.save_failure(spec, plan.request.out, text, provenance=_provenance(plan, spec, accelerator))
                line = f"{spec.label()}: FAILED, {type(error).__name__}: {str(error)[:200]} (see {path})"
        progress.line(line)


def _execute_one(
    plan: Plan, spec: RunSpec, *, clip: Clip, store: FeatureStore, accelerator: Accelerator, progress: Progress
) -> str:
    """Train, score, record; returns the line that says so."""
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    protocol, dataset = PROTOCOLS[spec.protocol], plan.datasets[spec.dataset]
    training_set = protocol.training_set(dataset, shots=spec.shots, seed=spec.seed)
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(accelerator.device)
    method = create_method(
        spec.method,
        clip=clip,
        class_names=training_set.class_names,
        template=spec.template,
        config=dict(spec.options),
        seed=spec.seed,
    )
    report = FitReport()
    if spec.training is not None:
        report = fit(
            method, spec.training, training_set,
            store=store, seed=spec.seed, accelerator=accelerator, on_epoch=progress.epoch,
        )  # fmt: skip
    scoring, scores, predictions = time.perf_counter(), {}, {}
    for scored in protocol.scored_sets(dataset):
        method.set_classes(scored.dataset.class_names, spec.template)
        outcome = evaluate(method, scored.dataset, store=store, accelerator=accelerator)
        scores[scored.name], predictions[scored.name] = outcome.score, outcome.predictions
    learned = method.learned_state()
    record = records.RunRecord(
        spec=spec,
        status="ok",
        scores=scores,
        overrides=dict(plan.request.overrides.get(spec.method, {})),
        training={"steps": report.steps, "images": report.images, "seconds": report.seconds, "losses": report.losses}
        if spec.training
        else {},
        evaluation_seconds=time.perf_counter() - scoring,
        peak_memory_bytes=_peak_memory_bytes(accelerator),
        warnings=report.warnings,
        provenance=_provenance(plan, spec, accelerator) | {"started": started, "finished": _now()},
    )
    records.save(
        record, plan.request.out, predictions=predictions, learned=safetensors.torch.save(learned) if learned else None
    )
    shown = ", ".join(f"{name} {accuracy_percent(s.correct, s.total):.2f}" for name, s in scores.items())
    return f"{spec.label()}: {shown} ({report.seconds + record.evaluation_seconds:.1f} s)"


def _check_names(request: Request) -> None:
    """Refuse unknown names and values, all in one message."""
    problems = []
    for kind, given, allowed in (
        ("protocol", (request.protocol,), PROTOCOLS),
        ("method", (*request.methods, *request.overrides), method_names()),
        ("dataset", request.datasets, load_catalog()),
    ):
        problems += [f"'{name}' is not a {kind}. {did_you_mean(name, allowed)}" for name in given if name not in allowed]
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
    cache = _cache_folder() / f"synthetic-{suite_version()}"
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


def _cache_folder() -> Path:
    """Where rendered pictures are kept between runs: COPL_BENCHMARK_CACHE, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("COPL_BENCHMARK_CACHE") or Path(base) / "copl_benchmark")


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
                probe = create_method(method, clip=clip, class_names=("a", "b"), template=template, config=dict(options))
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
    return problems


def _few_images(name: str, dataset: Dataset, shots: int) -> list[str]:
    counts = count_by_label(dataset.train, len(dataset.class_names))
    few = sum(count < shots for count in counts)
    return [f"{name}: {few} of {len(counts)} classes have fewer than {shots} training images; all are used."] if few else []


def _checkpoint_hash(folder: Path) -> str:
    files = ["config.json", "*.safetensors", "vocab.json", "merges.txt", "tokenizer.json"]
    if not any(folder.glob("*.safetensors")):
        files.append("pytorch_model*.bin")
    return provenance.sha256_folder(folder, files)[:16]


def _provenance(plan: Plan, spec: RunSpec, accelerator: Accelerator) -> dict[str, object]:
    return {
        "git": provenance.git_state(),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "device": str(accelerator.device)
        if accelerator.device.type == "cpu"
        else torch.cuda.get_device_name(accelerator.device),
        "precision": spec.precision,
        "split_sha256": plan.datasets[spec.dataset].split_sha256,
        "checkpoint": spec.checkpoint,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _peak_memory_bytes(accelerator: Accelerator) -> int:
    """Of this run on a GPU; on a CPU, of this process so far."""
    if accelerator.device.type == "cuda":
        return torch.cuda.max_memory_allocated(accelerator.device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def steps_of(plan: Plan, spec: RunSpec) -> int:
    """Optimiser steps that a run takes."""
    if spec.training is None:
        return 0
    training_set = PROTOCOLS[spec.protocol].training_set(plan.datasets[spec.dataset], shots=spec.shots, seed=spec.seed)
    return spec.training.epochs * batches_per_epoch(len(training_set.train), spec.training.batch_size)
