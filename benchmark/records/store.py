"""Save, load and collect records; a file that exists is complete, and stale or edited files are refused."""

import contextlib
import functools
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
from pydantic_core import from_json

from benchmark.common.config import FAILED, SCHEMA, RunSpec
from benchmark.common.files import expand, write_atomically
from benchmark.common.validation import build
from benchmark.errors import ConfigError, RecordError, unreadable
from benchmark.records.record import RunRecord

LONG_LIST = re.compile(r"\[\n[-+\d.eE,\s]+\]")  # of numbers, one a line; a string in JSON holds no line break
CONFIDENCE = "confidence/"  # before a class set, in the .npz; no class set holds a slash
RECORD_NAME = re.compile(r"shots\d+-seed\d+-[0-9a-f]{8}\.json")
KEYS = {"hash", *(f.name for f in fields(RunRecord))}  # of a file, besides its schema

Names = Callable[[Path], Mapping[str, list[str]]]  # as names_in, or that and a memory


def save(
    record: RunRecord,
    results: Path,
    *,
    predictions: Mapping[str, np.ndarray],
    learned: bytes | None,
    confidences: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write a finished run: predictions and learned tensors first, the JSON last, each of them atomically.

    Args:
        predictions: class set -> predicted label of every test image, in the order of the test list.
        confidences: class set -> probability of each predicted label, float16; stored as "confidence/<class set>".
        learned: learned tensors as safetensors; None if nothing is learned.
    Raises:
        RecordError: the run failed, predictions do not match its scores, or the folder cannot be written.
    """
    path = record.spec.record_path(Path(results))
    if record.status != "ok":
        raise RecordError(f"{path}: a failed run is stored with save_failure, not with save.")
    text, packed = _to_text(record, path), _pack(record, predictions, confidences or {}, path)
    for companion, content in ((path.with_suffix(".npz"), packed), (path.with_suffix(".safetensors"), learned)):
        if content is not None:
            write_atomically(companion, content)
        else:
            _remove(companion)
    write_atomically(path, text.encode())
    failure = failure_path(record.spec, results)
    _remove(failure)
    _remove(failure.with_suffix(".safetensors"))
    return path


def save_failure(
    spec: RunSpec,
    results: Path,
    error_text: str,
    *,
    overrides: Mapping | None = None,
    warnings: Iterable[str] = (),
    provenance: Mapping | None = None,
    training: Mapping | None = None,
    learned: bytes | None = None,
) -> Path:
    """Write the traceback of a failed run below results/failed; save() of the same spec removes it.

    Args:
        training: where a training diverged, and the images of that step.
        learned: the learned tensors before that step as safetensors; stored next to the JSON.
    """
    path = failure_path(spec, results)
    if learned is not None:
        write_atomically(path.with_suffix(".safetensors"), learned)
    record = RunRecord(
        spec=spec,
        status="failed",
        scores={},
        overrides=dict(overrides or {}),
        training=dict(training or {}),
        evaluation_seconds=0.0,
        warnings=list(warnings),
        provenance=dict(provenance or {}),
        error=error_text,
    )
    write_atomically(path, _to_text(record, path).encode())
    return path


def load(path: Path) -> RunRecord:
    """Load a record; schema, hash, spec and file name must agree.

    Raises:
        RecordError: the file is unreadable, not JSON, of another schema, edited, renamed or incomplete.
    """
    try:
        raw = _parse(path.read_bytes())
    except OSError as error:
        raise RecordError(unreadable(path, error)) from error
    except (ValueError, RecursionError) as error:
        advice = "delete it to run this again" if RECORD_NAME.fullmatch(path.name) else "give the .json of a run"
        raise RecordError(f"{path}: is not a complete JSON file ({error}); {advice}.") from error
    if not isinstance(raw, dict) or "schema" not in raw:
        raise RecordError(f"{path}: is not a record; it has no 'schema'. Records are the .json files of runs.")
    if raw["schema"] != SCHEMA:
        raise RecordError(f"{path}: has schema {raw['schema']!r}, this version reads {SCHEMA}; run it again.")
    if absent := KEYS - raw.keys():
        raise RecordError(f"{path}: {', '.join(sorted(absent))} missing; delete it to run this again.")
    try:
        record = build(RunRecord, {k: v for k, v in raw.items() if k not in ("schema", "hash")}, str(path))
    except ConfigError as error:
        raise RecordError(str(error)) from error
    if raw["hash"] != record.spec.hash:
        raise RecordError(f"{path}: stored hash {raw['hash']!r}, its spec gives '{record.spec.hash}'; it was edited.")
    if path.name != (expected := record.spec.record_name):
        raise RecordError(f"{path}: its spec belongs in a file named {expected}; it was renamed.")
    return record


def find(spec: RunSpec, results: Path) -> RunRecord | None:
    """The complete, successful record of exactly this spec; None if there is none."""
    return _of_spec(spec, spec.record_path(Path(results)))


def is_done(spec: RunSpec, results: Path) -> bool:
    """Whether a complete, successful record of exactly this spec is stored."""
    return find(spec, results) is not None


def missing(specs: Iterable[RunSpec], results: Path) -> list[RunSpec]:
    """The specs that are not done, in their order."""
    names = functools.cache(names_in)  # a folder holds the records of many specs

    def done(spec: RunSpec) -> bool:
        files = recorded(spec.folder(results), spec.shots, spec.seed, names)
        if len(files) > 1:
            return is_done(spec, results)
        return any(_of_spec(spec, path) for path in files)  # load checks the name: this spec needs no hash

    return [spec for spec in specs if not done(spec)]


def names_in(folder: Path) -> dict[str, list[str]]:
    """The names of records in the folder of a method and dataset, in order, by their shots and seed."""
    found: dict[str, list[str]] = {}
    with contextlib.suppress(OSError):  # there is no folder
        for name in sorted(os.listdir(folder)):
            if name.endswith(".json"):
                found.setdefault("-".join(name.split("-")[:2]), []).append(name)
    return found


def recorded(folder: Path, shots: int, seed: int, names: Names = names_in) -> list[Path]:
    """The files of records for these shots and this seed in the folder of a method and dataset, in order."""
    return [folder / name for name in names(folder).get(f"shots{shots}-seed{seed}", ())]


def superseded(spec: RunSpec, results: Path, names: Names = names_in) -> Iterator[tuple[Path, RunSpec]]:
    """Find records of other code of the spec's plugin, and records that differ in the content of images alone."""
    for other in recorded(spec.folder(results), spec.shots, spec.seed, names):
        with contextlib.suppress(RecordError):
            old = load(other).spec
            if old.plugin != spec.plugin or replace(old, images=spec.images) == spec != old:
                yield other, old


def collect(folder: Path) -> tuple[list[RunRecord], list[str]]:
    """Load all successful records below a folder in the order of their paths; also returns the problems as text.

    Skips failed/ and all files and folders whose names begin with a dot. Of two files with one spec the first counts.
    """
    folder = expand(folder)
    if not folder.is_dir():
        return [], [f"{folder}: no such folder, so no records."]
    records: dict[RunSpec, tuple[RunRecord, Path]] = {}
    problems = []
    for path in sorted(folder.rglob("*.json")):
        parts = path.relative_to(folder).parts
        if FAILED in parts or any(part.startswith(".") for part in parts):
            continue
        try:
            record = load(path)
        except RecordError as error:
            problems.append(str(error))
            continue
        if record.status != "ok":
            problems.append(f"{path}: holds a failed run outside {FAILED}/; left out.")
        elif record.spec in records:
            problems.append(f"{path}: repeats {records[record.spec][1]}; left out.")
        else:
            records[record.spec] = (record, path)
    return [record for record, _ in records.values()], problems


def failure_path(spec: RunSpec, results: Path) -> Path:
    """Path of a failed run's traceback."""
    return spec.record_path(Path(results) / FAILED)


def _of_spec(spec: RunSpec, path: Path) -> RunRecord | None:
    """The record in a file; None if it is damaged, failed or of another spec."""
    try:
        record = load(path)
    except RecordError:
        return None
    return record if record.status == "ok" and record.spec == spec else None


def _parse(content: bytes) -> object:
    """The value of a JSON text; json takes twice as long, but knows more characters and explains better."""
    try:
        return from_json(content, allow_inf_nan=False)
    except ValueError:
        return json.loads(content.decode(), parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _to_text(record: RunRecord, path: Path) -> str:
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    values["spec"] = record.spec.to_json()
    values["scores"] = {
        class_set: {key: value for key, value in asdict(score).items() if value is not None}
        for class_set, score in record.scores.items()
    }
    head = {"schema": SCHEMA, "hash": record.spec.hash, "status": record.status}
    try:
        text = json.dumps(head | values, indent=2, allow_nan=False) + "\n"
        return LONG_LIST.sub(lambda found: " ".join(found[0].split()), text)
    except TypeError as error:
        raise RecordError(f"{path}: {record.spec.label()} holds what JSON does not support: {error}.") from error
    except ValueError as error:
        raise RecordError(f"{path}: {record.spec.label()} diverged: it holds infinite or undefined numbers.") from error


def _pack(
    record: RunRecord, predictions: Mapping[str, np.ndarray], confidences: Mapping[str, np.ndarray], path: Path
) -> bytes | None:
    arrays = {}
    for class_set, labels in predictions.items():
        labels, score = np.asarray(labels), record.scores.get(class_set)
        fits = score is not None and labels.shape == (score.total,) and labels.dtype.kind in "iu"
        if not fits or labels.min() < 0 or labels.max() >= score.classes:
            raise RecordError(
                f"{path}: predictions of '{class_set}' have shape {labels.shape} and type {labels.dtype}, "
                f"which do not fit {score or 'any score'}; give one label in 0..classes-1 per test image."
            )
        arrays[class_set] = labels.astype(np.int16 if score.classes <= np.iinfo(np.int16).max + 1 else np.int32)
    for class_set, values in confidences.items():
        if values.dtype != np.float16 or class_set not in arrays or values.shape != arrays[class_set].shape:
            raise RecordError(
                f"{path}: confidences of '{class_set}' have shape {values.shape} and type {values.dtype}, "
                "which do not fit its predictions; give one float16 value per test image."
            )
        arrays[CONFIDENCE + class_set] = values
    if not arrays:
        return None
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()


def check_writable(results: Path) -> None:
    """Raise RecordError for a results folder that cannot be written, before anything is computed for it."""
    probe = Path(results) / ".writable"
    write_atomically(probe, b"")
    _remove(probe)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(f"{path}: is out of date and cannot be removed ({error.strerror}). Remove it.") from error
