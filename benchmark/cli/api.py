"""Run a grid from Python, for notebooks and scripts: the same plan, runs and records as run_all.py."""

import argparse
import json
import os
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.cli.arguments import check_out, make_request
from benchmark.cli.grid import do_missing
from benchmark.common.command import check_python
from benchmark.common.constants import CHECKPOINT_MINUTES
from benchmark.common.files import REPOSITORY, expand
from benchmark.errors import ConfigError, RunsFailedError
from benchmark.planning.plan import make_plan
from benchmark.planning.request import Request
from benchmark.running.accelerator import settings_restored
from benchmark.running.execute import outcome_of
from tables.aggregate import to_frame

Names = str | Sequence[str]
Numbers = int | Sequence[int]
AnyPath = str | PathLike

# The settings of torch, the state of Accelerate and the locks of runs belong to the whole process.
_one_at_a_time = threading.RLock()


def run(
    protocol: str = "base2new",
    methods: Names | None = None,
    datasets: Names | None = None,
    *,
    seeds: Numbers | None = None,
    shots: Numbers | None = None,
    views: int | None = None,
    source: str | None = None,
    suite: AnyPath | None = None,
    data: AnyPath | None = None,
    dataset: Mapping[str, AnyPath] | None = None,
    plugins: AnyPath | Sequence[AnyPath] = (),
    settings: Mapping[str, object] | None = None,
    load: Mapping[str, AnyPath] | None = None,
    backbone: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    processes: int | None = None,
    threads: int | None = None,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    track: Names = (),
    cache: bool = True,
    lockstep: bool = True,
    graphs: bool = True,
    out: AnyPath = REPOSITORY / "results",
) -> pd.DataFrame:
    """Run what is missing of a grid and return all of its accuracies; recorded runs are not repeated.

    The arguments are the options of docs/command-line.md. The notes of the plan are warnings, progress goes to standard
    error, and `python -m tables` makes tables of the records.

    Args:
        methods: one name or several; `datasets`, `seeds`, `shots`, `plugins` and `track` alike.
        views: random views of each training image, taken in turn by the epochs; None: a new one each epoch.
        dataset: custom datasets, name to path.
        settings: changes of recipes, such as {"coop.epochs": 5}.
        load: method to the file of its learned values.
    Returns:
        A row per run and class set, with the columns of tables.aggregate.COLUMNS (docs/from-python.md).
    Raises:
        ConfigError, DataError: all problems of the request or of the datasets; nothing ran.
        RecordError: records cannot be written.
        RunsFailedError: runs or a tracker failed; the others are recorded, and in its `frame`.
    """
    return _run(_options(locals()), processes)


def _options(given: Mapping[str, object]) -> argparse.Namespace:
    """The arguments of `run` as the command line would have them."""
    data = None if given["data"] is None else _path("data", given["data"])
    paths = {"data": data, "out": _path("out", given["out"])}
    words = {name: _word(name, given[name]) for name in ("suite", "source", "backbone", "device", "precision")}
    for name in ("cache", "lockstep", "graphs"):
        if not isinstance(given[name], bool):
            raise ConfigError(f"{name}={given[name]!r}: True or False is needed.")
    lists = {name: _some(name, given[name]) for name in ("methods", "datasets", "seeds", "shots")}
    pairs = {
        "custom": [f"{name}={path}" for name, path in _pairs("dataset", given["dataset"])],
        "load": [f"{method}={path}" for method, path in _pairs("load", given["load"])],
        "settings": [f"{k}={json.dumps(value, default=_plain)}" for k, value in _pairs("settings", given["settings"])],
    }
    several = {"plugins": [_path("plugins", path) for path in _words("plugins", given["plugins"])]}
    several["track"] = _words("track", given["track"])
    return argparse.Namespace(**given | paths | words | lists | pairs | several)


def _run(options: argparse.Namespace, processes: int | None) -> pd.DataFrame:
    """One call at a time."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError(
            "A launcher started this script in several processes, and `run` does not share a grid among them: start it "
            "with python alone, or the grid with `accelerate launch run_all.py` (docs/cluster.md)."
        )
    check_python()
    with _one_at_a_time, settings_restored():
        return _run_request(make_request(options), processes)


def _run_request(request: Request, processes: int | None) -> pd.DataFrame:
    check_out(request.out)
    plan = make_plan(request, fetch=True)
    for note in (*plan.warnings, *plan.refused):
        warnings.warn(note, stacklevel=4)  # the caller of run
    trackers = do_missing(plan, None, processes=processes)
    outcome = outcome_of(plan)
    not_logged = trackers.finish(outcome.records)
    problems = [outcome.failed] if outcome.failed else []
    if outcome.elsewhere:
        count = f"{outcome.elsewhere} of {len(plan.specs)}"
        problems.append(f"{count} runs are under way in another process; call again when it has finished.")
    problems += [f"left out: {problem}" for problem in plan.broken.values()] + not_logged
    frame = to_frame(outcome.records)
    if problems:
        raise RunsFailedError("\n".join(problems), frame)
    return frame


def _words(argument: str, given: object) -> list[str]:
    """One value, several or none, as words of the command line."""
    if given is None:
        return []
    return [str(_word(argument, each)) for each in (given if pd.api.types.is_list_like(given) else [given])]


def _some(argument: str, given: object) -> list[str]:
    """As _words, but refuse an empty list or word, which would mean all."""
    words = _words(argument, given)
    if given is not None and not (words and all(word.strip(" ,") for word in words)):
        raise ConfigError(f"{argument}: is empty; name at least one, or leave it out for the suite's.")
    return words


def _word(argument: str, given: object) -> str | None:
    if given is not None and not str(given).strip():
        raise ConfigError(f"{argument}={given!r}: is empty; give a value, or leave it out.")
    return None if given is None else str(given)


def _path(argument: str, given: object) -> Path:
    if not isinstance(given, AnyPath):
        raise ConfigError(f"{argument}={given!r}: a path is needed.")
    return expand(_word(argument, given))


def _pairs(argument: str, given: object) -> Iterable[tuple[str, object]]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"{argument}={given!r}: a dict is needed; docs/from-python.md shows one.")
    return (given or {}).items()


def _plain(value: object) -> object:
    """Convert a value for JSON; the recipe says whether it fits."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, AnyPath):
        return str(value)
    raise ConfigError(
        f"settings: {value!r} is a {type(value).__name__}; give text, a number, a list, True, False or None."
    )
