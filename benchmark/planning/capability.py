"""What a method can do, as configured: read from an instance of it, before anything is computed."""

from collections.abc import Iterable, Sequence

from benchmark.clip.backbone import Clip
from benchmark.common.config import RunSpec
from benchmark.common.files import shown
from benchmark.data.catalog import Dataset
from benchmark.errors import ConfigError, MethodError
from benchmark.method import Method, among, cleaned
from benchmark.plugins.discovery import source_of
from benchmark.plugins.factory import create_method
from benchmark.plugins.importer import attribute_errors_to
from benchmark.protocols.protocol import Scored


def longest_name(clip: Clip, dataset: Dataset) -> str:
    """The class name of the most tokens: where it fits into the text tower, the others do."""
    names = list(dataset.class_names)
    lengths = [len(ids) for ids in clip.tokenizer(list(cleaned(names, "{}")), verbose=False)["input_ids"]]
    return names[lengths.index(max(lengths))]


def probe(clip: Clip, spec: RunSpec, prompts: Sequence[tuple[str, str]]) -> Method:
    """An instance of a run's method, after it has taken every template it will meet, each with a class name.

    Args:
        prompts: (template, class name), those of the dataset trained on first.
    Raises:
        ConfigError: the options or a template do not suit it.
        ShapeError: a prompt is too long for the text tower.
        MethodError: its own code failed, or it learns and its recipe does not train it, or the reverse.
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
    recipe = shown(source_of(spec.method).recipe)
    if method.learnable() and spec.training is None and not spec.loaded:
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
