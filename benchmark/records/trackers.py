"""Log finished runs to experiment trackers (TensorBoard, Weights & Biases, ...) through Accelerate's classes.

A run is logged from its record, when the record is written, as a run of its own: a training that was resumed has one
complete curve, seeds trained together are separate runs, and failed runs are not logged. A mark is stored for each
logged run; the next command logs the runs without a mark, so `--track` can be given after the runs. A tracker's package
is imported only if the user names it, and only by the main process.
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
from benchmark.common.files import write_atomically
from benchmark.errors import ConfigError, RecordError, did_you_mean
from benchmark.records.metrics import accuracy_percent
from benchmark.records.record import RunRecord
from benchmark.records.store import load

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

# The keys of accelerate.tracking.LOGGER_TYPE_TO_CLASS, without importing it: that takes seconds.
NAMES = ("aim", "comet_ml", "mlflow", "tensorboard", "wandb", "clearml", "dvclive", "swanlab", "trackio")
MARKS = ".told"  # below the trackers' folder: a mark for each logged run
PIP_NAMES = {"comet_ml": "comet-ml"}  # where it differs from the module's name
MLFLOW_URI = "MLFLOW_TRACKING_URI"  # environment variable: where MLflow keeps runs


def tracker_problems(names: Iterable[str]) -> list[str]:
    """Describe the trackers that are unknown or whose package is not installed."""
    problems = []
    for name in names:
        if name not in NAMES:
            problems.append(f"--track '{name}' is not a tracker. {did_you_mean(name, NAMES)}")
        elif (package := find_spec(name)) is None or package.origin is None:  # missing, or a folder of that name
            problems.append(f"--track {name}: its package is not installed; pip install {PIP_NAMES.get(name, name)}")
    return problems


def where_to_look(name: str, results: Path) -> str:
    """The command that shows a tracker's runs on this machine; empty for trackers that print it themselves."""
    folder = results / TRACKING / name
    commands = {
        "aim": ("aim", "up", "--repo", folder),
        "mlflow": ("mlflow", "ui", "--backend-store-uri", os.environ.get(MLFLOW_URI, _database(folder))),
        "swanlab": ("swanlab", "watch", folder),
        "tensorboard": ("tensorboard", "--logdir", folder),
    }
    return f"To look at them: {shlex.join(map(str, commands[name]))}" if name in commands else ""


class Trackers:
    """The trackers to which one command logs its runs.

    A tracker that fails is not used again by this command: its runs stay without a mark, and the grid continues.

    Args:
        names: of NAMES.
        results: folder of the records; files of trackers are below its folder TRACKING.
        say: shows a line to the user.
    Attributes:
        failed: trackers that failed, with their error messages.
    """

    def __init__(self, names: Sequence[str], results: Path, *, say: Callable[[str], None]):
        self._names, self._results, self._say = names, Path(results), say
        self.failed: dict[str, str] = {}

    def log(self, path: Path) -> None:
        """Log the run of a record to each tracker without a mark for it."""
        if self._names:
            with suppress(RecordError):  # another process has just deleted or replaced the record
                self._log(load(path))

    def finish(self, recorded: Sequence[RunRecord]) -> list[str]:
        """Log the runs without a mark; returns a message for each tracker that misses some of them."""
        for record in recorded:
            self._log(record)
        missing = {name: sum(not self._is_logged(record, name) for record in recorded) for name in self.failed}
        return [
            f"{count} of {len(recorded)} runs were not logged to {name} ({self.failed[name]}). "
            "They are recorded; run the same command again to log them."
            for name, count in missing.items()
            if count
        ]

    def _log(self, record: RunRecord) -> None:
        for name in self._names:
            if name in self.failed or self._is_logged(record, name):
                continue
            try:
                _send(record, name, self._results / TRACKING / name)
                write_atomically(self._mark(record.spec, name), _version(record).encode())
            except Exception as error:  # of the tracker's package, its server or the disk; runs continue
                self.failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300].rstrip('.')}"
                self._say(f"error: {name} failed and is not used further by this command: {self.failed[name]}")

    def _mark(self, spec: RunSpec, name: str) -> Path:
        return spec.record_path(self._results / TRACKING / MARKS / name).with_suffix("")

    def _is_logged(self, record: RunRecord, name: str) -> bool:
        try:
            return self._mark(record.spec, name).read_bytes() == _version(record).encode()
        except OSError:  # missing or unreadable
            return False


def _version(record: RunRecord) -> str:
    """Distinguishes a record from an earlier, deleted record of the same run."""
    return str(record.provenance.get("finished"))


def _send(record: RunRecord, name: str, folder: Path) -> None:
    """Log one run: its settings, its loss curve and its final numbers, under the names used in the record."""
    folder.mkdir(parents=True, exist_ok=True)
    with _mlflow_in(folder) if name == "mlflow" else nullcontext():
        tracker = _open(record.spec, name, folder)
        try:
            tracker.store_init_configuration(settings_of(record))
            for step, values in points_of(record):
                tracker.log(values, step=step)
        finally:
            tracker.finish()


def settings_of(record: RunRecord) -> dict[str, object]:
    """The fields of the spec, the device and the commit, flat ("training/epochs") and without containers."""
    git = record.provenance.get("git") or {}
    where = {"device": record.provenance.get("device"), "commit": git.get("commit"), "dirty": git.get("dirty")}
    flat = _flat(record.spec.to_json()) | {"hash": record.spec.hash} | _flat({"provenance": where})
    return {name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in flat.items()}


def points_of(record: RunRecord) -> list[tuple[int, dict[str, float]]]:
    """Pairs (step, values): `training/losses` at each epoch from 1 on, and the final numbers at the last epoch.

    A run without training has one point, at step 0. `scores/<class set>/accuracy` is in percent.
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
    """Where MLflow keeps its runs unless the user names another place."""
    return f"sqlite:///{folder.absolute() / 'mlflow.db'}"


@contextmanager
def _mlflow_in(folder: Path) -> Iterator[None]:
    """Keep MLflow's database in a folder instead of the current one, unless the user named a place."""
    if MLFLOW_URI in os.environ:
        yield
        return
    os.environ[MLFLOW_URI] = _database(folder)
    try:
        yield
    finally:
        os.environ.pop(MLFLOW_URI, None)


def _flat(values: Mapping, before: str = "") -> dict[str, object]:
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{before}{key}/") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return flat


def _open(spec: RunSpec, name: str, folder: Path) -> "GeneralTracker":
    """Start a tracker on a new run whose files on this machine are in `folder`.

    The project is the suite, and the run is named after its record's path below the suite.
    """
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    if name == "wandb" and getattr(sys.modules.get("wandb"), "run", None) is not None:  # of a notebook, for example
        raise ConfigError("a run of yours is open, and wandb would log into it; call wandb.finish() before")
    PartialState(cpu=True)  # Accelerate's trackers need it to know the main process; there is only one here
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
        tracker.tracker.set_name(title)  # start() accepts a name only inside a settings object
    return tracker
