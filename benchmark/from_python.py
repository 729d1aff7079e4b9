"""`run`: a grid from Python, for notebooks and scripts; the same plan, runs and records as `run_all.py`."""

import argparse
import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import pandas as pd
from tqdm import tqdm
from transformers.utils import logging

from benchmark import records
from benchmark.arguments import make_request
from benchmark.checkpoints import MINUTES
from benchmark.errors import RunsFailedError
from benchmark.execute import execute, outcome_of
from benchmark.plan import make_plan
from benchmark.tracking import Trackers
from tables.aggregate import REPOSITORY, to_frame

Names = str | Sequence[str]
Numbers = int | Sequence[int]
AnyPath = str | PathLike


def run(
    protocol: str = "base2new",
    methods: Names = (),
    datasets: Names = (),
    *,
    seeds: Numbers = (),
    shots: Numbers = (),
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
        RunsFailedError: runs failed, or a tracker; the others are recorded, and in its `frame`.
    """
    options = argparse.Namespace(
        protocol=protocol,
        suite=None if suite is None else str(suite),
        methods=_words(methods),
        datasets=_words(datasets),
        source=source,
        seeds=_words(seeds),
        shots=_words(shots),
        backbone=backbone,
        precision=precision,
        device=device,
        processes=processes,
        threads=threads,
        checkpoint_minutes=checkpoint_minutes,
        data=None if data is None else Path(data),
        own=[f"{name}={path}" for name, path in (dataset or {}).items()],
        plugin=[Path(path) for path in _words(plugins)],
        settings=[f"{target}={json.dumps(value)}" for target, value in (settings or {}).items()],
        load=[f"{method}={path}" for method, path in (load or {}).items()],
        track=_words(track),
        no_cache=not cache,
        no_lockstep=not lockstep,
        no_graphs=not graphs,
        out=Path(out),
    )
    request = make_request(options)
    trackers = Trackers(request.track, request.out, say=lambda text: tqdm.write(text, file=sys.stderr))
    with _without_bars():
        plan = make_plan(request, fetch=True)
        for note in (*plan.warnings, *plan.refused):
            warnings.warn(note, stacklevel=2)
        if plan.missing:
            records.check_writable(request.out)
            execute(plan, None, processes=processes, on_record=trackers.tell)
    outcome = outcome_of(plan)
    frame = to_frame(outcome.records)
    problems = [outcome.failed] if outcome.failed else []
    if outcome.elsewhere:
        problems.append(f"{outcome.elsewhere} runs are under way in another process; call again when it is through.")
    problems += [f"left out: {problem}" for problem in plan.broken.values()]
    problems += trackers.finish([record.spec for record in outcome.records])
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
    several = isinstance(given, Iterable) and not isinstance(given, str)
    return [str(each) for each in (given if several else [given])]
