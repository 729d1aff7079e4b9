"""Trainings that runs share: where two protocols train alike, the second takes what the first has learned.

Training on all classes of a dataset is the same whatever is scored afterwards. Which runs train alike is read from
their specs; what was learned lies beside the record of the run that did it.
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
from benchmark.records.store import load
from benchmark.training.loop import FitReport

LEARNED_SHA256 = "learned_sha256"  # in a record's provenance: of the learned tensors' file
TRAINED_CLASSES = "trained_classes"  # there: the names of the classes they were learned for, in the order of labels


def training_id(spec: RunSpec) -> str:
    """Hexadecimal digits of all that decides the learned values and of nothing else; empty if nothing is learned."""
    if spec.training is None:
        return ""
    decides = spec.to_json()
    for scored_alone in ("suite", "backbone", "targets"):  # the backbone's name; its checkpoint's hash decides
        del decides[scored_alone]
    decides["protocol"] = PROTOCOLS[spec.protocol].trains_on
    decides["split"] = spec.split.split("+")[0]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def find_training(spec: RunSpec, results: Path) -> tuple[RunRecord, dict[str, Tensor]] | None:
    """A finished record of the same training below `results`, and its learned tensors; None if there is none whole."""
    return next(_trainings(spec, Path(results)), None)


def take_training(spec: RunSpec, method: Method, results: Path) -> FitReport | None:
    """Load into a method what another run has learned by the same training; None where it has to be trained.

    The report is the other run's, and names its record.
    """
    for record, learned in _trainings(spec, Path(results)):
        origin = record.spec.record_path(Path()).as_posix()
        try:
            told = {**record.training, "taken_from": origin, "warnings": record.warnings}
            report = build(FitReport, told, origin)
            method.load_learned_state(learned)
        except ConfigError:  # of an older version of the method, say: then train
            continue
        return report
    return None


def _trainings(spec: RunSpec, results: Path) -> Iterator[tuple[RunRecord, dict[str, Tensor]]]:
    wanted = training_id(spec)
    for protocol in PROTOCOLS if wanted else ():
        folder = results / spec.suite / protocol / spec.method / spec.dataset
        for path in sorted(folder.glob(f"shots{spec.shots}-seed{spec.seed}-*.json")):
            try:
                record = load(path)
                content = path.with_suffix(".safetensors").read_bytes()
                if record.status != "ok" or training_id(record.spec) != wanted:
                    continue
                if hashlib.sha256(content).hexdigest() == record.provenance.get(LEARNED_SHA256):
                    yield record, safetensors.torch.load(content)
            except (RecordError, OSError, SafetensorError):  # damaged or gone: as if it were not there
                continue
