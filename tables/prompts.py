"""Print the vocabulary words nearest to the learned context vectors of a run, as in the CoOp paper.

python -m tables.prompts --run RECORD.json [--words 3] [--class NAME]
"""

import argparse
import sys
from pathlib import Path

from tabulate import tabulate

from benchmark.common.command import Parser, answer, in_utf8, path_option
from benchmark.common.config import RunSpec
from benchmark.errors import ConfigError
from benchmark.records.record import RunRecord
from benchmark.records.store import load
from tables.aggregate import method_title

CONDITIONAL = ("cocoop", "copl")  # methods that add an image-dependent shift to the vectors
DEEP = ("maple", "promptsrc", "tcp")  # methods with vectors in deeper layers too, which no embeddings of words enter


def parse(arguments: list[str] | None) -> argparse.Namespace:
    summary, _, usage = (__doc__ or "").strip().partition("\n\n")  # python -OO leaves no text
    parser = Parser(prog="python -m tables.prompts", description=summary, epilog=usage)
    add = parser.add_argument
    add("--run", type=path_option, required=True, metavar="RECORD.json", help="a record, next to its learned tensors")
    add("--words", type=int, default=3, metavar="N", help="number of words per vector (default: %(default)s)")
    add("--class", dest="class_name", metavar="NAME", help="for contexts per class: show this class "
        "(default: the first three)")  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Read the run and print its nearest words; exit code 0, or 2 with one message."""
    options = parse(arguments)
    return answer(lambda: _print(options))


def _print(options: argparse.Namespace) -> int:
    if options.words < 1:
        raise ConfigError(f"--words {options.words}: at least 1 is needed.")
    sys.stdout.write(table_of(load(options.run), options.run, words=options.words, class_name=options.class_name))
    return 0


def table_of(record: RunRecord, path: Path, *, words: int, class_name: str | None) -> str:
    """A caption and one row per vector: its number, its initial word if known, and words with distances."""
    from benchmark.inspection.nearest_words import nearest_words  # slow: imports PyTorch

    found = nearest_words(record, path, words=words, class_name=class_name)
    initial, own = initial_words(record.spec, max(row.number for row in found)), bool(found[0].class_name)
    rows = [
        [
            *([row.class_name] if own else []),
            row.number,
            *([initial[row.number - 1]] if initial else []),
            *(f"{word} {distance:.4f}" for word, distance in row.words),
        ]
        for row in found
    ]
    places = ["nearest", *(f"{place}." for place in range(2, len(found[0].words) + 1))]
    headers = [*(["class"] if own else []), "vector", *(["started as"] if initial else []), *places]
    return f"{_caption(record)}\n\n{tabulate(rows, headers=headers, tablefmt='github', disable_numparse=True)}\n"


def initial_words(spec: RunSpec, count: int) -> list[str]:
    """The word of ctx_init that each of `count` vectors started from; empty for a random start and loaded values.

    Of more words than vectors (MaPLe) the first are theirs.
    """
    words = str(spec.options.get("ctx_init") or "").replace("_", " ").split()
    return words[:count] if len(words) >= count and not spec.loaded else []


def _caption(record: RunRecord) -> str:
    spec = record.spec
    origin = "loaded, scored" if spec.loaded else "trained"
    text = (
        f"Nearest words to {method_title(spec.method)}'s context vectors, {origin} on {spec.dataset} ({spec.protocol}, "
        f"{spec.shots} shots, seed {spec.seed}, backbone {spec.backbone}), and their Euclidean distances."
    )
    if spec.method in CONDITIONAL:
        text += " For each image, a shift is added to these vectors."
    if spec.method in DEEP:
        text += " Vectors of deeper layers are not shown: they replace rows that are no embeddings of words."
    return text


if __name__ == "__main__":
    in_utf8()
    sys.exit(main())
