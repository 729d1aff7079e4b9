"""Measure the CPU time until a command answers: python -m benchmark.speed.start

Each command runs three times in a process of its own, with a warm file cache, and the median is printed. The bars are
for a busy machine that is twice as slow as the one they were set on.
"""

import resource
import statistics
import subprocess
import sys
import tempfile

from tabulate import tabulate

from benchmark.common.files import REPOSITORY

REPEATS = 3
RUN = ("run_all.py",)
ONE_DATASET = ("--datasets", "synth_textures", "--seeds", "1", "--methods", "zero_shot")
COMMANDS = {  # what is measured -> bar in seconds, arguments of Python; FOLDER is a temporary folder
    "--help": (0.3, (*RUN, "--help")),
    "python -m benchmark doctor --help": (0.3, ("-m", "benchmark", "doctor", "--help")),
    "wrong method": (1.5, (*RUN, "--methods", "copp")),
    "wrong dataset": (1.5, (*RUN, "--datasets", "synth_texture")),
    "wrong protocol": (1.5, (*RUN, "--protocol", "base2nw")),
    "wrong number": (1.5, (*RUN, "--seeds", "one")),
    "wrong device": (1.5, (*RUN, "--device", "gpu")),
    "wrong key of a recipe": (1.5, (*RUN, "--set", "coop.n_ctxx=4")),
    "wrong value of a recipe": (1.5, (*RUN, "--set", "coop.n_ctx=four")),
    "wrong key of a suite": (1.5, (*RUN, "--suite", "FOLDER/suite.yaml")),
    "--plan on an embedded dataset": (5.0, (*RUN, "--plan", "--out", "FOLDER/plan", *ONE_DATASET[:-2])),
    "python -m tables": (3.0, ("-m", "tables", "--from", "FOLDER/results/synthetic", "--out", "FOLDER/tables")),
}


def cpu_seconds(arguments: tuple[str, ...], folder: str) -> float:
    """User and system time of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [word.replace("FOLDER", folder) for word in arguments]
    subprocess.run([sys.executable, *words], cwd=REPOSITORY, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Print a row per command."""
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/suite.yaml", "w", encoding="utf-8") as suite:
            suite.write("backbone: embedded\ndatasets: [synth_textures]\nshots: 1\nseed: [1]\n")
        cpu_seconds((*RUN, *ONE_DATASET, "--out", "FOLDER/results"), folder)  # records for the tables; fills caches
        rows = []
        for name, (bar, arguments) in COMMANDS.items():
            seconds = statistics.median(cpu_seconds(arguments, folder) for _ in range(REPEATS))
            rows.append([name, f"{seconds:.2f}", f"{bar:.1f}", "yes" if seconds <= bar else "no"])
    print(tabulate(rows, headers=["command", "CPU seconds", "bar", "within"], disable_numparse=True))


if __name__ == "__main__":
    main()
