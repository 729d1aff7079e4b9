"""What a method can do, as configured: read from an instance of it, before anything is computed."""

from collections.abc import Iterable

from benchmark.clip.backbone import Clip
from benchmark.config import RunSpec
from benchmark.data.catalog import Dataset
from benchmark.errors import ConfigError, MethodError
from benchmark.loading import blamed
from benchmark.method import Method, among
from benchmark.protocols.protocol import Scored
from benchmark.registry import create_method
from benchmark.sources import source_of
from benchmark.strict_yaml import shown


def probe(clip: Clip, spec: RunSpec, templates: Iterable[str]) -> Method:
    """An instance of a run's method that has taken every template it will meet.

    Raises:
        ConfigError: the options or a template do not suit it.
        MethodError: its own code failed, or it learns and its recipe does not train it, or the reverse.
    """
    options = dict(spec.options)
    method = create_method(spec.method, clip=clip, class_names=("a", "b"), template=spec.template, config=options)
    with blamed(spec.method):
        for template in dict.fromkeys(templates):
            method.set_classes(("a", "b"), template)
    recipe = shown(source_of(spec.method).recipe)
    if method.learnable() and spec.training is None:
        raise MethodError(f"{recipe}: the method learns, but it says not how long. Give epochs and batch_size.")
    if spec.training is not None and not method.learnable():
        raise MethodError(
            f"{recipe}: it trains for {spec.training.epochs} epochs, but the method holds nothing to learn. Leave "
            "epochs and batch_size out, or make what it learns an nn.Parameter."
        )
    return method


def scores_strangers(training_set: Dataset, scored: Iterable[tuple[Scored, str]]) -> bool:
    """Whether some of these class sets hold a class that was not trained on."""
    try:
        for one, _ in scored:
            among(one.dataset.class_names, training_set.class_names)
    except ConfigError:
        return True
    return False
