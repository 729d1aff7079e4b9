"""`run`: a grid from Python, for notebooks and scripts; the same plan, runs and records as `run_all.py`."""

import argparse
import json
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm
from transformers.utils import logging

from benchmark.cli.arguments import make_request
from benchmark.common.files import REPOSITORY
from benchmark.errors import ConfigError, RunsFailedError
from benchmark.planning.plan import make_plan
from benchmark.records import store
from benchmark.records.trackers import Trackers
from benchmark.running.device import settings_restored
from benchmark.running.execute import execute, outcome_of
from benchmark.training.checkpoints import MINUTES
from tables.aggregate import to_frame

Names = str | Sequence[str]
Numbers = int | Sequence[int]
AnyPath = str | PathLike

_one_at_a_time = threading.RLock()  # torch's settings, Accelerate's state and the locks of runs are a whole process's


def run(
    protocol: str = "base2new",
    methods: Names | None = None,
    datasets: Names | None = None,
    *,
    seeds: Numbers | None = None,
    shots: Numbers | None = None,
    source: str | None = None,
    suite: AnyPath | None = None,
    data: AnyPath | None = None,
    dataset: Mapping[str, AnyPath] | None = None,
    plugins: AnyPath | Sequence[AnyPath] = (),
    settings: Mapping[str, object] | None = None,
    load: Mapping[str, AnyPath] | None = None,
    backbone: str | None = None,
    device: str | None = None,
    precision: str = "fp32",
    processes: int | None = None,
    threads: int | None = None,
    checkpoint_minutes: float = MINUTES,
    track: Names = (),
    cache: bool = True,
    lockstep: bool = True,
    graphs: bool = True,
    out: AnyPath = REPOSITORY / "results",
) -> pd.DataFrame:
    """Do what is missing of a grid and return all of its accuracies.

    The arguments are the options of `python run_all.py --help`, where their defaults are told; messages name them as
    there. What is recorded already is not run again, so a second call returns at once. What the plan notes are warnings
    of Python; progress goes to standard error. No table is rendered: `python -m tables` does, from the same records.

    Args:
        methods: names, or one; `datasets`, `seeds`, `shots`, `plugins` and `track` alike.
        dataset: datasets of your own, name to path.
        settings: changes of recipes, as {"coop.epochs": 5}.
        load: method to the file of its learned values.
    Returns:
        One row a run and class set: protocol, method, dataset, shots, seed, class_set ("base" and "new", "all", or the
        name of the dataset scored), accuracy in percent, correct, total, and the path of the record below `out`.
    Raises:
        ConfigError: all that is wrong with the request, in one message; nothing ran.
        DataError: a dataset is missing or damaged; nothing ran.
        RecordError: records cannot be written.
        RunsFailedError: runs failed, or a tracker; the others are recorded, and in its `frame`.
    """
    options = argparse.Namespace(
        protocol=protocol,
        suite=_word(suite),
        methods=_some("methods", methods),
        datasets=_some("datasets", datasets),
        source=_word(source),
        seeds=_some("seeds", seeds),
        shots=_some("shots", shots),
        backbone=_word(backbone),
        precision=precision,
        device=_word(device),
        processes=processes,
        threads=threads,
        checkpoint_minutes=checkpoint_minutes,
        data=None if data is None else Path(data),
        own=[f"{name}={path}" for name, path in _pairs("dataset", dataset)],
        plugin=[Path(path) for path in _words(plugins)],
        settings=[f"{key}={json.dumps(value, default=_plain)}" for key, value in _pairs("settings", settings)],
        load=[f"{method}={path}" for method, path in _pairs("load", load)],
        track=_words(track),
        no_cache=not cache,
        no_lockstep=not lockstep,
        no_graphs=not graphs,
        out=Path(out),
    )
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError(
            "A launcher started this script in several processes, and `run` does not share a grid among them: start it "
            "with python alone, or the grid with `accelerate launch run_all.py` (docs/cluster.md)."
        )
    with _one_at_a_time, settings_restored(), _without_bars():
        request = make_request(options)
        trackers = Trackers(request.track, request.out, say=lambda text: tqdm.write(text, file=sys.stderr))
        plan = make_plan(request, fetch=True)
        for note in (*plan.warnings, *plan.refused):
            warnings.warn(note, stacklevel=2)
        if plan.missing:
            store.check_writable(request.out)
            execute(plan, None, processes=processes, on_record=trackers.log)
        outcome = outcome_of(plan)
        untold = trackers.finish(outcome.records)
    problems = [outcome.failed] if outcome.failed else []
    if outcome.elsewhere:
        count = f"{outcome.elsewhere} of {len(plan.specs)}"
        problems.append(f"{count} runs are under way in another process; call again when it is through.")
    problems += [f"left out: {problem}" for problem in plan.broken.values()] + untold
    frame = to_frame(outcome.records)
    if problems:
        raise RunsFailedError("\n".join(problems), frame)
    return frame


@contextmanager
def _without_bars() -> Iterator[None]:
    """Transformers shows one for each checkpoint that it reads; the caller's own stay."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _words(given: object) -> list[str]:
    """One of something, several of it or none, in the words of the command line."""
    if given is None:
        return []
    return [str(each) for each in (given if pd.api.types.is_list_like(given) else [given])]


def _some(argument: str, given: object) -> list[str]:
    """As _words, but an empty list is a mistake: none at all would mean every one."""
    words = _words(given)
    if given is not None and not words:
        raise ConfigError(f"{argument}: is empty; name at least one, or leave it out for the suite's.")
    return words


def _word(given: object) -> str | None:
    return None if given is None else str(given)


def _pairs(argument: str, given: object) -> Iterable[tuple[str, object]]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"{argument}={given!r}: a dict is needed; docs/from-python.md shows one.")
    return (given or {}).items()


def _plain(value: object) -> object:
    """A value that JSON does not know as one that it does; the recipe says whether it will do."""
    return value.item() if isinstance(value, np.generic) else str(value)
