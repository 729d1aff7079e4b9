"""Train, score and record planned runs. If one fails, its error is saved and the others continue."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from benchmark.clip.backbone import dtype_of, load_clip
from benchmark.common import shutdown
from benchmark.common.config import RunSpec
from benchmark.common.files import cache_folder
from benchmark.common.shutdown import Terminated
from benchmark.errors import MethodError
from benchmark.features.cache import DiskCache
from benchmark.features.encoder import STORE_BYTES
from benchmark.features.store import FeatureStore
from benchmark.planning.planned_run import PlannedRun
from benchmark.planning.run_settings import RunSettings
from benchmark.plugins.importer import code_of
from benchmark.running.progress import Progress
from benchmark.running.recording import ActiveRun, Recorder, now
from benchmark.training.checkpoints import Checkpoints, finished
from benchmark.training.evaluate import evaluate
from benchmark.training.loaded import load_into
from benchmark.training.lockstep import can_share
from benchmark.training.loop import FitReport, Trainer, TrainingCopy, give_sample
from benchmark.training.reuse import reuse_training, training_id


class Runner:
    """Does runs in this process; its runs share the backbone and the image features.

    Args:
        share: of the memory for features, where several processes work side by side.
    """

    def __init__(self, settings: RunSettings, accelerator: Accelerator, *, share: float = 1.0):
        self.settings, self.accelerator = settings, accelerator
        self.clip = load_clip(settings.backbone.folder, accelerator.device, dtype_of(settings.precision))
        self.store = FeatureStore(
            self.clip,
            autocast=accelerator.autocast,
            limit_bytes=int(share * STORE_BYTES),
            disk=DiskCache(cache_folder() / "features") if settings.cache else None,
            origin=f"{settings.backbone.hash} {settings.precision}",
            ahead=settings.patches,
        )
        self.recorder = Recorder(settings.out, accelerator.device)

    def run_all(self, planned: Sequence[PlannedRun], progress: Progress) -> None:
        """Do runs; those that differ only in their seed run together.

        A group that fails is tried run by run. A run that fails leaves its traceback under failed/; the rest goes on.
        """
        for group in seed_groups(planned, lockstep=self.settings.lockstep):
            shutdown.check()
            self._run_group(group, progress)

    def _run_group(self, group: Sequence[PlannedRun], progress: Progress) -> None:
        training = group[0].spec.training
        with progress.run(label_of(group), training.epochs if training else 1):
            try:
                lines = self.run(group, progress)
            except (Exception, SystemExit) as error:  # whatever a method raises, the grid continues
                lines = [(self.recorder.save_failure(group[0], error), None)] if len(group) == 1 else None
        if lines is None:
            for planned in group:
                self._run_group([planned], progress)
            return
        for text, record in lines:
            progress.line(text, record)

    def run(self, group: Sequence[PlannedRun], progress: Progress) -> list[tuple[str, Path]]:
        """Train, score and record runs that differ only in their seed; return a line and the record of each."""
        started, method = now(), group[0].spec.method
        if self.accelerator.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.accelerator.device)
        if code_of(method) != group[0].spec.plugin:
            raise MethodError(f"The file of '{method}' changed since the plan was made. Run the command again.")
        runs = [self._prepare(planned) for planned in group]
        self._train([run for run in runs if run.report is None], progress)
        lines = []
        for number, run in enumerate(runs):
            try:
                lines.append(self._score_and_record(run, started))
            except Terminated:
                self._keep_trained(runs[number:])
                raise
            self._checkpoints([run]).remove()
        return lines

    def _prepare(self, planned: PlannedRun) -> ActiveRun:
        """Make the method of a run; its report is None if the run still has to be trained."""
        training_set = planned.training_set()
        method = planned.make_method(self.clip, training_set)
        if planned.file is not None:
            load_into(method, planned.spec, planned.file)
            return ActiveRun(planned, method, training_set, FitReport())
        return ActiveRun(planned, method, training_set, reuse_training(planned.spec, method, self.settings.out))

    def _train(self, runs: Sequence[ActiveRun], progress: Progress) -> None:
        """Train runs, in one pass if they can share it, and fill in their reports."""
        reading = [give_sample(run.copy, self.store, run.planned.spec.training) for run in runs]
        if runs and runs[0].planned.spec.training is not None:
            for part in [runs] if shares_pass([run.copy for run in runs]) else [[run] for run in runs]:
                self._fit(part, progress)
        for run, seconds in zip(runs, reading, strict=True):
            run.report = run.report or FitReport()
            run.report.seconds += seconds

    def _fit(self, runs: Sequence[ActiveRun], progress: Progress) -> None:
        trainer = Trainer(
            [run.copy for run in runs],
            runs[0].planned.spec.training,
            store=self.store,
            accelerator=self.accelerator,
            graphs=self.settings.graphs,
            checkpoints=self._checkpoints(runs),
            on_epoch=progress.epoch,
        )
        for run, report in zip(runs, trainer.fit(), strict=True):
            run.report = report

    def _checkpoints(self, runs: Sequence[ActiveRun]) -> Checkpoints:
        names = [training_id(run.planned.spec) for run in runs]
        return Checkpoints(self.settings.out, names, minutes=self.settings.checkpoint_minutes)

    def _keep_trained(self, runs: Sequence[ActiveRun]) -> None:
        """Save the learned values of runs that are trained and not yet recorded: only their scoring is left to do."""
        for run in runs:
            training, report = run.planned.spec.training, run.report
            if training is not None and report.taken_from is None:
                done = finished(run.method, epochs=training.epochs, losses=report.losses, seconds=report.seconds)
                self._checkpoints([run]).save([done])

    def _score_and_record(self, run: ActiveRun, started: str) -> tuple[str, Path]:
        """Score a trained method on all class sets and save the record."""
        scoring, evaluations = time.perf_counter(), {}
        for scored, template in run.planned.scored_sets():
            run.method.set_classes(scored.dataset.class_names, template)
            run.method.at_home = scored.dataset.name == run.copy.dataset.name
            evaluations[scored.name] = evaluate(
                run.method, scored.dataset, store=self.store, accelerator=self.accelerator
            )
        seconds = time.perf_counter() - scoring
        return self.recorder.save(
            run, evaluations, started=started, evaluation_seconds=seconds, warnings=self._memory_warnings()
        )

    def _memory_warnings(self) -> list[str]:
        parts = []
        if not self.clip.text.kept_rows:
            parts.append(f"prompts were encoded {self.clip.text.chunk_rows} rows at a time")
        if self.store.encoder.halved:
            parts.append(f"images were encoded {self.store.encoder.tower_batch} at a time")
        return [f"out of memory: {part}; the last digits may differ" for part in parts]


def seed_groups(planned: Sequence[PlannedRun], *, lockstep: bool = True) -> list[list[PlannedRun]]:
    """Groups of runs that differ only in their seed, in the order of their first; without lockstep, single runs."""
    if not lockstep:
        return [[run] for run in planned]
    groups: dict[RunSpec, list[PlannedRun]] = {}
    for run in planned:
        groups.setdefault(run.alike, []).append(run)
    return list(groups.values())


def shares_pass(copies: Sequence[TrainingCopy]) -> bool:
    """Whether copies of a method are trained in lockstep."""
    same_size = len({len(copy.dataset.train) for copy in copies}) == 1
    return len(copies) > 1 and same_size and can_share([copy.method for copy in copies])


def label_of(group: Sequence[PlannedRun]) -> str:
    """The label of a group in the progress bar."""
    first = group[0].spec.label()
    return first if len(group) == 1 else f"{first} to {group[-1].spec.seed}"
