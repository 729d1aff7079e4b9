"""Write the record of a run: its scores, what it learned, and what explains both."""

import datetime
import hashlib
import resource
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from benchmark.common import provenance
from benchmark.data.catalog import Dataset
from benchmark.errors import BenchmarkError, DivergedError
from benchmark.method import Method
from benchmark.planning.planned_run import PlannedRun
from benchmark.plugins.discovery import origin_of
from benchmark.records import store
from benchmark.records.metrics import accuracy_percent
from benchmark.records.record import RunRecord
from benchmark.training.evaluate import Evaluation
from benchmark.training.loop import FitReport, TrainingCopy
from benchmark.training.released import file_facts
from benchmark.training.reuse import LEARNED_SHA256, TRAINED_CLASSES


@dataclass
class ActiveRun:
    """A run in progress: the plan's entry, its method, its training set, and the report once it is trained."""

    planned: PlannedRun
    method: Method
    training_set: Dataset
    report: FitReport | None = None

    @property
    def copy(self) -> TrainingCopy:
        """What the trainer needs of the run."""
        return TrainingCopy(self.method, self.training_set, self.planned.spec.seed)

    @property
    def reads_images(self) -> bool:
        """Whether training images influence what the run learns."""
        spec = self.planned.spec
        return not spec.loaded and (spec.training is not None or self.method.sample_views > 0)


class Recorder:
    """Writes the records of runs on a device, and the errors of those that fail, below a results folder."""

    def __init__(self, results: Path, device: torch.device):
        self.results, self.device = results, device

    def save(
        self,
        run: ActiveRun,
        evaluations: Mapping[str, Evaluation],
        *,
        started: str,
        evaluation_seconds: float,
        warnings: list[str],
    ) -> tuple[str, Path]:
        """Write the record of a run; return the line that reports it, and the path of the record."""
        spec, report = run.planned.spec, run.report
        state = run.method.learned_state()
        learned = safetensors.torch.save(state) if state else None
        of_task = run.planned.task.warnings() if run.reads_images else []
        record = RunRecord(
            spec=spec,
            status="ok",
            scores={name: evaluation.score for name, evaluation in evaluations.items()},
            overrides=dict(run.planned.overrides),
            training=report.to_json() if run.reads_images else {},
            evaluation_seconds=evaluation_seconds,
            peak_memory_bytes=peak_memory_bytes(self.device),
            warnings=list(dict.fromkeys(of_task + report.warnings + warnings)),
            provenance=self._provenance(run.planned)
            | _learned_facts(run, learned)
            | {"started": started, "finished": now()},
        )
        predictions = {name: evaluation.predictions for name, evaluation in evaluations.items()}
        confidences = {name: evaluation.confidences for name, evaluation in evaluations.items()}
        path = store.save(record, self.results, predictions=predictions, confidences=confidences, learned=learned)
        shown = ", ".join(f"{name} {accuracy_percent(s.correct, s.total):.2f}" for name, s in record.scores.items())
        spent = evaluation_seconds + (0 if report.taken_from else report.seconds)
        reused = f"; training of {report.taken_from}" if report.taken_from else ""
        return f"{spec.label()}: {shown} ({spent:.1f} s{reused})", path

    def save_failure(self, planned: PlannedRun, error: BaseException) -> str:
        """Write the error of a failed run; return the line that reports it."""
        text = str(error) if isinstance(error, BenchmarkError) else traceback.format_exc()
        about, last_good = {}, None
        if isinstance(error, DivergedError):
            about, last_good = error.about, safetensors.torch.save(error.last_good) if error.last_good else None
        path = store.save_failure(
            planned.spec, self.results, text, provenance=self._provenance(planned), training=about, learned=last_good
        )
        reason = " ".join(str(error).split())[:200]
        return f"{planned.spec.label()}: FAILED, {type(error).__name__}: {reason} (see {path})"

    def _provenance(self, planned: PlannedRun) -> dict[str, object]:
        spec, task, device = planned.spec, planned.task, self.device
        splits = {dataset.name: dataset.split_sha256 for dataset in task.targets}
        instructions = {
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "instruction_variables": provenance.instruction_variables(),
        }
        return {
            "git": provenance.git_state(),
            "versions": provenance.versions(),
            "machine": provenance.machine() | instructions,
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
            "precision": spec.precision,
            "split_sha256": task.dataset.split_sha256,
            "targets_split_sha256": {name: splits[name] for name in spec.targets},
            "checkpoint": spec.checkpoint,
            "plugin": origin_of(spec.method),
        }


def _learned_facts(run: ActiveRun, learned: bytes | None) -> dict[str, object]:
    """What identifies the learned tensors next to a record."""
    if learned is None:
        return {}
    file = {"loaded_from": file_facts(run.planned.file)} if run.planned.spec.loaded else {}
    return {
        LEARNED_SHA256: hashlib.sha256(learned).hexdigest(),
        TRAINED_CLASSES: list(run.training_set.class_names),
        **file,
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def peak_memory_bytes(device: torch.device) -> int:
    """The largest amount of memory used: on a GPU since the last reset, on a CPU since the start of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
