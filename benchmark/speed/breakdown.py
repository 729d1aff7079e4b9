"""Measure where the CPU seconds of a whole command go: python -m benchmark.speed.breakdown [--json FILE].

Two grids of all six methods run in one process and one thread: some datasets of the embedded suite as they are, and
few steps with random weights of ViT-B/16's shape on generated photographs. While they run, some functions of the
harness are replaced by ones that also switch a clock; a normal run has none of this. The backward pass of the text
tower lasts from the gradient of its features to that of its context. What no row names is Python between the parts.
"""

import argparse
import functools
import inspect
import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from benchmark.cli import commands, grid
from benchmark.cli.main import run_command
from benchmark.cli.parser import parse
from benchmark.clip.backbone import Clip
from benchmark.clip.config import read_config
from benchmark.clip.text import TextEncoder
from benchmark.common.command import path_option
from benchmark.common.config import load_suite
from benchmark.common.files import cache_folder
from benchmark.data.synthetic.captions import CHOICES
from benchmark.data.synthetic.names import CHECKPOINT, suite_version
from benchmark.data.synthetic.suite import generate_datasets
from benchmark.errors import BenchmarkError
from benchmark.features import encoder
from benchmark.features.store import FeatureStore
from benchmark.running import runner
from benchmark.running.recording import Recorder
from benchmark.speed.geometry import random_clip
from benchmark.speed.grid import generated_jpeg
from benchmark.speed.measure import report
from benchmark.training import loop

TEXT, IMAGE, START, STEP = "text tower", "image tower", "imports, loading, planning", "rest of a training step"
PARTS: tuple[tuple[str, object, tuple[str, ...]], ...] = (  # part, whose functions, their names
    (TEXT, TextEncoder, ("encode", "encode_dense")),
    (IMAGE, Clip, ("encode_images",)),
    ("decoding", encoder, ("check_unchanged", "open_image")),
    ("cropping and resizing", encoder, ("test_view", "train_view", "view_generator")),
    ("normalising", encoder.ImageEncoder, ("_normalised",)),
    ("looking up features", FeatureStore, ("train", "test")),
    (STEP, loop.Trainer, ("fit",)),
    ("optimiser", torch.optim.SGD, ("step",)),
    ("optimiser", torch.optim.Optimizer, ("zero_grad",)),
    ("rest of scoring", runner, ("evaluate",)),
    ("tokens and tries", Clip, ("tokenize", "plan")),
    ("rest of runs", runner.Runner, ("run",)),
    ("records", Recorder, ("save",)),
    (START, runner, ("load_clip",)),
    (START, commands, ("make_plan",)),
    ("tables and report", grid, ("outcome_of", "finish")),
)
OTHER = "elsewhere"
DATASETS = ("synth_pets", "synth_scenes", "synth_textures")
SHOTS, EPOCHS = 2, 5  # with ViT-B/16, and as many test images of a class as shots
NAMES = tuple(itertools.product(CHOICES["object"]["colour"], CHOICES["car"]["body"]))  # words that it knows
TITLE = "Where a run's CPU seconds go: the embedded suite, and ViT-B/16's shape (random weights, few steps)"


class Clock:
    """CPU seconds of each part; each thread is in one part at a time.

    Attributes:
        seconds: by part, of threads that have left it.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._of_thread, self._lock = threading.local(), threading.Lock()

    def switch(self, part: str) -> str:
        """Begin a part in this thread; return the one that ends."""
        now, own = time.thread_time(), vars(self._of_thread)
        ended, since = own.get("state", (OTHER, now))
        with self._lock:
            self.seconds[ended] = self.seconds.get(ended, 0.0) + now - since
        own["state"] = (part, now)
        return ended

    def timed(self, part: str, work: Callable) -> Callable:
        """A function or generator function that also counts its time for a part, less that of parts inside it."""

        @functools.wraps(work)
        def function(*arguments: object, **options: object) -> object:
            around = self.switch(part)
            try:
                result = work(*arguments, **options)
            finally:
                self.switch(around)
            if part == TEXT and isinstance(result, Tensor) and result.requires_grad:
                self._time_backward(result, arguments)
            return result

        @functools.wraps(work)
        def generator(*arguments: object, **options: object) -> Iterator[object]:
            values = work(*arguments, **options)
            while True:
                around = self.switch(part)
                try:
                    value = next(values, None)
                finally:
                    self.switch(around)
                if value is None:
                    return
                yield value

        return generator if inspect.isgeneratorfunction(work) else function

    def _time_backward(self, features: Tensor, inputs: Sequence[object]) -> None:
        """Count the time between the gradients of features and inputs: one thread reaches them in this order."""

        def begin(_: Tensor) -> None:
            self.switch(TEXT)

        def end(_: Tensor) -> None:
            self.switch(STEP)

        features.register_hook(begin)
        for tensor in inputs:
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                tensor.register_hook(end)


@contextmanager
def clock_running() -> Iterator[Clock]:
    """Replace the functions of PARTS by timed ones inside the block."""
    clock, before = Clock(), [(owner, name, vars(owner)[name]) for _, owner, names in PARTS for name in names]
    try:
        for part, owner, names in PARTS:
            for name in names:
                setattr(owner, name, clock.timed(part, vars(owner)[name]))
        yield clock
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def seconds_of(command: Sequence[str], *, imports: float) -> dict[str, float]:
    """Do a command of run_all.py in this process and one thread; return the CPU seconds of each part.

    Args:
        imports: CPU seconds that this process took before, which belong to START.
    Raises:
        BenchmarkError: the command failed; it has printed why.
    """
    before = time.process_time()
    with clock_running() as clock:
        code = run_command(parse([*command, "--device", "cpu", "--processes", "1", "--threads", "1", "--no-cache"]))
        clock.switch(OTHER)
    if code:
        raise BenchmarkError(f"The command ended with exit code {code}: {' '.join(command)}")
    seconds = {part: 0.0 for part, _, _ in PARTS} | clock.seconds
    seconds[OTHER] += time.process_time() - before - sum(seconds.values())  # of threads that no part names
    seconds[START] += imports
    return seconds


def make_backbone(folder: Path) -> Path:
    """Write a checkpoint of ViT-B/16's shape with random weights, which reads the embedded one's few tokens."""
    model = random_clip().model
    model.config.text_config.eos_token_id = read_config(CHECKPOINT, "embedded").text_config.eos_token_id
    model.save_pretrained(folder)
    for path in (*CHECKPOINT.glob("*token*"), CHECKPOINT / "vocab.json", CHECKPOINT / "merges.txt"):
        shutil.copy(path, folder)
    return folder


def make_photographs(folder: Path, classes: int, of_class: int) -> Path:
    """Write generated JPEGs into folders of classes, as many for training as for the test."""
    for number in range(2 * classes):
        own = folder / ("train", "test")[number % 2] / " ".join(NAMES[number // 2])
        own.mkdir(parents=True)
        for i in range(of_class):
            (own / f"{i}.jpg").write_bytes(generated_jpeg(seed=number * of_class + i))
    return folder


def epochs_of(methods: Sequence[str], epochs: int) -> list[str]:
    """The options that set the epochs of methods."""
    return [word for method in methods for word in ("--set", f"{method}.epochs={epochs}")]


def rows_of(found: Mapping[str, Mapping[str, float]]) -> list[dict[str, object]]:
    """Return a row for each part with its seconds and share of each case, in the order of the first case."""
    first = next(iter(found.values()))
    return [
        {"part": part}
        | {f"{case} seconds": seconds[part] for case, seconds in found.items()}
        | {f"{case} share": seconds[part] / sum(seconds.values()) for case, seconds in found.items()}
        for part in sorted(first, key=first.get, reverse=True)
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=path_option, metavar="FILE", help="also write the rows to this file")
    parser.add_argument("--datasets", nargs="+", metavar="NAME", default=DATASETS, help="embedded (default: three)")
    parser.add_argument("--seeds", nargs="+", metavar="N", default=["1", "2", "3"], help="(default: 1 2 3)")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="only these (default: the suite's six)")
    parser.add_argument("--epochs", type=int, help="of each method (default: the suite's, and 5 with ViT-B/16)")
    most = range(2, len(NAMES) + 1)
    help_classes = f"with ViT-B/16, half of them new, at most {most[-1]} (default: 20)"
    parser.add_argument("--classes", type=int, default=20, choices=most, metavar="N", help=help_classes)
    options = parser.parse_args(arguments)
    imports = time.process_time()
    torch.set_num_threads(1)
    chosen = options.methods or load_suite("synthetic").methods
    learned = [method for method in chosen if method != "zero_shot"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        common = ["--methods", *chosen, "--protocol", "base2new"]
        embedded = [*common, "--datasets", *options.datasets, "--seeds", *options.seeds]
        if options.epochs:
            embedded += epochs_of(learned, options.epochs)
        photographs = make_photographs(folder / "photographs", options.classes, SHOTS)
        real = [*common, "--dataset", f"photographs={photographs}", "--backbone", str(make_backbone(folder / "vit"))]
        real += ["--seeds", "1", "--shots", str(SHOTS), *epochs_of(learned, options.epochs or EPOCHS)]
        # once for each machine, so not a part of a run
        generate_datasets(cache_folder() / f"synthetic-{suite_version()}", options.datasets)
        found = {
            case: seconds_of([*command, "--out", str(folder / case)], imports=imports)
            for case, command in (("embedded", embedded), ("vit", real))
        }
    report(rows_of(found), title=TITLE, device="cpu", path=options.json)


if __name__ == "__main__":
    main()
