"""What a method can do, as configured: read from an instance of it, before anything is computed."""

from collections.abc import Iterable

from benchmark.clip.backbone import Clip
from benchmark.config import RunSpec
from benchmark.data.catalog import Dataset
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.method import Method, among
from benchmark.protocols.protocol import Scored
from benchmark.registry import broken, create_method


def probe(clip: Clip, spec: RunSpec, templates: Iterable[str]) -> Method:
    """An instance of a run's method that has taken every template it will meet.

    Raises:
        ConfigError: the options or a template do not suit it.
        MethodError: its own code failed.
    """
    options = dict(spec.options)
    try:
        method = create_method(spec.method, clip=clip, class_names=("a", "b"), template=spec.template, config=options)
        for template in dict.fromkeys(templates):
            method.set_classes(("a", "b"), template)
    except BenchmarkError:
        raise
    except Exception as error:  # whatever a stranger's code raises
        raise broken(spec.method, error) from error
    return method


def scores_strangers(training_set: Dataset, scored: Iterable[tuple[Scored, str]]) -> bool:
    """Whether some of these class sets hold a class that was not trained on."""
    try:
        for one, _ in scored:
            among(one.dataset.class_names, training_set.class_names)
    except ConfigError:
        return True
    return False
