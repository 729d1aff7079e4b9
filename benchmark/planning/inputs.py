"""Read what a plan needs: the folder of the backbone, all datasets and the headers of their images."""

from collections.abc import Mapping
from pathlib import Path

from benchmark.clip.locate import locate_checkpoint
from benchmark.common.files import cache_folder
from benchmark.data.catalog import Dataset, load_dataset
from benchmark.data.custom.dataset import load_custom
from benchmark.data.synthetic.names import CHECKPOINT, generated_names, suite_version
from benchmark.data.synthetic.suite import generate_datasets
from benchmark.errors import ConfigError, DataError
from benchmark.planning.request import Request, names_of

EMBEDDED = "embedded"  # the backbone in this repository


def backbone_folder(name: str, *, fetch: bool) -> Path | None:
    """The folder of the embedded backbone, or what locate_checkpoint finds for another one."""
    if name == EMBEDDED:
        return CHECKPOINT
    folder = locate_checkpoint(name, fetch=fetch)
    if folder is not None:
        from benchmark.clip.weights import check_loads  # here: transformers takes seconds to import

        check_loads(folder, name)
    return folder


def load_datasets(request: Request, trainings: Mapping[str, Mapping[str, tuple[str, ...]]]) -> dict[str, Dataset]:
    """Load all datasets and check their files; one error reports the problems of all."""
    names = names_of(trainings)
    embedded = [name for name in names if name in generated_names()]
    cache = cache_folder() / f"synthetic-{suite_version()}"
    if embedded:
        generate_datasets(cache, embedded)
    datasets, problems = {}, []
    for name in names:
        try:
            if name in request.custom:
                datasets[name] = load_custom(name, request.custom[name], check_files=True)
            else:
                root = cache if name in generated_names() else request.data
                datasets[name] = load_dataset(name, root, check_files=name not in generated_names())
        except (ConfigError, DataError) as error:
            problems.append(f"{error} {_way_without(name, trainings)}".rstrip())
    if problems:
        raise DataError("\n".join(problems))
    return datasets


def _way_without(name: str, trainings: Mapping[str, Mapping[str, tuple[str, ...]]]) -> str:
    """How to run without a dataset that cannot be read; empty if it is the only one."""
    targets = {target for of in trainings.values() for pair in of.values() for target in pair}
    one_of_several = {source for of in trainings.values() if len(of) > 1 for source in of}
    ways = ["train on another with --source NAME"] if name in trainings.get("cross_dataset", {}) else []
    ways += ["leave it out with --datasets"] if name in targets | one_of_several else []
    return f"Or {', and '.join(ways)}." if ways else ""
