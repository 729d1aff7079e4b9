"""The nearest vocabulary words of what a run has learned in front of class names, as CoOp's paper prints them.

python -m tables.prompts --run RECORD.json [--words 3] [--class NAME]
"""

import argparse
import sys
from pathlib import Path

from tabulate import tabulate

from benchmark.common.config import RunSpec
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.records.record import RunRecord
from benchmark.records.store import load
from tables.aggregate import method_title

CONDITIONAL = ("cocoop", "copl")  # whose pictures move the vectors


def parse(arguments: list[str] | None) -> argparse.Namespace:
    summary, usage = __doc__.strip().split("\n\n")
    parser = argparse.ArgumentParser(prog="python -m tables.prompts", description=summary, epilog=usage)
    add = parser.add_argument
    add("--run", type=Path, required=True, metavar="RECORD.json", help="a record, its learned tensors beside it")
    add("--words", type=int, default=3, metavar="N", help="of each vector, so many (default: %(default)s)")
    add("--class", dest="class_name", metavar="NAME", help="of contexts that each class has for itself, this class's "
        "(default: the first three)")  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Read the run, look up the words, print. Exit code 0, or 2 with one message."""
    options = parse(arguments)
    try:
        if options.words < 1:
            raise ConfigError(f"--words {options.words}: at least 1 is needed.")
        sys.stdout.write(table_of(load(options.run), options.run, words=options.words, class_name=options.class_name))
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def table_of(record: RunRecord, path: Path, *, words: int, class_name: str | None) -> str:
    """A caption and a row a vector: its number, what it started as where that is known, words with distances."""
    from benchmark.inspection.nearest_words import nearest_words  # late: it needs torch, which nothing else here does

    found = nearest_words(record, path, words=words, class_name=class_name)
    started, own = started_as(record.spec, max(row.number for row in found)), bool(found[0].class_name)
    rows = [
        [
            *([row.class_name] if own else []),
            row.number,
            *([started[row.number - 1]] if started else []),
            *(f"{word} {distance:.4f}" for word, distance in row.words),
        ]
        for row in found
    ]
    places = ["nearest", *(f"{place}." for place in range(2, len(found[0].words) + 1))]
    headers = [*(["class"] if own else []), "vector", *(["started as"] if started else []), *places]
    return f"{_caption(record)}\n\n{tabulate(rows, headers=headers, tablefmt='github', disable_numparse=True)}\n"


def started_as(spec: RunSpec, count: int) -> list[str]:
    """The word of ctx_init that each of so many vectors started as; none for a random start and for loaded values."""
    words = str(spec.options.get("ctx_init") or "").replace("_", " ").split()
    return words if len(words) == count and not spec.loaded else []


def _caption(record: RunRecord) -> str:
    spec = record.spec
    where = "loaded, scored" if spec.loaded else "trained"
    text = (
        f"Nearest words to {method_title(spec.method)}'s context vectors, {where} on {spec.dataset} ({spec.protocol}, "
        f"{spec.shots} shots, seed {spec.seed}, backbone {spec.backbone}), and their Euclidean distances."
    )
    if spec.method in CONDITIONAL:
        text += " Of each picture, its own shift is added to these vectors."
    return text


if __name__ == "__main__":
    sys.exit(main())
