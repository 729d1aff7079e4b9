"""Estimate what runs compute: steps, image encodings, text tokens, floating-point operations."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from benchmark.clip.backbone import Clip, outline
from benchmark.costs.operations import Tower, image_operations, text_operations
from benchmark.data.catalog import Dataset
from benchmark.method import Method, fill_template
from benchmark.planning.planned_run import PlannedRun
from benchmark.protocols.registry import PROTOCOLS


@dataclass(frozen=True)
class Cost:
    """What a run computes if no features are cached.

    Attributes:
        steps: optimizer steps.
        views: train views encoded, shared by the methods of a seed.
        tests: test images encoded, shared by all methods and seeds.
        tokens: rows of prompts in forward passes of the text tower, without padding; None without a tokenizer.
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
    """Computes the costs of runs, once for all seeds of a method; `backbone` is the folder of a CLIP, or None."""

    def __init__(self, backbone: Path | None):
        self._clip: Clip | None = None
        if backbone is not None:
            self._clip, config = outline(backbone)
            self._text, self._vision = Tower.text(config), Tower.vision(config)
        self._known: dict[tuple, Cost] = {}

    def cost(self, run: PlannedRun) -> Cost:
        """The cost of one run; all seeds of a (method, dataset) cost the same, unless one reuses a training."""
        key = (run.spec.but_seed, run.reuses_training)
        if key not in self._known:
            self._known[key] = self._compute(run)
        return self._known[key]

    def total(self, runs: Iterable[PlannedRun]) -> Cost:
        """The cost of several runs; image encodings that they share count once."""
        whole, views, tests = Cost(), {}, {}
        for run in runs:
            cost, spec = self.cost(run), run.spec
            trains_on = PROTOCOLS[spec.protocol].trains_on
            whole += Cost(steps=cost.steps, tokens=cost.tokens, text_gflop=cost.text_gflop)
            sample = (spec.dataset, trains_on, spec.seed, spec.shots)
            views[sample] = max(views.get(sample, 0), cost.views)
            for scored, _ in run.scored_sets():  # features of a half and of the whole are stored separately
                tests[scored.dataset.name, trains_on, scored.name] = len(scored.dataset.test)
        return whole + self._images(sum(views.values()), sum(tests.values()))

    def _compute(self, run: PlannedRun) -> Cost:
        training_set, sets = run.training_set(), run.scored_sets()
        steps, images, spec = run.steps(), len(training_set.train), run.spec
        epochs = 0 if run.reuses_training else run.sample_views
        if run.trains:
            epochs = max(epochs, spec.training.epochs)  # a sample read before is made of views of the first epochs
        cost = Cost(steps=steps) + self._images(epochs * images, sum(len(scored.dataset.test) for scored, _ in sets))
        if self._clip is None:
            return cost + Cost(tokens=None, text_gflop=None)
        method = run.make_method(self._clip, training_set)
        conditional = getattr(method, "conditional", False)
        if run.trains:
            batch = min(spec.training.batch_size, images) if conditional else 1
            backward = 2 if method.edits_gradients else 1  # ProGrad differentiates two losses
            cost += self._prompts(method, training_set, spec.template, steps * batch, 1 + backward)
        for scored, template in sets:
            method.set_classes(scored.dataset.class_names, template)
            contexts = len(scored.dataset.test) if conditional else 1
            cost += self._prompts(method, scored.dataset, template, contexts, 1)
        return cost

    def _prompts(self, method: Method, dataset: Dataset, template: str, contexts: int, passes: int) -> Cost:
        """The class prompts with `contexts` contexts; a method without context vectors reads its templates once."""
        plan = getattr(method, "text_plan", None)
        if plan is None:
            templates = getattr(method.options, "templates", None) or (template,)
            return sum((self._read_once(dataset, one) for one in templates), Cost())
        tokens = contexts * (1 + plan.n_ctx + plan.nodes)
        return Cost(tokens=tokens, text_gflop=1e-9 * contexts * passes * text_operations(self._text, plan))

    def _read_once(self, dataset: Dataset, template: str) -> Cost:
        """The prompts of all classes in a template."""
        texts = fill_template(dataset.class_names, template)
        plan = self._clip.plan([row[1:] for row in self._clip.tokenize(texts)], 0)
        return Cost(tokens=1 + plan.nodes, text_gflop=1e-9 * text_operations(self._text, plan))

    def _images(self, views: int, tests: int) -> Cost:
        gflop = None if self._clip is None else 1e-9 * (views + tests) * image_operations(self._vision, class_only=True)
        return Cost(views=views, tests=tests, image_gflop=gflop)
