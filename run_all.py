"""Run the benchmark: `python run_all.py --protocol base2new`; everything else has a default."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; names are checked later, with the nearest one at hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--protocol", default="base2new", metavar="NAME", help="base2new, cross_dataset, few_shot, "
        "domain_generalization, or all of them (default: %(default)s)")  # fmt: skip
    add("--data", type=Path, metavar="FOLDER", help="the real datasets, laid out as in docs/data.md; "
        "without it or --dataset the embedded suite runs")  # fmt: skip
    add("--dataset", action="append", default=[], metavar="NAME=PATH", dest="own", help="a dataset of your own: a tree "
        "of class folders, a CSV or a CoOp split file (docs/your-own-data.md); may be repeated")  # fmt: skip
    add("--suite", help="datasets, seeds and backbone: synthetic, paper (default with --data or --dataset), or a YAML "
        "file")  # fmt: skip
    add("--methods", nargs="+", metavar="NAME", help="only these methods; blanks or commas between them")
    add("--plugin", action="append", type=Path, default=[], metavar="FILE", help="a method outside this "
        "repository, its recipe beside it; may be repeated")  # fmt: skip
    add("--new-method", type=Path, metavar="NAME", help="write NAME.py and NAME.yaml, a method that already runs "
        "and is yours to change, and do nothing else")  # fmt: skip
    add("--datasets", nargs="+", metavar="NAME", help="only these datasets (default: the suite's, or your own alone)")
    add("--seeds", nargs="+", metavar="N", help="these seeds (default: the suite's)")
    add("--source", metavar="NAME", help="the dataset that cross_dataset trains on (default: the suite's)")
    add("--shots", nargs="+", metavar="K", help="training images per class; several for few_shot alone (default: the "
        "suite's, for few_shot 1 2 4 8 16)")  # fmt: skip
    add("--backbone", metavar="NAME", help="Hugging Face hub id or folder of a CLIP (default: the suite's)")
    add("--out", type=Path, default=ROOT / "results", metavar="FOLDER", help="where records and tables go")
    add("--set", action="append", default=[], metavar="METHOD.KEY=VALUE", dest="settings",
        help="change a recipe, e.g. cocoop.epochs=2; may be repeated")  # fmt: skip
    add("--load", action="append", default=[], metavar="METHOD=PATH", help="score what a file has learned instead of "
        "training that method: a checkpoint of the authors' code or a file of --export; {dataset}, {seed} and {shots} "
        "in PATH stand for a run's (docs/released-prompts.md); may be repeated")  # fmt: skip
    add("--track", nargs="+", default=[], metavar="NAME", help="tell finished runs to experiment trackers: "
        "tensorboard, wandb, mlflow, ... (docs/tracking.md)")  # fmt: skip
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the best there is)")
    add("--precision", choices=("fp32", "tf32", "bf16", "fp16"), default="fp32", help="of the frozen towers; what is "
        "learned stays float32 (default: %(default)s)")  # fmt: skip
    add("--processes", type=int, metavar="N", help="runs side by side on a CPU (default: its cores, at most 4)")
    add("--threads", type=int, metavar="N", help="of each process on a CPU (default: its share of the cores)")
    add("--checkpoint-minutes", type=float, default=5, metavar="M", help="a training under way is kept on disk this "
        "often, and goes on from there (default: %(default)s)")  # fmt: skip
    add("--no-cache", action="store_true", help="neither read image features from disk nor keep them there")
    add("--no-lockstep", action="store_true", help="train the seeds of a method one by one, not in one pass")
    add("--no-graphs", action="store_true", help="on a GPU, start every kernel of a training step by itself")
    add("--plan", action="store_true", help="only check and print what would run")
    add("--calibrate", action="store_true", help="as --plan, with hours and memory: a little of each kind of work is "
        "timed on this machine")  # fmt: skip
    add("--export", type=Path, metavar="RECORD.json", help="only write what a recorded run has learned as safetensors "
        "with a model card, into --out")  # fmt: skip
    add("--doctor", action="store_true", help="look whether this run would start, and what to do where not: datasets, "
        "backbone, device, disks; with --data at every dataset; exit code 0 if it would, else 1")  # fmt: skip
    add("--deep", action="store_true", help="with --doctor: decode every picture, not only read its header")
    add("--json", action="store_true", help="with --doctor: print JSON and nothing else")
    add("--std", action="store_true", help="tables with the standard deviation over seeds")
    _add_fetching(parser.add_argument_group("fetching datasets, instead of running (docs/data.md)").add_argument)
    words = sys.argv[1:] if arguments is None else arguments
    return parser.parse_args(words, argparse.Namespace(words=words))


def _add_fetching(add: Callable) -> None:
    add("--download", nargs="+", metavar="NAME", help="fetch these datasets into --data, or 'all' but ImageNet; what "
        "is there stays; with --plan only sizes are shown")  # fmt: skip
    add("--from", type=Path, metavar="FOLDER", dest="archives", help="take archives, or CoOp's lists, from "
        "there, not from the hub")  # fmt: skip
    add("--imagenet", nargs="+", metavar="PATH", help="with --download imagenet: link this tree, which holds train/ "
        "and val/, or train=PATH val=PATH")  # fmt: skip
    add("--classnames", action="store_true", help="with --download imagenet: write its classnames.txt too, from a "
        "dataset that holds it")  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Plan, run what is missing, render. Returns the exit code: 0, 1 if a run failed, 2 if nothing could start."""
    began, options = time.perf_counter(), parse(arguments)
    from benchmark.common import shutdown  # late: torch takes seconds to import, --help should not
    from benchmark.errors import BenchmarkError, ConfigError, StoreLostError

    kept = "finished runs and checkpoints are kept" if options.download is None else "what was fetched is kept"

    try:
        if options.new_method:
            from benchmark.plugins.scaffold import write_new_method

            print(write_new_method(options.new_method))
            return 0
        with shutdown.on_sigterm():
            if options.download is not None:
                from benchmark.cli import download

                return download.run(options)
            if options.archives or options.imagenet or options.classnames:
                raise ConfigError("--from, --imagenet and --classnames go with --download NAME.")
            from benchmark.cli import commands

            return commands.run(options, began=began)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, StoreLostError) else 2
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "benchmark", "methods", "tables"):
            raise
        print(f"error: {error}. Install what is needed: pip install -r {ROOT / 'requirements.txt'}", file=sys.stderr)
        return 2
    except shutdown.Terminated:
        print(f"ended on request; {kept}, the same command goes on.", file=sys.stderr)
        return shutdown.EXIT_CODE
    except KeyboardInterrupt:
        print(f"\ninterrupted; {kept}, the same command goes on from there.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
