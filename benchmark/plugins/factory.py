"""Create methods by name."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from benchmark.clip.backbone import Clip
from benchmark.common.files import shown
from benchmark.common.validation import build
from benchmark.method import Method
from benchmark.plugins.discovery import source_of
from benchmark.plugins.importer import attribute_errors_to, method_class
from benchmark.plugins.recipes import refuse_unknown, resolve_recipe


def create_method(
    name: str,
    *,
    clip: Clip,
    class_names: Sequence[str],
    template: str,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Method:
    """Create a method with fresh learnable parameters.

    Args:
        class_names: C names in the order of their labels.
        template: the dataset's, with one {}.
        config: options of the method; the others are those of its recipe for base2new.
        seed: of the random initial values. Global generators stay as they are.
    Raises:
        ConfigError: an unknown method or key, a wrong type, or given keys that disagree.
        MethodError: the method's own code failed; with file and line.
    """
    cls = method_class(name)
    refuse_unknown(name, config or {}, set(cls.option_names()))
    options = resolve_recipe(name, [config or {}], template=template).options
    start = int.from_bytes(hashlib.sha256(f"{seed} parameters".encode()).digest()[:8], "big") >> 1
    with torch.random.fork_rng(devices=[]), attribute_errors_to(name):
        torch.manual_seed(start)
        return cls(clip, build(cls.Options, options, shown(source_of(name).recipe)), class_names, template)
