"""Finished runs told to experiment trackers (TensorBoard, Weights & Biases, ...), through Accelerate's classes.

A run is told when its record is written, from that record and as a run of its own: so a training that went on from a
checkpoint has one whole curve, seeds trained in one pass are told apart, and what failed or was ended is not there. A
mark is left for each run told; what has none is told by the next command, so `--track` may come after the runs. No
tracker's package is imported unless it is asked for, and then by the process that people see, none that computes.
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.common.config import TRACKING, RunSpec
from benchmark.common.files import write_whole
from benchmark.errors import ConfigError, RecordError, did_you_mean
from benchmark.records.metrics import accuracy_percent
from benchmark.records.record import RunRecord
from benchmark.records.store import load

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

# The keys of accelerate.tracking.LOGGER_TYPE_TO_CLASS, without its import: it takes seconds.
NAMES = ("aim", "comet_ml", "mlflow", "tensorboard", "wandb", "clearml", "dvclive", "swanlab", "trackio")
TOLD = ".told"  # below the trackers' folder: a mark for each run told
PACKAGES = {"comet_ml": "comet-ml"}  # where pip's name is another
MLFLOW_PLACE = "MLFLOW_TRACKING_URI"  # read from the environment: where MLflow keeps runs


def problems_of(names: Iterable[str]) -> list[str]:
    """What is wrong with the trackers asked for: no such one, or its package is not installed."""
    problems = []
    for name in names:
        if name not in NAMES:
            problems.append(f"--track '{name}' is not a tracker. {did_you_mean(name, NAMES)}")
        elif (package := find_spec(name)) is None or package.origin is None:  # none, or a folder of that name
            problems.append(f"--track {name}: its package is not installed; pip install {PACKAGES.get(name, name)}")
    return problems


def where_to_look(name: str, results: Path) -> str:
    """The command that shows what a tracker keeps on this machine; empty for those that say it themselves."""
    folder = results / TRACKING / name
    commands = {
        "aim": ("aim", "up", "--repo", folder),
        "mlflow": ("mlflow", "ui", "--backend-store-uri", os.environ.get(MLFLOW_PLACE, _database(folder))),
        "swanlab": ("swanlab", "watch", folder),
        "tensorboard": ("tensorboard", "--logdir", folder),
    }
    return f"To look at them: {shlex.join(map(str, commands[name]))}" if name in commands else ""


class Trackers:
    """The trackers that one command tells its runs to.

    One that fails is not asked again by this command: its runs stay without a mark, and nothing else is held up.

    Args:
        names: of NAMES.
        results: where records are; what trackers keep on this machine lies below its folder TRACKING.
        say: shows a line to the user.
    Attributes:
        lost: trackers that failed, with what they said.
    """

    def __init__(self, names: Sequence[str], results: Path, *, say: Callable[[str], None]):
        self._names, self._results, self._say = names, Path(results), say
        self.lost: dict[str, str] = {}

    def tell(self, path: Path) -> None:
        """Tell the run in a record to each tracker that was not told it yet."""
        if self._names:
            with suppress(RecordError):  # deleted, or replaced by another version's, a moment ago: no run of this one
                self._tell(load(path))

    def finish(self, recorded: Sequence[RunRecord]) -> list[str]:
        """Tell whichever of some recorded runs nobody told yet; returns what could not be told, in words."""
        for record in recorded:
            self._tell(record)
        untold = {name: sum(not self._is_told(record, name) for record in recorded) for name in self.lost}
        return [
            f"{count} of {len(recorded)} runs were not told to {name} ({self.lost[name]}). They are recorded; the same "
            "command tells them."
            for name, count in untold.items()
            if count
        ]

    def _tell(self, record: RunRecord) -> None:
        for name in self._names:
            if name in self.lost or self._is_told(record, name):
                continue
            try:
                _send(record, name, self._results / TRACKING / name)
                write_whole(self._mark(record.spec, name), _version(record).encode())
            except Exception as error:  # whatever a tracker's package, its server or the disk does, runs go on
                self.lost[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300].rstrip('.')}"
                self._say(f"error: {name} failed, and is left alone for now: {self.lost[name]}")

    def _mark(self, spec: RunSpec, name: str) -> Path:
        return spec.record_path(self._results / TRACKING / TOLD / name).with_suffix("")

    def _is_told(self, record: RunRecord, name: str) -> bool:
        try:
            return self._mark(record.spec, name).read_bytes() == _version(record).encode()
        except OSError:  # there is none, or none that can be read
            return False


def _version(record: RunRecord) -> str:
    """What tells a record from another of the same run, which was deleted and done again."""
    return str(record.provenance.get("finished"))


def _send(record: RunRecord, name: str, folder: Path) -> None:
    """One run: what was asked for, its curve and its final numbers, under the names that they have in the record."""
    folder.mkdir(parents=True, exist_ok=True)
    with _place_for_mlflow(folder) if name == "mlflow" else nullcontext():
        tracker = _open(record.spec, name, folder)
        try:
            tracker.store_init_configuration(settings_of(record))
            for step, values in points_of(record):
                tracker.log(values, step=step)
        finally:
            tracker.finish()


def settings_of(record: RunRecord) -> dict[str, object]:
    """What a run was: the fields of its spec and where it ran, flat ("training/epochs"), none of them a container."""
    git = record.provenance.get("git") or {}
    where = {"device": record.provenance.get("device"), "commit": git.get("commit"), "dirty": git.get("dirty")}
    flat = _flat(record.spec.to_json()) | {"hash": record.spec.hash} | _flat({"provenance": where})
    return {name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in flat.items()}


def points_of(record: RunRecord) -> list[tuple[int, dict[str, float]]]:
    """(step, values): `training/losses` at each epoch from 1 on, and with the last of them the final numbers.

    Of a run that trained nothing there is one point, at step 0. `scores/<class set>/accuracy` is in percent.
    """
    training = {key: value for key, value in record.training.items() if key != "losses"}
    scores = {
        class_set: {
            "correct": score.correct,
            "total": score.total,
            "classes": score.classes,
            "accuracy": accuracy_percent(score.correct, score.total),
        }
        for class_set, score in record.scores.items()
    }
    final = _flat({"scores": scores, "training": training, "evaluation_seconds": record.evaluation_seconds})
    if record.peak_memory_bytes is not None:
        final["peak_memory_bytes"] = record.peak_memory_bytes
    final = {name: value for name, value in final.items() if isinstance(value, (int, float))}
    losses = record.training.get("losses", [])
    curve = [(epoch, {"training/losses": loss}) for epoch, loss in enumerate(losses, start=1)] or [(0, {})]
    return [*curve[:-1], (curve[-1][0], curve[-1][1] | final)]


def _database(folder: Path) -> str:
    """Where MLflow keeps its runs if nobody says otherwise."""
    return f"sqlite:///{folder.absolute() / 'mlflow.db'}"


@contextmanager
def _place_for_mlflow(folder: Path) -> Iterator[None]:
    """Its database is in a folder for a while, not where the command was started; unless the user named a place."""
    if MLFLOW_PLACE in os.environ:
        yield
        return
    os.environ[MLFLOW_PLACE] = _database(folder)
    try:
        yield
    finally:
        os.environ.pop(MLFLOW_PLACE, None)


def _flat(values: Mapping, before: str = "") -> dict[str, object]:
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{before}{key}/") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return flat


def _open(spec: RunSpec, name: str, folder: Path) -> "GeneralTracker":
    """A tracker, started on a run of its own; what it keeps on this machine goes into the folder.

    The suite is its project, and the run is called as its record's path below that.
    """
    if name == "wandb" and getattr(sys.modules.get("wandb"), "run", None) is not None:  # a notebook's, say
        raise ConfigError("a run of yours is open, which this one would be taken for; call wandb.finish() before")
    from accelerate import PartialState  # here: it imports torch, and names are checked without it
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState(cpu=True)  # Accelerate's trackers ask it which process speaks; here there is one
    project, title = spec.suite, spec.record_path(Path()).relative_to(spec.suite).with_suffix("").as_posix()
    run = folder / project / title
    extra = {
        "aim": {"experiment": project},
        "clearml": {
            "task_name": title,
            "reuse_last_task_id": False,
            "auto_connect_frameworks": False,
            "auto_connect_arg_parser": False,
        },
        "dvclive": {"dir": str(run), "dvcyaml": str(run / "dvc.yaml"), "save_dvc_exp": False},
        "mlflow": {"run_name": title},
        "swanlab": {"experiment_name": title, "logdir": str(folder)},
        "trackio": {"name": title},
        "wandb": {"name": title, "dir": str(folder)},
    }.get(name, {})
    kind, first = LOGGER_TYPE_TO_CLASS[name], {"aim": title, "tensorboard": f"{project}/{title}"}.get(name, project)
    tracker = kind(first, str(folder), **extra) if kind.requires_logging_directory else kind(first, **extra)
    tracker.start()
    if name == "comet_ml":
        tracker.tracker.set_name(title)  # its start takes a name only as an object of its own
    return tracker
