"""From a method's name to its class and its recipe, imported at first use so that one broken method harms no other."""

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from benchmark.clip.backbone import Clip
from benchmark.config import Training, build, read_yaml
from benchmark.constants import IMAGENET_TEMPLATES
from benchmark.errors import ConfigError, did_you_mean
from benchmark.method import Method

METHODS = Path(__file__).resolve().parents[1] / "methods"
TRAINING_KEYS = frozenset(f.name for f in fields(Training))
CONDITIONS = ("dataset", "protocol", "shots")  # what a case of a recipe may ask about
HAND_MADE = "base2new"  # the protocol whose recipe a method takes where no run says otherwise


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A method's settings for one run.

    Attributes:
        options: the method's own, complete and checked.
        training: what the harness does with it; None for a method that learns nothing.
        template: the one in force: the dataset's, unless the recipe names another.
    """

    options: dict[str, Any]
    training: Training | None
    template: str


def method_names() -> tuple[str, ...]:
    """Names of all methods, alphabetically: the files of methods/ that have a recipe beside them."""
    return tuple(sorted(path.stem for path in METHODS.glob("*.yaml")))


def method_class(name: str) -> type[Method]:
    """The class of a method, the one subclass of Method that its file defines.

    Raises:
        ConfigError: an unknown name (with the nearest), or a file that does not define exactly one method.
    """
    if name not in method_names():
        raise ConfigError(f"'{name}' is not a method. {did_you_mean(name, method_names())}")
    module = importlib.import_module(f"methods.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ConfigError(f"methods/{name}.py defines {len(found)} subclasses of Method; exactly one is needed.")
    return found[0]


def resolve_recipe(
    name: str,
    layers: Sequence[Mapping[str, Any]] = (),
    *,
    template: str,
    protocol: str = HAND_MADE,
    dataset: str | None = None,
    shots: int | None = None,
) -> Recipe:
    """The recipe of a run: the method's defaults, its fitting cases, then each layer (suite, then command line).

    Later layers win; what a later one gives overrules what contradicts it below (n_ctx against ctx_init). The word
    `ensemble` for `templates` stands for the seven selected templates and, except on ImageNet, the dataset's own.

    Raises:
        ConfigError: unknown keys, wrong types, values out of range or keys that disagree.
    """
    cls, where = method_class(name), f"methods/{name}.yaml"
    values, cases = _read_recipe(name)
    fitting = [case["set"] for case in cases if _fits(case["when"], protocol=protocol, dataset=dataset, shots=shots)]
    allowed = {*cls.option_names(), *TRAINING_KEYS, "template"}
    for layer in [*fitting, *layers]:
        _refuse_unknown(name, layer, allowed)
        values = cls.settle(values, layer)
    template = values.pop("template", template)
    if values.get("templates") == "ensemble":
        values["templates"] = [*IMAGENET_TEMPLATES, *([] if dataset == "imagenet" else [template])]
    training = {key: value for key, value in values.items() if key in TRAINING_KEYS}
    options = {key: value for key, value in values.items() if key not in TRAINING_KEYS}
    checked = build(cls.Options, options, where)
    return Recipe(
        options={f.name: getattr(checked, f.name) for f in fields(checked)},
        training=build(Training, training, where) if training else None,
        template=template,
    )


def create_method(
    name: str,
    *,
    clip: Clip,
    class_names: Sequence[str],
    template: str,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Method:
    """A method with fresh learnable parameters.

    Args:
        class_names: C names in the order of their labels.
        template: the dataset's, with one {}.
        config: the method's options; those not given are its recipe's for base2new.
        seed: of the random start. Global generators are left as they were.
    Raises:
        ConfigError: an unknown method or key, a wrong type, or given keys that disagree.
    """
    cls = method_class(name)
    _refuse_unknown(name, config or {}, set(cls.option_names()))
    options = resolve_recipe(name, [config or {}], template=template).options
    start = int.from_bytes(hashlib.sha256(f"{seed} parameters".encode()).digest()[:8], "big") >> 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(start)
        return cls(clip, build(cls.Options, options, f"methods/{name}.yaml"), class_names, template)


def _read_recipe(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Defaults and cases of a recipe file; a case is {when: {dataset, protocol, shots}, set: {key: value}}."""
    path = METHODS / f"{name}.yaml"
    raw = read_yaml(path)
    problems = [
        f"'{key}' is unknown; a recipe has 'defaults' and 'cases'" for key in raw.keys() - {"defaults", "cases"}
    ]
    defaults, cases = raw.get("defaults") or {}, raw.get("cases") or []
    for number, case in enumerate(cases, start=1):
        if not isinstance(case, dict) or case.keys() != {"when", "set"}:
            problems.append(f"case {number} must have exactly 'when' and 'set'")
        elif unknown := case["when"].keys() - set(CONDITIONS):
            problems.append(
                f"case {number} asks about {', '.join(sorted(unknown))}; it may ask: {', '.join(CONDITIONS)}"
            )
    if problems:
        raise ConfigError(f"methods/{path.name}: " + "; ".join(problems))
    _refuse_unknown(name, defaults, {*method_class(name).option_names(), *TRAINING_KEYS})
    return dict(defaults), cases


def _fits(when: Mapping[str, Any], **run: Any) -> bool:
    """Whether every condition of a case names this run's value, alone or in a list."""
    return all(run[key] in (wanted if isinstance(wanted, list) else [wanted]) for key, wanted in when.items())


def _refuse_unknown(name: str, layer: Mapping[str, Any], allowed: set[str]) -> None:
    unknown = sorted(layer.keys() - allowed, key=str)
    if unknown:
        raise ConfigError(
            "; ".join(f"{name}: '{key}' is not an option. {did_you_mean(str(key), allowed)}" for key in unknown)
        )
