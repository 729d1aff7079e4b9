"""What a plan reads before anything is computed: the backbone's folder, all datasets and their pictures' headers."""

from collections.abc import Mapping
from pathlib import Path

from benchmark.clip.locate import locate_checkpoint
from benchmark.data.catalog import Dataset, load_dataset
from benchmark.data.custom.dataset import load_own
from benchmark.data.synthetic.suite import CHECKPOINT, DRAWN, materialise, suite_version
from benchmark.errors import ConfigError, DataError
from benchmark.features.cache import cache_folder
from benchmark.planning.request import Request, names_of

EMBEDDED = "embedded"  # the backbone that lies in this repository


def backbone_folder(name: str, *, fetch: bool) -> Path | None:
    """Where a backbone lies: the embedded one here, any other as locate_checkpoint says."""
    if name == EMBEDDED:
        return CHECKPOINT
    folder = locate_checkpoint(name, fetch=fetch)
    if folder is not None:
        from benchmark.clip.weights import check_loads  # here: transformers takes seconds to import

        check_loads(folder, name)
    return folder


def load_datasets(request: Request, trainings: Mapping[str, Mapping[str, tuple[str, ...]]]) -> dict[str, Dataset]:
    """All datasets, checked file by file before anything is computed; the problems of all in one error."""
    names = names_of(trainings)
    embedded = [name for name in names if name in DRAWN]
    cache = cache_folder() / f"synthetic-{suite_version()}"
    if embedded:
        materialise(cache, embedded)
    datasets, problems = {}, []
    for name in names:
        try:
            if name in request.own:
                datasets[name] = load_own(name, request.own[name], check_files=True)
            else:
                root = cache if name in DRAWN else request.data
                datasets[name] = load_dataset(name, root, check_files=name not in DRAWN)
        except (ConfigError, DataError) as error:
            problems.append(f"{error} {_way_without(name, trainings)}".rstrip())
    if problems:
        raise DataError("\n".join(problems))
    return datasets


def _way_without(name: str, trainings: Mapping[str, Mapping[str, tuple[str, ...]]]) -> str:
    """How to run without a dataset that cannot be read; nothing where it is all there is."""
    targets = {target for of in trainings.values() for pair in of.values() for target in pair}
    one_of_several = {source for of in trainings.values() if len(of) > 1 for source in of}
    ways = ["train on another with --source NAME"] if name in trainings.get("cross_dataset", {}) else []
    ways += ["leave it out with --datasets"] if name in targets | one_of_several else []
    return f"Or {', and '.join(ways)}." if ways else ""
