"""`from benchmark import run` does from Python what `python run_all.py` does from a shell (docs/from-python.md)."""

import os

__all__ = ["run"]

# Both must stand before torch is imported.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads of torch's matrix products wait asleep: spinning, two of them on a shared core are 15 times slower than one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> object:
    """`run`, imported when it is asked for: tables read records without torch."""
    if name == "run":
        from benchmark.cli.api import run

        return run
    raise AttributeError(f"module 'benchmark' has no attribute '{name}'")
