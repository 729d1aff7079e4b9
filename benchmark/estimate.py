"""What the runs of a plan will compute: steps, image encodings, text tokens, floating-point operations."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass

from benchmark.clip.backbone import Clip, outline
from benchmark.config import RunSpec
from benchmark.cost import Tower, image_operations, text_operations
from benchmark.data.catalog import Dataset
from benchmark.fit import batches_per_epoch
from benchmark.method import Method
from benchmark.plan import PROTOCOLS, Plan
from benchmark.registry import create_method


@dataclass(frozen=True)
class Cost:
    """What a run computes when nothing of it is at hand yet.

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
        """Of one run; seeds of a (method, dataset) cost the same."""
        key = (spec.method, spec.dataset, spec.protocol, spec.shots, spec.options, spec.training)
        if key not in self._known:
            self._known[key] = self._work_out(spec)
        return self._known[key]

    def total(self, specs: Iterable[RunSpec]) -> Cost:
        """Of some runs, each image encoding that they share counted once."""
        whole, views, tests = Cost(), {}, {}
        for spec in specs:
            cost = self.cost(spec)
            whole += Cost(steps=cost.steps, tokens=cost.tokens, text_gflop=cost.text_gflop)
            shared = (spec.dataset, spec.seed, spec.shots, spec.protocol)
            views[shared] = max(views.get(shared, 0), cost.views)
            tests[spec.dataset] = max(tests.get(spec.dataset, 0), cost.tests)
        return whole + self._images(sum(views.values()), sum(tests.values()))

    def _work_out(self, spec: RunSpec) -> Cost:
        protocol, dataset = PROTOCOLS[spec.protocol], self.plan.datasets[spec.dataset]
        training_set = protocol.training_set(dataset, shots=spec.shots, seed=spec.seed)
        sets = [scored.dataset for scored in protocol.scored_sets(dataset)]
        steps = per_epoch = 0
        if spec.training is not None:
            per_epoch = batches_per_epoch(len(training_set.train), spec.training.batch_size)
            steps = spec.training.epochs * per_epoch
        views = spec.training.epochs * len(training_set.train) if spec.training else 0
        cost = Cost(steps=steps) + self._images(views, sum(len(scored.test) for scored in sets))
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
        if spec.training is not None:
            batch = min(spec.training.batch_size, len(training_set.train)) if conditional else 1
            backward = 2 if method.edits_gradients else 1  # ProGrad differentiates two losses
            cost += self._prompts(method, training_set, spec.template, steps * batch, 1 + backward)
        for scored in sets:
            method.set_classes(scored.class_names, spec.template)
            cost += self._prompts(method, scored, spec.template, len(scored.test) if conditional else 1, 1)
        return cost

    def _prompts(self, method: Method, dataset: Dataset, template: str, contexts: int, passes: int) -> Cost:
        """Class prompts behind so many contexts; a method without context vectors reads its template once."""
        plan = getattr(method, "text_plan", None)
        if plan is None:
            texts = [template.format(name.replace("_", " ")) for name in dataset.class_names]
            plan, contexts = self._clip.plan([row[1:] for row in self._clip.tokenize(texts)], 0), 1
        tokens = contexts * (1 + plan.n_ctx + plan.nodes)
        return Cost(tokens=tokens, text_gflop=1e-9 * contexts * passes * text_operations(self._text, plan))

    def _images(self, views: int, tests: int) -> Cost:
        gflop = None if self._clip is None else 1e-9 * (views + tests) * image_operations(self._vision)
        return Cost(views=views, tests=tests, image_gflop=gflop)
