"""Define cross-dataset: train on all classes of a source, score the source and every other dataset.

CoPL trains on Caltech101, CoCoOp on ImageNet (Zhou et al., CVPR 2022, arXiv 2203.05557).
"""

from benchmark.errors import ConfigError
from benchmark.protocols.protocol import Choice, Protocol, by_dataset, sample_of_all_classes


def trainings(choice: Choice) -> dict[str, tuple[str, ...]]:
    """Return the source, from --source or the suite, and all other datasets as its targets.

    Raises:
        ConfigError: there is no source, no target, or the suite's source is not available.
    """
    source = choice.source or choice.suite.source
    if not source:
        raise ConfigError(f"cross_dataset: suite '{choice.suite.name}' has no 'source'; give --source NAME.")
    if choice.source is None and source in choice.missing_datasets:
        raise ConfigError(
            f"cross_dataset: the source of suite '{choice.suite.name}' is '{source}', which is not available. "
            f"Give --data FOLDER, or train on another with --source NAME: {', '.join(choice.names)}."
        )
    targets = tuple(name for name in choice.names if name != source)
    if not targets:
        raise ConfigError(
            f"cross_dataset: the source '{source}' is also the only target. "
            "Name another with --source, or more datasets with --datasets."
        )
    return {source: targets}


PROTOCOL = Protocol(
    name="cross_dataset",
    title="Cross-dataset",
    trainings=trainings,
    training_set=sample_of_all_classes,
    scored_sets=by_dataset,
    takes_source=True,
)
