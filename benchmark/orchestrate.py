"""The runs of a plan, one after another: train, score, record; a run that fails is kept apart and the rest goes on."""

import datetime
import resource
import sys
import time
import traceback
from collections.abc import Sequence

import safetensors.torch
import torch
from accelerate import Accelerator

from benchmark import provenance, records
from benchmark.cache import DiskCache, cache_folder
from benchmark.clip.backbone import load_clip
from benchmark.config import RunSpec
from benchmark.errors import BenchmarkError
from benchmark.evaluate import evaluate
from benchmark.features import STORE_BYTES, FeatureStore
from benchmark.fit import FitReport, fit
from benchmark.metrics import accuracy_percent
from benchmark.plan import PROTOCOLS, Plan
from benchmark.progress import Progress
from benchmark.registry import create_method


class Runner:
    """Executes runs in this process; keeps the backbone and the image features that its runs share.

    Args:
        plan: what the runs belong to.
        share: of the memory for features, where several processes work side by side.
    """

    def __init__(self, plan: Plan, accelerator: Accelerator, *, share: float = 1.0):
        self.plan, self.accelerator = plan, accelerator
        self.clip = load_clip(plan.checkpoint, device=accelerator.device)
        self.store = FeatureStore(
            self.clip,
            autocast=accelerator.autocast,
            limit_bytes=int(share * STORE_BYTES),
            disk=DiskCache(cache_folder() / "features") if plan.request.cache else None,
            origin=f"{plan.specs[0].checkpoint} {plan.request.precision}",
            ahead=plan.patches,
        )

    def run_all(self, specs: Sequence[RunSpec], progress: Progress) -> None:
        """One run after another. One that fails leaves its traceback under failed/, and the others go on."""
        for spec in specs:
            with progress.run(spec.label(), spec.training.epochs if spec.training else 1):
                try:
                    line = self.run(spec, progress)
                except Exception as error:  # the one broad net: whatever a method or a file does, the grid goes on
                    line = self._keep_failure(spec, error)
            progress.line(line)

    def run(self, spec: RunSpec, progress: Progress) -> str:
        """Train, score, record; returns the line that says so."""
        started, protocol, dataset = _now(), PROTOCOLS[spec.protocol], self.plan.datasets[spec.dataset]
        if self.accelerator.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.accelerator.device)
        training_set = protocol.training_set(dataset, shots=spec.shots, seed=spec.seed)
        method = create_method(
            spec.method,
            clip=self.clip,
            class_names=training_set.class_names,
            template=spec.template,
            config=dict(spec.options),
            seed=spec.seed,
        )
        tools = {"store": self.store, "accelerator": self.accelerator}
        report = FitReport()
        if spec.training is not None:
            report = fit(method, spec.training, training_set, seed=spec.seed, on_epoch=progress.epoch, **tools)
        scoring, outcomes = time.perf_counter(), {}
        for scored in protocol.scored_sets(dataset):
            method.set_classes(scored.dataset.class_names, spec.template)
            outcomes[scored.name] = evaluate(method, scored.dataset, **tools)
        learned = method.learned_state()
        record = records.RunRecord(
            spec=spec,
            status="ok",
            scores={name: outcome.score for name, outcome in outcomes.items()},
            overrides=dict(self.plan.request.overrides.get(spec.method, {})),
            training=report.to_json() if spec.training else {},
            evaluation_seconds=time.perf_counter() - scoring,
            peak_memory_bytes=_peak_memory_bytes(self.accelerator),
            warnings=report.warnings + self._chunk_warnings(),
            provenance=self._provenance(spec) | {"started": started, "finished": _now()},
        )
        records.save(
            record,
            self.plan.request.out,
            predictions={name: outcome.predictions for name, outcome in outcomes.items()},
            learned=safetensors.torch.save(learned) if learned else None,
        )
        shown = ", ".join(f"{name} {accuracy_percent(s.correct, s.total):.2f}" for name, s in record.scores.items())
        return f"{spec.label()}: {shown} ({report.seconds + record.evaluation_seconds:.1f} s)"

    def _chunk_warnings(self) -> list[str]:
        text = self.clip.text
        if text.kept_rows:
            return []
        return [f"out of memory: prompts were encoded {text.chunk_rows} rows at a time; the last digits may differ"]

    def _keep_failure(self, spec: RunSpec, error: Exception) -> str:
        text = str(error) if isinstance(error, BenchmarkError) else traceback.format_exc()
        path = records.save_failure(spec, self.plan.request.out, text, provenance=self._provenance(spec))
        return f"{spec.label()}: FAILED, {type(error).__name__}: {str(error)[:200]} (see {path})"

    def _provenance(self, spec: RunSpec) -> dict[str, object]:
        device = self.accelerator.device
        return {
            "git": provenance.git_state(),
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
            "precision": spec.precision,
            "split_sha256": self.plan.datasets[spec.dataset].split_sha256,
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
