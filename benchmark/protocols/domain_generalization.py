"""Domain generalization: train on all classes of one source, score shifted versions of it with the same learned values.

The source is ImageNet and the versions are ImageNetV2, -Sketch, -A and -R (Zhou et al., CVPR 2022, arXiv 2203.05557).
A version that holds fewer classes is scored among its own.
"""

from benchmark.errors import ConfigError
from benchmark.protocols.protocol import Choice, Protocol, by_dataset, sample_of_all_classes


def trainings(choice: Choice) -> dict[str, tuple[str, ...]]:
    """The suite's source and its shifted versions, those named where some are.

    Raises:
        ConfigError: the suite has none, or the datasets named hold none of them.
    """
    suite = choice.suite
    if not suite.shift_source:
        raise ConfigError(
            f"domain_generalization: suite '{suite.name}' has no 'shift_source' and 'shift_targets'; "
            "take --suite synthetic or paper, or write them into the suite's file."
        )
    targets = tuple(name for name in suite.shift_targets if choice.datasets is None or name in choice.datasets)
    if not targets:
        raise ConfigError(
            f"domain_generalization: none of the datasets named is a target of it; those of suite '{suite.name}' are "
            f"{', '.join(suite.shift_targets)}."
        )
    return {suite.shift_source: targets}


PROTOCOL = Protocol(
    name="domain_generalization",
    title="Domain generalization",
    trainings=trainings,
    training_set=sample_of_all_classes,
    scored_sets=by_dataset,
)
