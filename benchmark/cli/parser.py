"""Define the command-line options of run_all.py and of `python -m benchmark`, and write them as a page.

`python -m benchmark.cli.parser > docs/command-line.md` writes the page. Nothing slow is imported here: --help is
answered at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

from benchmark.common.command import Parser, path_option
from benchmark.common.constants import CHECKPOINT_MINUTES, PRECISIONS
from benchmark.common.files import REPOSITORY

DESCRIPTION = "Run the benchmark: `python run_all.py --protocol base2new`; everything else has a default."
EXIT_CODES = "exit codes: 0 done, 1 a run failed, 2 nothing was started, 130 interrupted"
VERBS = {  # name -> what it does
    "doctor": "check whether a run would start, and print what to do if not",
    "download": "download datasets into a data folder",
    "export": "export the learned values of a recorded run with a model card",
    "new-method": "write the two files of a new method that already runs",
    "plan": "check a run and print what it would compute, without running it",
    "calibrate": "plan, with time and memory measured on this machine",
}
Group = argparse._ArgumentGroup


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options of run_all.py; names are checked later, with the nearest one in the message."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return run_parser().parse_args(words, argparse.Namespace(words=words))


def parse_verb(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a verb of `python -m benchmark` and its options into what `parse` makes of the same options."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    defaults = run_parser().parse_args([], argparse.Namespace(words=words[1:]))
    return verb_parser().parse_args(words, argparse.Namespace(**vars(defaults), verb=None))


def run_parser() -> Parser:
    """The parser of run_all.py."""
    parser = Parser(prog="run_all.py", description=DESCRIPTION, epilog=EXIT_CODES)
    _add_run(parser)
    _add_tools(parser.add_argument_group("tools (each has its own --help)", _tools()))
    return parser


def verb_parser() -> Parser:
    """The parser of `python -m benchmark`."""
    description = "Tools of the benchmark; run_all.py runs it."
    parser = Parser(prog="python -m benchmark", usage="%(prog)s TOOL ...", description=description)
    verbs = parser.add_subparsers(title="tools (each has its own --help)", description=_tools(), dest="verb",
                                  prog=parser.prog, metavar="TOOL", help=argparse.SUPPRESS)  # fmt: skip
    for name, text in VERBS.items():
        verb = verbs.add_parser(name, description=f"{text[0].upper()}{text[1:]}.")
        if name in ("doctor", "plan", "calibrate"):
            verb.set_defaults(**{name: True})
            _add_run(verb)
        if name == "doctor":
            _add_doctor(verb.add_argument_group("doctor").add_argument)
        elif name == "download":
            _add_download(verb.add_argument_group("download"))
        elif name == "export":
            verb.add_argument("export", type=path_option, metavar="RECORD.json", help="the record of the run")
            verb.add_argument("--out", type=path_option, default=REPOSITORY / "results", metavar="FOLDER",
                              help="folder of the two files (default: results)")  # fmt: skip
        elif name == "new-method":
            verb.add_argument("new_method", type=path_option, metavar="NAME",
                              help="name of the method, or path of its file")  # fmt: skip
    return parser


def _tools() -> str:
    return "\n".join(f"python -m benchmark {name:<12}{text}" for name, text in VERBS.items())


def _add_run(parser: Parser) -> None:
    """The options that say what to run, on what and how."""
    _add_what(parser.add_argument_group("what to run"))
    _add_data(parser.add_argument_group("data"))
    _add_methods(parser.add_argument_group("methods"))
    _add_compute(parser.add_argument_group("where and how to compute"))
    _add_output(parser.add_argument_group("what is written"))


def _add_what(group: Group) -> None:
    add = group.add_argument
    add("--protocol", default="base2new", metavar="NAME",
        help="base2new, cross_dataset, few_shot, domain_generalization, all")  # fmt: skip
    add("--suite", metavar="NAME", help="synthetic, paper (default with --data or --dataset) or a YAML file")
    add("--seeds", nargs="+", metavar="N", help="these seeds (default: those of the suite)")
    add("--shots", nargs="+", metavar="K", help="training images per class; several for few_shot only")
    add("--views", type=int, metavar="N", help="views of each training image, in turn (default: a new one each epoch)")
    add("--source", metavar="NAME", help="training dataset of cross_dataset (default: that of the suite)")


def _add_data(group: Group) -> None:
    add = group.add_argument
    add("--data", type=path_option, metavar="FOLDER", help="folder of the real datasets, docs/data.md")
    add("--datasets", nargs="+", metavar="NAME", help="only these (default: all of the suite, or the custom ones)")
    add("--dataset", action="append", default=[], metavar="NAME=PATH", dest="custom",
        help="add a custom dataset, docs/your-own-data.md; repeatable")  # fmt: skip


def _add_methods(group: Group) -> None:
    add = group.add_argument
    add("--methods", nargs="+", metavar="NAME", help="only these methods; separated by blanks or commas")
    add("--plugin", action="append", type=path_option, default=[], metavar="FILE", dest="plugins",
        help="add the method of a file, with its recipe next to it; repeatable")  # fmt: skip
    add("--set", action="append", default=[], metavar="METHOD.KEY=VALUE", dest="settings",
        help="change a recipe, e.g. cocoop.epochs=2; repeatable")  # fmt: skip
    add("--load", action="append", default=[], metavar="METHOD=PATH",
        help="score the learned values in a file, docs/released-prompts.md")  # fmt: skip


def _add_compute(group: Group) -> None:
    add = group.add_argument
    add("--backbone", metavar="NAME", help="hub id or folder of a CLIP (default: that of the suite)")
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: the best one available)")
    add("--precision", choices=PRECISIONS, metavar="NAME",
        help="fp64, fp32, tf32, bf16 or fp16 (default: that of the suite)")  # fmt: skip
    add("--processes", type=int, metavar="N", help="parallel runs on a CPU (default: its cores, at most 4)")
    add("--threads", type=int, metavar="N", help="threads of each process on a CPU (default: its share)")
    add("--checkpoint-minutes", type=float, default=CHECKPOINT_MINUTES, metavar="M",
        help="minutes between two checkpoints of a training (default: %(default)g)")  # fmt: skip
    off = partial(add, action="store_false")
    off("--no-cache", dest="cache", help="do not cache image features on disk")
    off("--no-lockstep", dest="lockstep", help="train each seed of a method by itself")
    off("--no-graphs", dest="graphs", help="do not use CUDA graphs for training steps")


def _add_output(group: Group) -> None:
    add = group.add_argument
    add("--out", type=path_option, default=REPOSITORY / "results", metavar="FOLDER",
        help="folder of records, tables and the report (default: results)")  # fmt: skip
    add("--std", action="store_true", help="tables with the standard deviation over seeds")
    add("--track", nargs="+", default=[], metavar="NAME",
        help="log finished runs to tensorboard, wandb, ..., docs/tracking.md")  # fmt: skip


def _add_tools(group: Group) -> None:
    """The flags of run_all.py that a verb replaces: they work, and help does not list them."""

    def add(*names: str, **options: object) -> None:
        group.add_argument(*names, **options | {"help": argparse.SUPPRESS})

    add("--new-method", type=path_option, metavar="NAME")
    add("--export", type=path_option, metavar="RECORD.json")
    add("--doctor", action="store_true")
    _add_doctor(add)
    add("--plan", action="store_true")
    add("--calibrate", action="store_true")
    add("--download", nargs="+", metavar="NAME")
    _add_archives(add)


def _add_doctor(add: Callable) -> None:
    add("--deep", action="store_true", help="decode every image instead of reading its header")
    add("--json", action="store_true", help="print JSON and nothing else")


def _add_archives(add: Callable) -> None:
    add("--from", type=path_option, metavar="FOLDER", dest="archives", help="use the archives or lists in this folder")
    add("--imagenet", nargs="+", metavar="PATH", help="link a tree with train/ and val/, or train=PATH val=PATH")
    add("--classnames", action="store_true", help="write ImageNet's classnames.txt from another dataset")


def _add_download(group: Group) -> None:
    add = group.add_argument
    add("download", nargs="+", metavar="NAME", help="datasets, or 'all' for every one but ImageNet")
    add("--data", type=path_option, metavar="FOLDER", help="folder of the real datasets; what is there stays")
    add("--plan", action="store_true", help="print sizes and download nothing")
    _add_archives(add)


def to_markdown() -> str:
    """The page with all options, as tables."""
    lines = [
        "# Command line",
        "",
        "Written by `python -m benchmark.cli.parser > docs/command-line.md`; change benchmark/cli/parser.py instead.",
        "",
        f"## run_all.py\n\n{DESCRIPTION} {EXIT_CODES[0].upper()}{EXIT_CODES[1:]}.",
        *_tables(run_parser()),
        "",
        "## python -m benchmark",
        "",
        "`doctor`, `plan` and `calibrate` take the options of run_all.py that say what to run, on what and how.",
    ]
    (verbs,) = (a.choices for a in verb_parser()._actions if isinstance(a, argparse._SubParsersAction))
    shared = {action.dest for action in run_parser()._actions if action.help != argparse.SUPPRESS}
    for name, verb in verbs.items():
        own = shared if name in ("doctor", "plan", "calibrate") else set()
        lines += ["", f"### {name}", "", verb.description, *_tables(verb, without=own)]
    return "\n".join(lines) + "\n"


def _tables(parser: Parser, *, without: Sequence[str] = ()) -> list[str]:
    """A table for each group of options."""
    lines = []
    for group in parser._action_groups:
        rows = [
            f"| `{_usage(action)}` | {action.help % vars(action)} |"
            for action in group._group_actions
            if action.help != argparse.SUPPRESS and action.dest not in {*without, "help"}
        ]
        if rows:
            lines += ["", f"| {group.title} | |", "| --- | --- |", *rows]
    return lines


def _usage(action: argparse.Action) -> str:
    more = f" [{action.metavar} ...]" if action.nargs == "+" else ""
    return " ".join([*action.option_strings[:1], f"{action.metavar or ''}{more}"]).strip()


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
