"""The runs of a plan, one after another: train, score, record; a run that fails is kept apart and the rest goes on."""

import dataclasses
import datetime
import hashlib
import resource
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from accelerate import Accelerator

from benchmark.clip.backbone import load_clip
from benchmark.common import provenance, shutdown
from benchmark.common.config import RunSpec
from benchmark.common.shutdown import Terminated
from benchmark.data.catalog import Dataset
from benchmark.errors import BenchmarkError, DivergedError, MethodError
from benchmark.features.cache import DiskCache, cache_folder
from benchmark.features.store import ENCODE_BATCH, STORE_BYTES, FeatureStore
from benchmark.method import Method
from benchmark.planning.plan import Plan, few_images
from benchmark.plugins.discovery import origin_of
from benchmark.plugins.factory import create_method
from benchmark.plugins.importer import code_of
from benchmark.records import store
from benchmark.records.metrics import accuracy_percent
from benchmark.records.record import RunRecord
from benchmark.running.progress import Progress
from benchmark.training.checkpoints import Checkpoints, finished
from benchmark.training.evaluate import evaluate
from benchmark.training.loaded import load_into
from benchmark.training.lockstep import can_share
from benchmark.training.loop import FitReport, fit, fit_together, give_sample
from benchmark.training.released import file_facts
from benchmark.training.reuse import LEARNED_SHA256, TRAINED_CLASSES, take_training, training_id


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
        """The runs, those that only differ in their seed together.

        What fails together is tried one by one. What fails alone leaves its traceback under failed/; the others go on.
        """
        for group in alike(specs) if self.plan.request.lockstep else [[spec] for spec in specs]:
            shutdown.check()
            self._run_group(group, progress)

    def _run_group(self, group: Sequence[RunSpec], progress: Progress) -> None:
        with progress.run(label_of(group), group[0].training.epochs if group[0].training else 1):
            try:
                lines = self.run(group, progress)
            except (Exception, SystemExit) as error:  # the one broad net: whatever a method does, the grid goes on
                lines = [(self._keep_failure(group[0], error), None)] if len(group) == 1 else None
        if lines is None:
            for spec in group:
                self._run_group([spec], progress)
            return
        for text, record in lines:
            progress.line(text, record)

    def run(self, specs: Sequence[RunSpec], progress: Progress) -> list[tuple[str, Path]]:
        """Train, score, record runs that differ in nothing but their seed; returns a line and the record of each."""
        started = _now()
        if self.accelerator.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.accelerator.device)
        if code_of(specs[0].method) != specs[0].plugin:
            raise MethodError(
                f"The file of '{specs[0].method}' changed since the plan was made. Run the command again."
            )
        samples = [self.plan.training_set(spec) for spec in specs]
        methods = [
            create_method(
                spec.method,
                clip=self.clip,
                class_names=sample.class_names,
                template=spec.template,
                config=dict(spec.options),
                seed=spec.seed,
            )
            for spec, sample in zip(specs, samples, strict=True)
        ]
        out = self.plan.request.out
        for spec, method in zip(specs, methods, strict=True):
            if spec.loaded:
                load_into(method, spec, self.plan.files[spec])
        reports = [
            FitReport() if spec.loaded else take_training(spec, method, out)
            for spec, method in zip(specs, methods, strict=True)
        ]
        left = [i for i, report in enumerate(reports) if report is None]
        reading = [give_sample(methods[i], samples[i], seed=specs[i].seed, store=self.store) for i in left]
        trained = self._train(
            [specs[i] for i in left], [methods[i] for i in left], [samples[i] for i in left], progress
        )
        for i, report, seconds in zip(left, trained, reading, strict=True):
            report.seconds += seconds
            reports[i] = report
        lines, parts = [], list(zip(specs, methods, reports, strict=True))
        for number, (spec, method, report) in enumerate(parts):
            try:
                lines.append(self._score_and_record(spec, method, report, started))
            except Terminated:
                self._keep_trained(parts[number:])
                raise
            self._checkpoints([spec]).remove()
        return lines

    def _train(
        self, specs: Sequence[RunSpec], methods: Sequence[Method], samples: Sequence[Dataset], progress: Progress
    ) -> list[FitReport]:
        training = specs[0].training if specs else None
        if training is None:
            return [FitReport() for _ in specs]
        graphs = self.plan.request.graphs
        tools = {"store": self.store, "accelerator": self.accelerator, "on_epoch": progress.epoch, "graphs": graphs}
        sizes = {len(sample.train) for sample in samples}
        if len(specs) > 1 and len(sizes) == 1 and can_share(methods):
            seeds = [spec.seed for spec in specs]
            return fit_together(methods, training, samples, seeds=seeds, checkpoints=self._checkpoints(specs), **tools)
        each = zip(specs, methods, samples, strict=True)
        return [
            fit(method, training, sample, seed=spec.seed, checkpoints=self._checkpoints([spec]), **tools)
            for spec, method, sample in each
        ]

    def _checkpoints(self, specs: Sequence[RunSpec]) -> Checkpoints:
        request = self.plan.request
        return Checkpoints(request.out, [training_id(spec) for spec in specs], minutes=request.checkpoint_minutes)

    def _keep_trained(self, parts: Sequence[tuple[RunSpec, Method, FitReport]]) -> None:
        """Of runs that are trained and not yet recorded, keep what was learned, so that only the scoring is left."""
        for spec, method, report in parts:
            if spec.training is not None and report.taken_from is None:
                done = finished(method, epochs=spec.training.epochs, losses=report.losses, seconds=report.seconds)
                self._checkpoints([spec]).save([done])

    def _score_and_record(self, spec: RunSpec, method: Method, report: FitReport, started: str) -> tuple[str, Path]:
        """Score a trained method on all class sets and save its record; returns the line that says so, and its path."""
        scoring, outcomes = time.perf_counter(), {}
        for scored, template in self.plan.scored_sets(spec):
            method.set_classes(scored.dataset.class_names, template)
            outcomes[scored.name] = evaluate(method, scored.dataset, store=self.store, accelerator=self.accelerator)
        state = method.learned_state()
        learned = safetensors.torch.save(state) if state else None
        record = RunRecord(
            spec=spec,
            status="ok",
            scores={name: outcome.score for name, outcome in outcomes.items()},
            overrides=dict(self.plan.request.overrides.get(spec.method, {})),
            training=report.to_json() if _reads_images(spec, method) else {},
            evaluation_seconds=time.perf_counter() - scoring,
            peak_memory_bytes=_peak_memory_bytes(self.accelerator),
            warnings=list(dict.fromkeys(self._data_warnings(spec, method) + report.warnings + self._chunk_warnings())),
            provenance=self._provenance(spec)
            | self._of_learned(spec, learned)
            | {"started": started, "finished": _now()},
        )
        path = store.save(
            record,
            self.plan.request.out,
            predictions={name: outcome.predictions for name, outcome in outcomes.items()},
            learned=learned,
        )
        shown = ", ".join(f"{name} {accuracy_percent(s.correct, s.total):.2f}" for name, s in record.scores.items())
        spent = record.evaluation_seconds + (0 if report.taken_from else report.seconds)
        taken = f"; training of {report.taken_from}" if report.taken_from else ""
        return f"{spec.label()}: {shown} ({spent:.1f} s{taken})", path

    def _of_learned(self, spec: RunSpec, learned: bytes | None) -> dict[str, object]:
        """What to know of learned tensors, to believe and to hand on what lies beside a record."""
        if learned is None:
            return {}
        file = {"loaded_from": file_facts(self.plan.files[spec])} if spec.loaded else {}
        return {
            LEARNED_SHA256: hashlib.sha256(learned).hexdigest(),
            TRAINED_CLASSES: list(self.plan.training_set(spec).class_names),
            **file,
        }

    def _data_warnings(self, spec: RunSpec, method: Method) -> list[str]:
        return few_images(self.plan.datasets[spec.dataset], spec.shots) if _reads_images(spec, method) else []

    def _chunk_warnings(self) -> list[str]:
        parts = []
        if not self.clip.text.kept_rows:
            parts.append(f"prompts were encoded {self.clip.text.chunk_rows} rows at a time")
        if self.store.tower_batch < ENCODE_BATCH:
            parts.append(f"pictures were encoded {self.store.tower_batch} at a time")
        return [f"out of memory: {part}; the last digits may differ" for part in parts]

    def _keep_failure(self, spec: RunSpec, error: BaseException) -> str:
        text = str(error) if isinstance(error, BenchmarkError) else traceback.format_exc()
        about, last_good = {}, None
        if isinstance(error, DivergedError):
            about, last_good = error.about, safetensors.torch.save(error.last_good) if error.last_good else None
        path = store.save_failure(
            spec, self.plan.request.out, text, provenance=self._provenance(spec), training=about, learned=last_good
        )
        return f"{spec.label()}: FAILED, {type(error).__name__}: {' '.join(str(error).split())[:200]} (see {path})"

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
            "targets_split_sha256": {name: self.plan.datasets[name].split_sha256 for name in spec.targets},
            "checkpoint": spec.checkpoint,
            "plugin": origin_of(spec.method),
        }


def alike(specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """Groups of runs that differ in nothing but their seed, in the order of their first."""
    groups: dict[RunSpec, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(dataclasses.replace(spec, seed=0), []).append(spec)
    return list(groups.values())


def label_of(group: Sequence[RunSpec]) -> str:
    """What a progress bar says of them."""
    return group[0].label() if len(group) == 1 else f"{group[0].label()} to {group[-1].seed}"


def _reads_images(spec: RunSpec, method: Method) -> bool:
    """Whether training images have a part in what a run learns here."""
    return not spec.loaded and (spec.training is not None or method.sample_views > 0)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _peak_memory_bytes(accelerator: Accelerator) -> int:
    """Of this run on a GPU; on a CPU, of this process so far."""
    if accelerator.device.type == "cuda":
        return torch.cuda.max_memory_allocated(accelerator.device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
