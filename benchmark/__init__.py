"""A benchmark for prompt learning with CLIP: `run` does from Python what run_all.py does (docs/from-python.md)."""

import os

__all__ = ["collect", "create_method", "load_clip", "method_names", "run"]

# Both must be set before torch is imported.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads of torch's matrix products sleep while they wait: two that spin on one core are 15 times slower than one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> object:
    """A public name, imported when it is asked for: importing the package imports no torch."""
    if name == "collect":
        from benchmark.records.store import collect as found
    elif name == "create_method":
        from benchmark.plugins.factory import create_method as found
    elif name == "load_clip":
        from benchmark.clip.backbone import load_clip as found
    elif name == "method_names":
        from benchmark.plugins.discovery import method_names as found
    elif name == "run":
        from benchmark.cli.api import run as found
    else:
        raise AttributeError(f"module 'benchmark' has no attribute '{name}'")
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
