"""Define domain generalization: train on all classes of a source, score shifted versions of it.

The source is ImageNet and the versions are ImageNetV2, -Sketch, -A and -R (Zhou et al., CVPR 2022, arXiv 2203.05557).
A version with fewer classes is scored among its own classes.
"""

from benchmark.errors import ConfigError
from benchmark.protocols.protocol import Choice, Protocol, by_dataset, sample_of_all_classes


def trainings(choice: Choice) -> dict[str, tuple[str, ...]]:
    """Return the suite's shift source and its shifted versions, only those named with --datasets if any are.

    Raises:
        ConfigError: the suite has none, or none of them is named.
    """
    suite = choice.suite
    if not suite.shift_source:
        raise ConfigError(
            f"domain_generalization: suite '{suite.name}' has no 'shift_source' and 'shift_targets'; "
            "use --suite synthetic or paper, or add them to the suite's file."
        )
    targets = tuple(name for name in suite.shift_targets if choice.datasets is None or name in choice.datasets)
    if not targets:
        raise ConfigError(
            "domain_generalization: none of the datasets named is a target of it; "
            f"its targets in suite '{suite.name}' are {', '.join(suite.shift_targets)}."
        )
    return {suite.shift_source: targets}


PROTOCOL = Protocol(
    name="domain_generalization",
    title="Domain generalization",
    trainings=trainings,
    training_set=sample_of_all_classes,
    scored_sets=by_dataset,
)
