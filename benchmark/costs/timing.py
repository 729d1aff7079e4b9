"""Time each kind of work of a plan for a moment, with the code that the grid runs.

The work is some steps of each kind of training, the scoring of some images of each class set, and the decoding and
encoding of some images of each dataset. A CountingStore gets all requests of the runs, and so knows what is encoded.
"""

import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress

from accelerate import Accelerator

from benchmark.common.config import Training
from benchmark.costs.forecast import Part, Portion, Work
from benchmark.costs.image_timing import ImageTimer
from benchmark.costs.stopwatch import Stopwatch
from benchmark.data.catalog import Dataset
from benchmark.features.counting_store import CountingStore, StandInStore
from benchmark.features.encoder import STORE_BYTES
from benchmark.method import Method
from benchmark.planning.planned_run import PlannedRun
from benchmark.planning.run_settings import RunSettings
from benchmark.running.recording import peak_memory_bytes
from benchmark.running.runner import Runner, seed_groups, shares_pass
from benchmark.training.evaluate import SCORE_BATCH, evaluate
from benchmark.training.loaded import load_into
from benchmark.training.loop import Trainer, TrainingCopy, give_sample, view_of
from benchmark.training.schedule import batches_per_epoch

SHORTEST = 0.15  # seconds; a timing of steps or scoring lasts at least this long, if there is enough to time
STEPS = 4  # the length of a timed epoch, if the real one is longer
MOST_EPOCHS = 1000  # never reached: a timing ends before
# most floats that a row of the image tower holds, in widths: three times the four of the MLP, and what surrounds them
TOWER_WIDTHS = 16
TINY = 1e-12  # a learning rate: a timing need not learn, and must not diverge


class _EnoughError(Exception):
    """A training was timed long enough."""


class Bench:
    """Times the work of runs in this process.

    Args:
        runs: all runs that will be timed.
        share: of the memory for features, as in Runner.
    """

    def __init__(self, settings: RunSettings, runs: Iterable[PlannedRun], accelerator: Accelerator, *, share: float):
        self.settings, self.accelerator = settings, accelerator
        runner = Runner(settings, accelerator, share=share)
        self.clip, self.store, self.limit = runner.clip, runner.store, int(share * STORE_BYTES)
        self.stopwatch = Stopwatch(accelerator.device)
        datasets = {dataset.name: dataset for run in runs for dataset in run.task.datasets}
        self.images = ImageTimer(runner.store, datasets, self.stopwatch)
        rows = self.store.encoder.tower_batch * (1 + self.clip.patch_count)
        # on a GPU the timed batch is a whole one, and its allocator counts it; here it may be a few images
        values = rows * TOWER_WIDTHS * self.clip.vision_width if accelerator.device.type == "cpu" else 0
        self._tower_bytes = self.clip.dtype.itemsize * values

    def portion(self, runs: Sequence[PlannedRun]) -> Portion:
        """Time the runs on one dataset, which one process does."""
        store, counted = CountingStore(self.store), []
        for group in seed_groups(runs, lockstep=self.settings.lockstep):
            before = store.encoded.copy()
            counted.append((self._part(group, store), store.encoded - before))
        features, opened = store.features_bytes, len(store.opened)
        decoded = opened * self.images.bytes_per_image(runs[0].spec.dataset) if opened else 0
        parts = []
        for part, encoded in counted:
            forgets = decoded > self.limit
            work = [self.images.work(*key, count, forgets=forgets) for key, count in encoded.items()]
            parts.append(dataclasses.replace(part, work=[*part.work, *work]))
        return Portion(
            parts=parts,
            features=features,
            images=decoded if self.accelerator.device.type == "cpu" else 0,
            encoded=sum(store.encoded.values()),
            found=store.found,
            peak=peak_memory_bytes(self.accelerator.device) + self._tower_bytes,
        )

    def _part(self, group: Sequence[PlannedRun], store: CountingStore) -> Part:
        """Time runs that differ only in their seed, without images; `store` counts the images that they encode."""
        started, spec = self.stopwatch.now(), group[0].spec
        copies = [self._prepare(run, store) for run in group]
        work = [Work(1, self.stopwatch.now() - started)]
        training = [copy for run, copy in zip(group, copies, strict=True) if run.trains]
        if training:
            work += self._training(group[0], training, store)
        method = copies[0].method
        for scored, template in group[0].scored_sets():
            scoring = self._scoring(group[0], method, scored.dataset, template)
            work += [Work(len(group) * times, seconds) for times, seconds in scoring]
            for _ in group:
                _exhaust(store.test(scored.dataset, scored.dataset.test, method.needs_patches, batch=SCORE_BATCH))
        return Part(
            protocol=spec.protocol,
            method=spec.method,
            runs=len(group),
            trainings=len(training),
            steps=sum(run.steps() for run in group),
            work=work,
        )

    def _prepare(self, run: PlannedRun, store: CountingStore) -> TrainingCopy:
        """Make the method of a run, and give it its learned values or the sample that it reads before training."""
        sample = run.training_set()
        copy = TrainingCopy(run.make_method(self.clip, sample), sample, run.spec.seed)
        if run.file is not None:
            load_into(copy.method, run.spec, run.file)
            return copy
        give_sample(copy, StandInStore(self.clip, limit_bytes=self.limit))
        for epoch in range(copy.method.sample_views):
            order = {"order": range(len(sample.train)), "batch": len(sample.train)}
            view = view_of(copy, run.spec.training, epoch)
            _exhaust(store.train(sample, sample.train, view, copy.method.needs_patches, **order))
        return copy

    def _training(self, run: PlannedRun, copies: Sequence[TrainingCopy], store: CountingStore) -> list[Work]:
        """Time the trainings of some seeds, in one pass if the grid does so."""
        spec, training, names = run.spec, run.spec.training, copies[0].dataset.class_names
        count, size, method = len(copies[0].dataset.train), training.batch_size, copies[0].method
        needs = {"patches": method.needs_patches, "pooled": method.needs_pooled}
        steps = batches_per_epoch(count, size)
        for epoch in range(training.epochs):
            for copy in copies:
                items = copy.dataset.train
                order = range(min(steps * size, len(items)))
                view = view_of(copy, training, epoch)
                _exhaust(store.train(copy.dataset, items, view, **needs, order=order, batch=size))
        together = len(copies) if shares_pass(copies) else 1
        passes, timed = len(copies) // together, min(steps, STEPS)
        key = (spec.method, spec.options, spec.template, names, size, min(size, count), together, timed)
        short = [
            dataclasses.replace(c, dataset=dataclasses.replace(c.dataset, train=c.dataset.train[: timed * size]))
            for c in copies[:together]
        ]
        once, each = self.stopwatch.once(key, lambda: self._steps(short, training, timed))
        return [Work(passes, once), Work(passes * training.epochs * steps, each)]

    def _steps(self, copies: Sequence[TrainingCopy], training: Training, steps: int) -> tuple[float, float]:
        """Seconds that a training takes besides its steps, and seconds of a step of all copies."""
        marks = [self.stopwatch.now()]

        def mark(epoch: int) -> None:
            marks.append(self.stopwatch.now())
            if epoch > 1 and marks[-1] - marks[1] >= SHORTEST:
                raise _EnoughError

        still = dataclasses.replace(training, epochs=MOST_EPOCHS, learning_rate=TINY, warmup_learning_rate=TINY)
        with suppress(_EnoughError):
            Trainer(
                copies,
                still,
                store=StandInStore(self.clip, limit_bytes=self.limit),
                accelerator=self.accelerator,
                graphs=self.settings.graphs,
                on_epoch=mark,
            ).fit()
        epoch = (marks[-1] - marks[1]) / (len(marks) - 2)  # the first epoch warms up, and a graph is recorded in it
        return max(0.0, marks[1] - marks[0] - epoch), epoch / steps

    def _scoring(self, run: PlannedRun, method: Method, dataset: Dataset, template: str) -> list[Work]:
        """The scoring of a class set by one run."""
        key = (run.spec.method, run.spec.options, template, dataset.class_names, len(dataset.test))
        first, again, count = self.stopwatch.once(key, lambda: self._score(method, dataset, template))
        return [Work(1, first), Work((len(dataset.test) - count) / count, again)]

    def _score(self, method: Method, dataset: Dataset, template: str) -> tuple[float, float, int]:
        """Seconds to set the classes and score some images, to score as many more, and the number of images."""
        store = StandInStore(self.clip, limit_bytes=self.limit)
        for size in (STEPS, SCORE_BATCH):
            some = dataclasses.replace(dataset, test=dataset.test[:size])
            started = self.stopwatch.now()
            method.set_classes(dataset.class_names, template)
            evaluate(method, some, store=store, accelerator=self.accelerator)
            first = self.stopwatch.now()
            evaluate(method, some, store=store, accelerator=self.accelerator)  # the prompts are cached now
            again = self.stopwatch.now() - first
            if again >= SHORTEST:
                break
        return first - started, again, len(some.test)


def _exhaust(features: Iterable[object]) -> None:
    """Request everything from a store."""
    deque(features, maxlen=0)
