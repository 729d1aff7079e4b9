"""Check what a method can do, as configured, on an instance of it, before anything is computed."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.clip.backbone import Clip, outline
from benchmark.common.config import RunSpec
from benchmark.common.files import shown
from benchmark.data.catalog import Dataset
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import ConfigError, MethodError, ShapeError
from benchmark.method import Method, class_indices, clean_class_names
from benchmark.planning.planned_run import PlannedRun
from benchmark.plugins.discovery import source_of
from benchmark.plugins.factory import create_method
from benchmark.plugins.importer import attribute_errors_to
from benchmark.towers import TowerMethod

MOST_LAYERS = 100  # of towers that are not known; no CLIP has as many


class Prober:
    """Makes an instance of each configured method, on an outline of the backbone, which loads at once.

    Args:
        folder: of the backbone; None if it is not downloaded, then the embedded one serves and no name is too long.
    Attributes:
        broken: methods whose code or recipe cannot be used, each with its error.
        problems: other errors, of options, templates and names.
    """

    def __init__(self, folder: Path | None):
        self._clip, self._knows_lengths = outline(folder or CHECKPOINT)[0], folder is not None
        if folder is None:
            self._clip.text_layers = self._clip.vision_layers = MOST_LAYERS
        self._longest: dict[str, str] = {}
        self._known: dict[tuple, Method | None] = {}
        self.broken: dict[str, str] = {}
        self.problems: list[str] = []

    def probe(self, run: PlannedRun) -> Method | None:
        """An instance of the method of a run; None if it cannot be made."""
        spec = run.spec
        prompts = tuple((spec.targets.get(d.name, spec.template), self._longest_name(d)) for d in run.task.datasets)
        key = (spec.method, spec.options, prompts)
        if key not in self._known:
            self._known[key] = None
            try:
                self._known[key] = probe(self._clip, spec, prompts)
            except MethodError as error:
                self.broken[spec.method] = str(error)
            except ShapeError as error:
                self.problems.append(f"{spec.method} on {spec.dataset}: {error}")
            except ConfigError as error:
                self.problems.append(f"{spec.method}: {error}")
        return self._known[key]

    def _longest_name(self, dataset: Dataset) -> str:
        if dataset.name not in self._longest:
            self._longest[dataset.name] = longest_name(self._clip, dataset) if self._knows_lengths else "a"
        return self._longest[dataset.name]


def longest_name(clip: Clip, dataset: Dataset) -> str:
    """The class name with the most tokens: if it fits into the text tower, all names do."""
    names = list(dataset.class_names)
    lengths = [len(ids) for ids in clip.tokenizer(list(clean_class_names(names, "{}")), verbose=False)["input_ids"]]
    return names[lengths.index(max(lengths))]


def probe(clip: Clip, spec: RunSpec, prompts: Sequence[tuple[str, str]]) -> Method:
    """An instance of the method of a run, which has accepted every template of the run with a class name.

    Args:
        prompts: (template, class name) pairs, the dataset trained on first.
    Raises:
        ConfigError: the options or a template do not suit the method.
        ShapeError: a prompt is too long for the text tower.
        MethodError: its code failed, or it has something to learn and its recipe no training, or the reverse.
    """

    def make(template: str, name: str) -> Method:
        options = dict(spec.options)
        return create_method(spec.method, clip=clip, class_names=(name, "b"), template=template, config=options)

    method = make(*prompts[0])
    with attribute_errors_to(spec.method):
        for template, name in prompts[1:]:
            if method.transfers:
                method.set_classes((name, "b"), template)
            else:
                make(template, name)
        if isinstance(method, TowerMethod):
            _try_edits(method)
    recipe = shown(source_of(spec.method).recipe)
    if method.learnable() and spec.training is None and not spec.loaded:
        raise MethodError(f"{recipe}: the method learns, but it says not how long. Give epochs and batch_size.")
    if spec.training is not None and not method.learnable():
        raise MethodError(
            f"{recipe}: it trains for {spec.training.epochs} epochs, but the method holds nothing to learn. Leave "
            "epochs and batch_size out, or make what it learns an nn.Parameter."
        )
    return method


def _try_edits(method: TowerMethod) -> None:
    """Raise MethodError if an edit of a layer does not fit the towers: that is a fault of the method's code."""
    try:
        method.try_edits()
    except (ConfigError, ShapeError) as error:
        raise MethodError(str(error)) from error


def scores_untrained_classes(run: PlannedRun) -> bool:
    """Whether the run scores a class that it does not train on."""
    trained = run.training_set().class_names
    try:
        for scored, _ in run.scored_sets():
            class_indices(scored.dataset.class_names, trained)
    except ConfigError:
        return True
    return False
