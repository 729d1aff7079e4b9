"""The runs of a plan, one after another: train, score, record; a run that fails is kept apart and the rest goes on."""

import datetime
import resource
import sys
import time
import traceback

import safetensors.torch
import torch
from accelerate import Accelerator

from benchmark import provenance, records
from benchmark.clip.backbone import Clip, load_clip
from benchmark.config import RunSpec
from benchmark.errors import BenchmarkError
from benchmark.evaluate import evaluate
from benchmark.features import FeatureStore
from benchmark.fit import FitReport, fit
from benchmark.metrics import accuracy_percent
from benchmark.plan import PROTOCOLS, Plan
from benchmark.progress import Progress
from benchmark.registry import create_method


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
                path = records.save_failure(
                    spec, plan.request.out, text, provenance=_provenance(plan, spec, accelerator)
                )
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
