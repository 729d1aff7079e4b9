"""Times the kinds of work that a plan consists of, for a moment each, with the code that the grid runs.

Some steps of each kind of training, the scoring of some images of each class set, decoding and encoding some pictures
of each dataset. A store that counts is asked for all that the runs will ask theirs for, and so knows what is encoded.
"""

import dataclasses
import math
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from accelerate import Accelerator

from benchmark.clip.backbone import Patches
from benchmark.common.config import RunSpec, Training
from benchmark.costs.forecast import Part, Portion, Work
from benchmark.data.catalog import Dataset
from benchmark.data.images import open_image
from benchmark.features.counting_store import SIZES, CountingStore, StandInStore
from benchmark.features.encoder import ENCODE_BATCH, STORE_BYTES, TEST_VIEW, ImageView, View
from benchmark.method import Method
from benchmark.planning.plan import Plan, steps_of
from benchmark.plugins.factory import create_method
from benchmark.protocols.protocol import Scored
from benchmark.running.runner import Runner, alike
from benchmark.training.evaluate import SCORE_BATCH, evaluate
from benchmark.training.loaded import load_into
from benchmark.training.lockstep import can_share
from benchmark.training.loop import fit_together, give_sample
from benchmark.training.schedule import batches_per_epoch

SHORTEST = 0.15  # seconds that a timing of steps or scoring lasts at least, where there is enough to time
SHORTEST_IMAGES = 0.4  # of pictures, whose few kinds make up much of the time
STEPS = 4  # of a longer epoch, that is how many are timed again and again
MOST_EPOCHS = 10000  # never reached: a timing ends before
# floats that a row of the image tower holds at most, in its widths: three times the MLP's four, and what goes around
TOWER_WIDTHS = 16
TINY = 1e-12  # a learning rate: a timing has no need to learn, and must not diverge


class _EnoughError(Exception):
    """A training was timed long enough."""


class Bench:
    """Times the work of a plan in this process.

    Args:
        share: of the memory for features, as Runner's.
    """

    def __init__(self, plan: Plan, accelerator: Accelerator, *, share: float):
        self.plan, self.accelerator = plan, accelerator
        runner = Runner(plan, accelerator, share=share)
        self.clip, self.store, self.limit = runner.clip, runner.store, int(share * STORE_BYTES)
        self._known: dict[tuple, Any] = {}
        rows = ENCODE_BATCH * (1 + self.clip.patch_count)
        # on a GPU a batch that is timed is a whole one, and its allocator counts it; here it may be a few pictures
        self._tower_bytes = 4 * rows * TOWER_WIDTHS * self.clip.vision_width if accelerator.device.type == "cpu" else 0

    def portion(self, specs: Sequence[RunSpec]) -> Portion:
        """Runs that a process takes at once, timed."""
        store, counted = CountingStore(self.store), []
        for group in alike(specs) if self.plan.request.lockstep else [[spec] for spec in specs]:
            before = store.encoded.copy()
            counted.append((self._part(group, store), store.encoded - before))
        features, opened = store.features_bytes, len(store.opened)
        pictures = opened * self._picture_bytes(specs[0].dataset) if opened else 0
        parts = []
        for part, encoded in counted:
            images = [self._images(*key, count, forgets=pictures > self.limit) for key, count in encoded.items()]
            parts.append(dataclasses.replace(part, work=[*part.work, *images]))
        return Portion(
            parts=parts,
            features=features,
            pictures=pictures if self.accelerator.device.type == "cpu" else 0,
            encoded=sum(store.encoded.values()),
            found=store.found,
            peak=peak_bytes_of(self.accelerator.device.type) + self._tower_bytes,
        )

    def _part(self, group: Sequence[RunSpec], store: CountingStore) -> Part:
        """Runs that differ in their seed alone; what they encode is left in the store's account."""
        started, plan, spec = self._clock(), self.plan, group[0]
        samples = [plan.training_set(one) for one in group]
        methods = [self._method(one, sample) for one, sample in zip(group, samples, strict=True)]
        stand_in = StandInStore(self.clip, limit_bytes=self.limit)
        for one, method, sample in zip(group, methods, samples, strict=True):
            if one.loaded:
                load_into(method, one, plan.files[one])
                continue
            give_sample(method, sample, seed=one.seed, store=stand_in)
            for epoch in range(method.sample_views):
                order = {"order": range(len(sample.train)), "batch": len(sample.train)}
                _ask(store.train(sample, sample.train, View(one.seed, epoch), method.needs_patches, **order))
        work = [Work(1, self._clock() - started)]
        own, training = [i for i, one in enumerate(group) if one not in plan.taken], spec.training
        if training is None:
            own = []
        if own:
            seeds = [group[i].seed for i in own]
            work += self._training(spec, training, [methods[i] for i in own], [samples[i] for i in own], seeds, store)
        for scored, template in plan.scored_sets(spec):
            work += [
                Work(len(group) * times, seconds)
                for times, seconds in self._scoring(spec, methods[0], scored, template)
            ]
            for _ in group:
                _ask(store.test(scored.dataset, scored.dataset.test, methods[0].needs_patches, batch=SCORE_BATCH))
        steps = sum(steps_of(plan, one) for one in group)
        return Part(
            protocol=spec.protocol, method=spec.method, runs=len(group), trainings=len(own), steps=steps, work=work
        )

    def _method(self, spec: RunSpec, sample: Dataset) -> Method:
        return create_method(
            spec.method,
            clip=self.clip,
            class_names=sample.class_names,
            template=spec.template,
            config=dict(spec.options),
            seed=spec.seed,
        )

    def _training(
        self,
        spec: RunSpec,
        training: Training,
        methods: Sequence[Method],
        samples: Sequence[Dataset],
        seeds: Sequence[int],
        store: CountingStore,
    ) -> list[Work]:
        """The trainings of some seeds, in one pass where the grid does so, without the images."""
        count, size, needs = len(samples[0].train), training.batch_size, methods[0].needs_patches
        steps = batches_per_epoch(count, size)
        for epoch in range(training.epochs):
            for sample, seed in zip(samples, seeds, strict=True):
                order = range(min(steps * size, len(sample.train)))
                _ask(store.train(sample, sample.train, View(seed, epoch), needs, order=order, batch=size))
        same_size = len({len(sample.train) for sample in samples}) == 1
        copies = len(methods) if len(methods) > 1 and same_size and can_share(methods) else 1
        passes, timed = len(methods) // copies, min(steps, STEPS)
        key = (spec.method, spec.options, spec.template, samples[0].class_names, size, min(size, count), copies, timed)
        short = [dataclasses.replace(sample, train=sample.train[: timed * size]) for sample in samples[:copies]]
        once, each = self._once(key, lambda: self._steps(methods[:copies], training, short, seeds[:copies], timed))
        return [Work(passes, once), Work(passes * training.epochs * steps, each)]

    def _steps(
        self,
        methods: Sequence[Method],
        training: Training,
        samples: Sequence[Dataset],
        seeds: Sequence[int],
        steps: int,
    ) -> tuple[float, float]:
        """Seconds that a training takes besides its steps, and those of a step of all copies."""
        marks = [self._clock()]

        def mark(epoch: int) -> None:
            marks.append(self._clock())
            if epoch > 1 and marks[-1] - marks[1] >= SHORTEST:
                raise _EnoughError

        still = dataclasses.replace(training, epochs=MOST_EPOCHS, learning_rate=TINY, warmup_learning_rate=TINY)
        with suppress(_EnoughError):
            fit_together(
                methods,
                still,
                samples,
                store=StandInStore(self.clip, limit_bytes=self.limit),
                seeds=seeds,
                accelerator=self.accelerator,
                on_epoch=mark,
                graphs=self.plan.request.graphs,
            )
        epoch = (marks[-1] - marks[1]) / (len(marks) - 2)  # the first one warms up, and is where a graph is recorded
        return max(0.0, marks[1] - marks[0] - epoch), epoch / steps

    def _scoring(self, spec: RunSpec, method: Method, scored: Scored, template: str) -> list[Work]:
        """One run's scoring of a class set, without the images."""
        dataset = scored.dataset
        key = (spec.method, spec.options, template, dataset.class_names, len(dataset.test))
        first, again, count = self._once(key, lambda: self._score(method, dataset, template))
        return [Work(1, first), Work((len(dataset.test) - count) / count, again)]

    def _score(self, method: Method, dataset: Dataset, template: str) -> tuple[float, float, int]:
        """Seconds for some images behind new classes, for as many more, and how many these are."""
        store = StandInStore(self.clip, limit_bytes=self.limit)
        for size in (STEPS, SCORE_BATCH):
            some = dataclasses.replace(dataset, test=dataset.test[:size])
            started = self._clock()
            method.set_classes(dataset.class_names, template)
            evaluate(method, some, store=store, accelerator=self.accelerator)
            first = self._clock()
            evaluate(method, some, store=store, accelerator=self.accelerator)  # the prompts are known now
            again = self._clock() - first
            if again >= SHORTEST:
                break
        return first - started, again, len(some.test)

    def _images(
        self, name: str, view: str, kinds: tuple[Patches | None, ...], size: int, count: int, *, forgets: bool
    ) -> Work:
        """So many pictures of a dataset decoded and encoded. `forgets`: no decoded picture is found again."""
        view, dataset = "new" if view == "seen" and forgets else view, self.plan.datasets[name]
        return Work(count, self._once((name, view, kinds, size), lambda: self._picture(dataset, view, kinds, size)))

    def _picture(self, dataset: Dataset, view: str, kinds: tuple[Patches | None, ...], most: int) -> float:
        """Seconds that a picture takes among `most`, or among fewer if these last long enough."""
        for size in SIZES[: SIZES.index(most) + 1]:
            pictures = _pictures(dataset, view, size)
            seconds = self._encode(dataset, view, kinds, pictures)
            if seconds >= SHORTEST_IMAGES:
                return seconds / size
        rounds = math.ceil(SHORTEST_IMAGES / max(seconds, TINY))
        return sum(self._encode(dataset, view, kinds, pictures) for _ in range(rounds)) / (rounds * size)

    def _encode(
        self, dataset: Dataset, view: str, kinds: tuple[Patches | None, ...], pictures: Sequence[ImageView]
    ) -> float:
        """Seconds that some pictures take."""
        store = CountingStore(self.store)
        if view == "seen":
            store.encode(dataset, pictures, kinds[:1])
        started = self._clock()
        store.encode(dataset, pictures, kinds)
        return self._clock() - started

    def _picture_bytes(self, name: str) -> int:
        """Mean size in memory of a decoded training picture."""
        pictures = [open_image(item.path) for item in self.plan.datasets[name].train[: SIZES[0]]]
        return sum(3 * picture.width * picture.height for picture in pictures) // len(pictures)

    def _once(self, key: tuple, measure: Callable[[], Any]) -> Any:
        """What was measured under a key, or is measured now."""
        if key not in self._known:
            self._known[key] = measure()
        return self._known[key]

    def _clock(self) -> float:
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize(self.accelerator.device)
        return time.perf_counter()


def _pictures(dataset: Dataset, view: str, count: int) -> list[ImageView]:
    """So many pictures of a dataset, of several epochs where it holds fewer."""
    items = dataset.test if view == "test" else dataset.train
    return [(items[i % len(items)], TEST_VIEW if view == "test" else View(0, i // len(items))) for i in range(count)]


def _ask(features: Iterator[object]) -> None:
    """Ask a store for all of this."""
    deque(features, maxlen=0)


def peak_bytes_of(device: str) -> int:
    """The most that this process held so far: on a GPU there, else in memory."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
