"""Save, load and collect records: a file that exists is whole, and a stale one is not believed."""

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from benchmark.common.config import FAILED, SCHEMA, RunSpec
from benchmark.common.files import write_whole
from benchmark.common.validation import build
from benchmark.errors import ConfigError, RecordError
from benchmark.records.record import RunRecord


def save(record: RunRecord, results: Path, *, predictions: Mapping[str, np.ndarray], learned: bytes | None) -> Path:
    """Write one finished run: predictions and learned tensors first, its JSON last, each of them whole or not at all.

    Args:
        predictions: class set -> predicted label of every test image, in the order of the test list.
        learned: the learned tensors as safetensors; None if nothing is learned.
    Raises:
        RecordError: the run is not ok, predictions disagree with its scores, or the folder cannot be written.
    """
    path = record.spec.record_path(Path(results))
    if record.status != "ok":
        raise RecordError(f"{path}: a run that failed is no record; store it with save_failure.")
    text, packed = _to_text(record, path), _pack(record, predictions, path)
    for companion, content in ((path.with_suffix(".npz"), packed), (path.with_suffix(".safetensors"), learned)):
        if content is not None:
            write_whole(companion, content)
        else:
            _remove(companion)
    write_whole(path, text.encode())
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
    """Write the traceback of a failed run below results/failed; save() of the same spec removes it again.

    Args:
        training: of a training that diverged, where it did and the images of that step.
        learned: what it had learned before, as safetensors; lies beside the JSON.
    """
    path = failure_path(spec, results)
    if learned is not None:
        write_whole(path.with_suffix(".safetensors"), learned)
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
    write_whole(path, _to_text(record, path).encode())
    return path


def load(path: Path) -> RunRecord:
    """The record in a file, believed only if schema, hash, spec and file name all agree.

    Raises:
        RecordError: unreadable, no JSON, another schema, edited, renamed, or incomplete.
    """
    path = Path(path)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: is not a whole JSON file ({error}); delete it to run this again.") from error
    if not isinstance(raw, dict) or "schema" not in raw:
        raise RecordError(f"{path}: is not a record; it has no 'schema'.")
    if raw["schema"] != SCHEMA:
        raise RecordError(f"{path}: has schema {raw['schema']!r}, this version reads {SCHEMA}; run it again.")
    if lacking := sorted({"hash", *(f.name for f in fields(RunRecord))} - raw.keys()):
        raise RecordError(f"{path}: lacks {', '.join(lacking)}; delete it to run this again.")
    try:
        record = build(RunRecord, {k: v for k, v in raw.items() if k not in ("schema", "hash")}, str(path))
    except ConfigError as error:
        raise RecordError(str(error)) from error
    if raw["hash"] != record.spec.hash:
        raise RecordError(f"{path}: stored hash {raw['hash']!r}, its spec gives '{record.spec.hash}'; it was edited.")
    if path.name != (expected := record.spec.record_path(Path()).name):
        raise RecordError(f"{path}: its spec belongs in a file named {expected}; it was renamed.")
    return record


def is_done(spec: RunSpec, results: Path) -> bool:
    """Whether a whole, ok record of exactly this spec is stored."""
    try:
        record = load(spec.record_path(Path(results)))
    except RecordError:
        return False
    return record.status == "ok" and record.spec == spec


def missing(specs: Iterable[RunSpec], results: Path) -> list[RunSpec]:
    """The specs still to run, in their order."""
    return [spec for spec in specs if not is_done(spec, results)]


def of_other_code(specs: Iterable[RunSpec], results: Path) -> dict[Path, int]:
    """Where records of the plugins in some specs lie, and how many of those come from another version of the file."""
    codes = {Path(results) / s.suite / s.protocol / s.method: s.plugin for s in specs if s.plugin}
    counts = {f: sum(r.spec.plugin != code for r in collect(f)[0]) for f, code in codes.items() if f.is_dir()}
    return {folder: count for folder, count in counts.items() if count}


def collect(folder: Path) -> tuple[list[RunRecord], list[str]]:
    """All ok records below a folder, by path, and what was wrong with the other JSON files, as text.

    Skips failed/ and what begins with a dot, folders too. Of two files with the same spec the first counts.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return [], [f"{folder}: no such folder; nothing is recorded there."]
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
    """Where the traceback of a failed run lies."""
    return spec.record_path(Path(results) / FAILED)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _to_text(record: RunRecord, path: Path) -> str:
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    values["spec"] = record.spec.to_json()
    values["scores"] = {class_set: asdict(score) for class_set, score in record.scores.items()}
    head = {"schema": SCHEMA, "hash": record.spec.hash, "status": record.status}
    try:
        return json.dumps(head | values, indent=2, allow_nan=False) + "\n"
    except TypeError as error:
        raise RecordError(f"{path}: {record.spec.label()} holds what JSON cannot: {error}.") from error
    except ValueError as error:
        raise RecordError(f"{path}: {record.spec.label()} diverged: it holds infinite or undefined numbers.") from error


def _pack(record: RunRecord, predictions: Mapping[str, np.ndarray], path: Path) -> bytes | None:
    arrays = {}
    for class_set, labels in predictions.items():
        labels, score = np.asarray(labels), record.scores.get(class_set)
        fits = score is not None and labels.shape == (score.total,) and labels.dtype.kind in "iu"
        if not fits or labels.min() < 0 or labels.max() >= min(score.classes, np.iinfo(np.int16).max + 1):
            raise RecordError(
                f"{path}: predictions of '{class_set}' have shape {labels.shape} and type {labels.dtype}, "
                f"which do not fit {score or 'any score'}; give one label in 0..classes-1 per test image."
            )
        arrays[class_set] = labels.astype(np.int16)
    if not arrays:
        return None
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()


def check_writable(results: Path) -> None:
    """Refuse a results folder that cannot be written, before anything is computed for it.

    Raises:
        RecordError: it cannot.
    """
    probe = Path(results) / ".writable"
    write_whole(probe, b"")
    _remove(probe)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(f"{path}: is out of date and cannot be removed ({error.strerror}).") from error
