"""Reuse the training of another run: protocols that train in the same way share the learned values.

Training on all classes of a dataset does not depend on what is scored afterwards. The specs show which runs have the
same training; the learned values are in the file next to the record of the run that trained.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from benchmark.common.config import RunSpec
from benchmark.common.validation import build
from benchmark.errors import ConfigError, RecordError
from benchmark.method import Method
from benchmark.protocols.registry import PROTOCOLS
from benchmark.records.record import RunRecord
from benchmark.records.store import Names, load, names_in, recorded
from benchmark.training.loop import FitReport

LEARNED_SHA256 = "learned_sha256"  # key in a record's provenance: hash of the file of learned tensors
TRAINED_CLASSES = "trained_classes"  # key there: names of the trained classes, in the order of labels


def training_id(spec: RunSpec) -> str:
    """A hash of exactly what decides the learned values, in hexadecimal digits; empty if the run does not train."""
    if spec.training is None:
        return ""
    decides = spec.to_json()
    for irrelevant in ("suite", "backbone", "targets"):  # the name of the backbone; the hash of its checkpoint decides
        del decides[irrelevant]
    decides["protocol"] = PROTOCOLS[spec.protocol].trains_on
    decides |= {name: getattr(spec, name).split("+")[0] for name in ("split", "images")}
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def find_training(spec: RunSpec, results: Path, names: Names = names_in) -> tuple[RunRecord, dict[str, Tensor]] | None:
    """Find a finished record with the same training below `results`, and its learned tensors; None if there is none."""
    return next(_trainings(spec, Path(results), names), None)


def reuse_training(spec: RunSpec, method: Method, results: Path) -> FitReport | None:
    """Load what another run learned by the same training into a method; None if the method has to be trained.

    The report is that of the other run, and names its record.
    """
    for record, learned in _trainings(spec, Path(results), names_in):
        origin = record.spec.record_path(Path()).as_posix()
        try:
            content = {**record.training, "taken_from": origin, "warnings": record.warnings}
            report = build(FitReport, content, origin)
            method.load_learned_state(learned)
        except ConfigError:  # learned by an older version of the method, for example: train instead
            continue
        return report
    return None


def _trainings(spec: RunSpec, results: Path, names: Names) -> Iterator[tuple[RunRecord, dict[str, Tensor]]]:
    trains_on = PROTOCOLS[spec.protocol].trains_on
    sharing = [name for name, protocol in PROTOCOLS.items() if protocol.trains_on == trains_on]
    for protocol in sharing if spec.training is not None else ():
        folder = Path(results, spec.suite, protocol, spec.method, spec.dataset)
        for path in recorded(folder, spec.shots, spec.seed, names):
            try:
                record = load(path)
                content = path.with_suffix(".safetensors").read_bytes()
                if record.status != "ok" or training_id(record.spec) != training_id(spec):
                    continue
                if hashlib.sha256(content).hexdigest() == record.provenance.get(LEARNED_SHA256):
                    yield record, safetensors.torch.load(content)
            except (RecordError, OSError, SafetensorError):  # a damaged or missing file counts as no training
                continue
