"""What the runs of a plan will compute: steps, image encodings, text tokens, floating-point operations."""

import dataclasses
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from benchmark.clip.backbone import Clip, outline
from benchmark.common.config import RunSpec
from benchmark.costs.operations import Tower, image_operations, text_operations
from benchmark.data.catalog import Dataset
from benchmark.method import Method, fill_template
from benchmark.planning.plan import Plan
from benchmark.plugins.factory import create_method
from benchmark.protocols.registry import PROTOCOLS
from benchmark.training.schedule import batches_per_epoch


@dataclass(frozen=True)
class Cost:
    """What a run computes when no features are at hand yet.

    Attributes:
        steps: optimiser steps.
        views: train views encoded, shared by the methods of a seed.
        tests: test images encoded, shared by all methods and seeds.
        tokens: rows of prompts pushed through the text tower, forward, padding left out; None without a tokenizer.
        text_gflop, image_gflop: 10^9 floating-point operations of the towers, backward passes included.
    """

    steps: int = 0
    views: int = 0
    tests: int = 0
    tokens: int | None = 0
    text_gflop: float | None = 0.0
    image_gflop: float | None = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Cost(*(None if None in pair else sum(pair) for pair in pairs))


class Estimator:
    """Costs of runs of a plan; what runs of several seeds have in common is worked out once."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self._clip: Clip | None = None
        if plan.checkpoint is not None:
            self._clip, config = outline(plan.checkpoint)
            self._text, self._vision = Tower.text(config), Tower.vision(config)
        self._known: dict[tuple, Cost] = {}

    def cost(self, spec: RunSpec) -> Cost:
        """Of one run; seeds of a (method, dataset) cost the same, but for a training that is another run's."""
        key = (dataclasses.replace(spec, seed=0), spec in self.plan.taken)
        if key not in self._known:
            self._known[key] = self._work_out(spec)
        return self._known[key]

    def total(self, specs: Iterable[RunSpec]) -> Cost:
        """Of some runs, each image encoding that they share counted once."""
        whole, views, tests = Cost(), {}, {}
        for spec in specs:
            cost, trains_on = self.cost(spec), PROTOCOLS[spec.protocol].trains_on
            whole += Cost(steps=cost.steps, tokens=cost.tokens, text_gflop=cost.text_gflop)
            sample = (spec.dataset, trains_on, spec.seed, spec.shots)
            views[sample] = max(views.get(sample, 0), cost.views)
            for scored, _ in self.plan.scored_sets(spec):  # a half is kept apart from the whole
                tests[scored.dataset.name, trains_on, scored.name] = len(scored.dataset.test)
        return whole + self._images(sum(views.values()), sum(tests.values()))

    def _work_out(self, spec: RunSpec) -> Cost:
        training_set, sets = self.plan.training_set(spec), self.plan.scored_sets(spec)
        taken, images = spec in self.plan.taken, len(training_set.train)
        training = None if taken else spec.training
        steps, epochs = 0, 0 if taken else self.plan.sample_views.get(spec, 0)
        if training is not None:
            steps = training.epochs * batches_per_epoch(images, training.batch_size)
            epochs = max(epochs, training.epochs)  # what is read before the training are views of its first epochs
        cost = Cost(steps=steps) + self._images(epochs * images, sum(len(scored.dataset.test) for scored, _ in sets))
        if self._clip is None:
            return cost + Cost(tokens=None, text_gflop=None)
        method = create_method(
            spec.method,
            clip=self._clip,
            class_names=training_set.class_names,
            template=spec.template,
            config=dict(spec.options),
        )
        conditional = getattr(method, "conditional", False)
        if training is not None:
            batch = min(training.batch_size, images) if conditional else 1
            backward = 2 if method.edits_gradients else 1  # ProGrad differentiates two losses
            cost += self._prompts(method, training_set, spec.template, steps * batch, 1 + backward)
        for scored, template in sets:
            method.set_classes(scored.dataset.class_names, template)
            contexts = len(scored.dataset.test) if conditional else 1
            cost += self._prompts(method, scored.dataset, template, contexts, 1)
        return cost

    def _prompts(self, method: Method, dataset: Dataset, template: str, contexts: int, passes: int) -> Cost:
        """Class prompts behind so many contexts; a method without context vectors reads its templates once."""
        plan = getattr(method, "text_plan", None)
        if plan is None:
            templates = getattr(method.options, "templates", None) or (template,)
            return sum((self._read_once(dataset, one) for one in templates), Cost())
        tokens = contexts * (1 + plan.n_ctx + plan.nodes)
        return Cost(tokens=tokens, text_gflop=1e-9 * contexts * passes * text_operations(self._text, plan))

    def _read_once(self, dataset: Dataset, template: str) -> Cost:
        """Every class in a template."""
        texts = fill_template(dataset.class_names, template)
        plan = self._clip.plan([row[1:] for row in self._clip.tokenize(texts)], 0)
        return Cost(tokens=1 + plan.nodes, text_gflop=1e-9 * text_operations(self._text, plan))

    def _images(self, views: int, tests: int) -> Cost:
        gflop = None if self._clip is None else 1e-9 * (views + tests) * image_operations(self._vision)
        return Cost(views=views, tests=tests, image_gflop=gflop)
