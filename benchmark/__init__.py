"""A benchmark for prompt learning with CLIP: `run` does from Python what run_all.py does (docs/from-python.md)."""

import os
from importlib import import_module

_PUBLIC = {  # name -> its module, imported when the name is asked for: importing the package imports no torch
    "collect": "benchmark.records.store",
    "create_method": "benchmark.plugins.factory",
    "load_clip": "benchmark.clip.backbone",
    "method_names": "benchmark.plugins.discovery",
    "run": "benchmark.cli.api",
}
__all__ = sorted(_PUBLIC)

# Both must be set before torch is imported.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads of torch's matrix products sleep while they wait: two that spin on one core are 15 times slower than one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'benchmark' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
