"""Export the learned values of a recorded run as one safetensors file with metadata and a model card."""

import json
import shlex
from pathlib import Path

import safetensors.torch
from tabulate import tabulate

from benchmark.common.files import write_atomically
from benchmark.errors import ConfigError
from benchmark.inspection.recorded_run import learned_by
from benchmark.records.metrics import accuracy_percent, harmonic_mean
from benchmark.records.record import RunRecord
from benchmark.records.store import load
from benchmark.training.reuse import LEARNED_SHA256, TRAINED_CLASSES
from tables.aggregate import commits, method_title
from tables.report.provenance import commands

FORMAT = "copl-benchmark learned values 1"
LISTED_CLASSES = 20  # class names in a card; the file has all


def export(path: Path, folder: Path) -> list[Path]:
    """Write <name>.safetensors and <name>.md of a record into a folder; returns both.

    Raises:
        RecordError: the record or its tensors are missing or damaged, or the folder cannot be written.
        ConfigError: the run learned nothing.
    """
    record = load(path)
    if LEARNED_SHA256 not in record.provenance:
        raise ConfigError(f"{path}: this run of '{record.spec.method}' learned nothing that could be exported.")
    tensors = learned_by(record, path)
    target = folder / f"{name_of(record)}.safetensors"
    about = about_of(record, target.name)
    write_atomically(target, safetensors.torch.save(tensors, metadata=about))
    card = target.with_suffix(".md")
    write_atomically(card, card_of(record, target.name, {n: tuple(t.shape) for n, t in tensors.items()}).encode())
    return [target, card]


def name_of(record: RunRecord) -> str:
    """The stem of the files of a run, which ends with its hash."""
    spec = record.spec
    return f"{spec.method}-{spec.dataset}-{spec.protocol}-shots{spec.shots}-seed{spec.seed}-{spec.hash}"


def about_of(record: RunRecord, file: str) -> dict[str, str]:
    """The metadata of the file: texts by name, and JSON for values that are not texts."""
    spec = record.spec.to_json()
    texts = ("suite", "protocol", "method", "dataset", "template", "backbone", "checkpoint", "precision", "split")
    values = ("shots", "seed", "options", "training", "targets")
    return {
        "format": FORMAT,
        **{name: spec[name] for name in texts},
        **{name: json.dumps(spec[name]) for name in values},
        "class_names": json.dumps(_classes(record), ensure_ascii=False),
        "scores": json.dumps(
            {
                name: {"correct": score.correct, "total": score.total, "classes": score.classes}
                for name, score in record.scores.items()
            }
        ),
        "commit": ", ".join(commits([record])),
        "record": record.spec.hash,
        "learned_values": "loaded from " + str(_origin(record)) if record.spec.loaded else "trained by this run",
        "how_to_score": scoring_command(record, file),
    }


def scoring_command(record: RunRecord, file: str) -> str:
    """The command that scores the file as the run was scored; the reader replaces words in capitals."""
    spec = record.spec
    words = shlex.split(commands([record])[0])
    if spec.loaded:
        words = words[: words.index("--load")]
    return shlex.join([*words, "--load", f"{spec.method}={file}"])


def card_of(record: RunRecord, file: str, shapes: dict[str, tuple[int, ...]]) -> str:
    """The model card, in Markdown."""
    spec, title = record.spec, method_title(record.spec.method)
    rows = [
        [name, score.classes, score.correct, score.total, f"{accuracy_percent(score.correct, score.total):.2f}"]
        for name, score in record.scores.items()
    ]
    numbers = tabulate(rows, headers=["class set", "classes", "correct", "images", "accuracy, %"], tablefmt="github",
                       disable_numparse=True)  # fmt: skip
    learned = ", ".join(f"`{name}` {shape}" for name, shape in sorted(shapes.items()))
    return "\n".join(
        [
            f"# {title} on {spec.dataset}, {spec.shots} shots, seed {spec.seed}",
            "",
            f"What {title} {_made(record)} for a frozen CLIP, `{spec.backbone}` (files {spec.checkpoint}), "
            f"{spec.precision}. It does not work with another CLIP.",
            "",
            f"- File: `{file}`, tensors {learned}",
            f"- Protocol: {spec.protocol}, suite {spec.suite}; template: `{spec.template}`",
            f"- Options: `{json.dumps(dict(spec.options), ensure_ascii=False)}`",
            f"- Classes of the training: {_listed(_classes(record))}",
            f"- Measured at commit {', '.join(commits([record]))}; record {spec.hash}",
            "",
            "## Results",
            "",
            numbers,
            *_harmonic(record),
            "",
            "One run: a single seed says little. Correct and images are counts on the whole test list.",
            "",
            "## How to score it",
            "",
            "In a checkout of the benchmark, with this file in the current folder; replace the words in capitals:",
            "",
            "```bash",
            scoring_command(record, file),
            "```",
            "",
            "The file's metadata hold all of the above and the names of all classes; "
            '`safetensors.safe_open(file, "pt").metadata()` reads them.',
            "",
        ]
    )


def _made(record: RunRecord) -> str:
    if record.spec.loaded:
        return f"had learned elsewhere (loaded from {_origin(record)}) and was scored with"
    return f"learned on the {record.spec.shots}-shot sample of {record.spec.dataset}, seed {record.spec.seed},"


def _origin(record: RunRecord) -> object:
    return (record.provenance.get("loaded_from") or {}).get("file", "a file")


def _classes(record: RunRecord) -> list[str]:
    return list(record.provenance.get(TRAINED_CLASSES) or [])


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:LISTED_CLASSES])
    return f"{shown} and {len(names) - LISTED_CLASSES} more" if len(names) > LISTED_CLASSES else shown


def _harmonic(record: RunRecord) -> list[str]:
    """The line with the harmonic mean, for base-to-new."""
    if not {"base", "new"} <= record.scores.keys():
        return []
    base, new = (accuracy_percent(record.scores[half].correct, record.scores[half].total) for half in ("base", "new"))
    return ["", f"Harmonic mean of base and new: {harmonic_mean(base, new):.2f} %."]
