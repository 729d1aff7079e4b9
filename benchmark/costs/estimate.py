"""Estimate what runs compute: steps, image encodings, text tokens, floating-point operations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmark.clip.backbone import Clip, Patches, dtype_of
from benchmark.clip.config import ClipConfig
from benchmark.clip.trie import TextPlan
from benchmark.costs.operations import Tower, image_layers, image_operations, rows_operations, text_layers
from benchmark.costs.passes import image_passes, text_pass
from benchmark.features.encoder import STORE_BYTES
from benchmark.method import Method
from benchmark.planning.planned_run import PlannedRun
from benchmark.prompts import PromptMethod
from benchmark.protocols.registry import PROTOCOLS


@dataclass(frozen=True)
class Cost:
    """What a run computes if no features are cached.

    Attributes:
        steps: optimizer steps.
        views: train views encoded, shared by the methods of a seed; not if a method reads the rows of a layer. Repeated
            views count once, but patch features that do not fit into memory count in every epoch.
        tests: test images encoded, shared by all methods and seeds; with the same exception.
        tokens: rows of prompts in forward passes of the text tower, without padding, counted at the last layer if
            their number changes on the way; None without a tokenizer.
        text_gflop, image_gflop: 10^9 floating-point operations of the towers, backward passes included.
    """

    steps: int = 0
    views: int = 0
    tests: int = 0
    tokens: int | None = 0
    text_gflop: float | None = 0.0
    image_gflop: float | None = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Cost(*(None if None in pair else sum(pair) for pair in pairs))


class Estimator:
    """Computes the costs of runs, once for all seeds of a method; `outlined` is what clip.backbone.outline returns."""

    def __init__(self, outlined: tuple[Clip, ClipConfig] | None, *, precision: str = "fp32"):
        self._bytes = dtype_of(precision).itemsize
        self._clip: Clip | None = None
        if outlined is not None:
            self._clip, config = outlined
            self._text, self._vision = Tower.text(config), Tower.vision(config)
            self._clip.encode_texts = self._note_texts
        self._read: list[TextPlan] = []  # hand-written prompts that a method encoded
        self._known: dict[tuple, tuple[Cost, Method | None]] = {}

    def _note_texts(self, texts: Sequence[str], *, unit_length: bool = True) -> Tensor:
        """In the place of Clip.encode_texts: note the plan of the texts; the features have no values."""
        self._read.append(self._clip.plan([row[1:] for row in self._clip.tokenize(texts)], 0))
        return torch.full((len(texts), self._clip.joint_width), self._clip.joint_width**-0.5)

    def cost(self, run: PlannedRun) -> Cost:
        """The cost of one run; all seeds of a (method, dataset) cost the same, unless one reuses a training."""
        return self._cost(run)[0]

    def method(self, run: PlannedRun) -> Method | None:
        """The method of a run, as configured, on the outline; None without one."""
        return self._cost(run)[1]

    def _cost(self, run: PlannedRun) -> tuple[Cost, Method | None]:
        """The cost of one run, and its method."""
        key = (run.alike, run.reuses_training)
        if key not in self._known:
            self._known[key] = self._compute(run)
        return self._known[key]

    def total(self, runs: Iterable[PlannedRun]) -> Cost:
        """The cost of several runs; image encodings that they share count once."""
        whole, views, tests = Cost(), {}, {}
        for run in runs:
            (cost, method), spec = self._cost(run), run.spec
            if method is not None and isinstance(method.needs_patches, int):  # it shares no features
                whole += cost
                continue
            trains_on = PROTOCOLS[spec.protocol].trains_on
            whole += Cost(steps=cost.steps, tokens=cost.tokens, text_gflop=cost.text_gflop)
            sample = (spec.dataset, trains_on, spec.seed, spec.shots)
            views[sample] = max(views.get(sample, 0), cost.views)
            for scored, _ in run.scored_sets():  # features of a half and of the whole are stored separately
                tests[scored.dataset.name, trains_on, scored.name] = len(scored.dataset.test)
        return whole + self._encoded(sum(views.values()), sum(tests.values()))

    def _compute(self, run: PlannedRun) -> tuple[Cost, Method | None]:
        training_set, sets = run.training_set(), run.scored_sets()
        steps, images, spec = run.steps(), len(training_set.train), run.spec
        epochs = 0 if run.reuses_training else run.sample_views
        if run.trains:
            epochs = max(epochs, spec.training.epochs)  # a sample read before is made of views of the first epochs
        once = min(epochs, spec.training.views) if spec.training and spec.training.repeats_views else epochs
        views, tests = once * images, sum(len(scored.dataset.test) for scored, _ in sets)
        if self._clip is None:
            return Cost(steps=steps, tokens=None, text_gflop=None) + self._encoded(views, tests), None
        self._read.clear()
        method = run.make_method(self._clip, training_set)
        conditional = getattr(method, "conditional", False)
        kept = self._keeps(once, images, method.needs_patches)
        cost = Cost(steps=steps) + self._encoded(views if kept else epochs * images, tests, method.needs_patches)
        if method.needs_pooled and isinstance(method.needs_patches, int):
            cost += replace(self._encoded(views, 0), views=0)  # the pooled features of the same views
        if run.trains:
            batch = min(spec.training.batch_size, images)
            backward = 2 if method.edits_gradients else 1  # ProGrad differentiates two losses
            cost += self._prompts(method, steps * batch if conditional else steps, backward)
            cost += self._rows(method, steps * batch, training=True)
        for scored, template in sets:
            method.set_classes(scored.dataset.class_names, template)
            cost += self._prompts(method, len(scored.dataset.test) if conditional else 1)
            cost += self._rows(method, len(scored.dataset.test), training=False)
        for plan in self._read:
            counts, rows = text_layers(self._text, plan)
            cost += Cost(tokens=rows, text_gflop=1e-9 * sum(counts))
        return cost, method

    def _keeps(self, views: int, images: int, patches: Patches | None) -> bool:
        """Whether a process alone keeps the features of so many views of its images; pooled ones are also on disk."""
        if patches is None:
            return True
        width = self._vision.joint if patches == "projected" else self._vision.width
        rows = max(views, 2) * images * (self._clip.patch_count + 1)  # of one epoch: at most half of the memory
        return self._bytes * width * rows <= STORE_BYTES

    def _prompts(self, method: Method, contexts: int, backward: int = 0) -> Cost:
        """The class prompts with `contexts` contexts, and so many backward passes of each; none without a context."""
        if not isinstance(method, PromptMethod):
            return Cost()
        found = text_pass(method, self._text.layers)
        counts, rows = text_layers(self._text, method.text_plan, found.added, getattr(method, "apart_from", None))
        each = sum(counts) + backward * sum(counts[found.learned :])
        return Cost(tokens=contexts * rows, text_gflop=1e-9 * contexts * each)

    def _rows(self, method: Method, images: int, *, training: bool) -> Cost:
        """The layers of the image tower that a method sends images through."""
        each = 0
        for found in image_passes(method, training=training):
            counts = image_layers(self._vision, found.first, found.added, found.read)
            each += sum(counts) + (sum(counts[found.learned - found.first :]) if training else 0)
        return Cost(image_gflop=1e-9 * images * each)

    def _encoded(self, views: int, tests: int, patches: Patches | None = None) -> Cost:
        """Images encoded to the features that a method reads."""
        if self._clip is None:
            return Cost(views=views, tests=tests, image_gflop=None)
        if isinstance(patches, int):
            each = rows_operations(self._vision, patches)
        else:
            each = image_operations(self._vision, class_only=patches is None)
        return Cost(views=views, tests=tests, image_gflop=1e-9 * (views + tests) * each)
