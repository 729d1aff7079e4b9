"""From a method's name to its class and its recipe, imported at first use so that one broken method harms no other."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from benchmark.clip.backbone import Clip
from benchmark.common.config import Training
from benchmark.common.constants import IMAGENET_TEMPLATES
from benchmark.common.files import shown
from benchmark.common.validation import build
from benchmark.common.yaml import read_yaml
from benchmark.errors import ConfigError, MethodError, did_you_mean, listed
from benchmark.method import Method
from benchmark.plugins.discovery import method_names, source_of
from benchmark.plugins.importer import blamed, method_class

__all__ = ["Recipe", "create_method", "method_class", "method_names", "resolve_recipe"]

TRAINING_KEYS = frozenset(f.name for f in fields(Training))
KEYS = ("title", "defaults", "cases")  # of a recipe file; the title is the method's name in tables
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

    Later layers win; what a later one gives overrules what contradicts it below (n_ctx against ctx_init). A word for
    `templates` stands for a list: `selected` for the seven selected templates, `selected_and_own` for these and the
    dataset's, and `ensemble` for what CoOp takes: the former on ImageNet, the latter elsewhere.

    Raises:
        ConfigError: unknown keys, wrong types, values out of range or keys that disagree in a layer.
        MethodError: the same in the recipe's own file.
    """
    run = {"protocol": protocol, "dataset": dataset, "shots": shots}
    with blamed(name):
        values, cases = _read_recipe(name)
        fitting = [case["set"] for case in cases if _fits(case["when"], **run)]
        try:
            return _laid_over(name, values, [*fitting, *layers], template=template, dataset=dataset)
        except ConfigError as error:
            if not layers:
                raise MethodError(str(error)) from error
            resolve_recipe(name, template=template, **run)  # whose fault it is: raises where the file alone is wrong
            raise


def _laid_over(
    name: str,
    values: Mapping[str, Any],
    layers: Sequence[Mapping[str, Any]],
    *,
    template: str,
    dataset: str | None,
) -> Recipe:
    """The recipe that some layers make of a method's defaults."""
    cls, where = method_class(name), shown(source_of(name).recipe)
    allowed = {*cls.option_names(), *TRAINING_KEYS, "template"}
    for layer in layers:
        _refuse_unknown(name, layer, allowed)
        values = cls.settle(values, layer)
    template = values.pop("template", template)
    if isinstance(word := values.get("templates"), str):
        values["templates"] = _template_list(word, dataset, template)
    training = {key: value for key, value in values.items() if key in TRAINING_KEYS}
    options = {key: value for key, value in values.items() if key not in TRAINING_KEYS}
    checked = build(cls.Options, options, where)
    return Recipe(
        options={f.name: getattr(checked, f.name) for f in fields(checked)},
        training=build(Training, training, where) if training else None,
        template=template,
    )


def _template_list(word: str, dataset: str | None, template: str) -> list[str] | str:
    """What a word for a list of templates stands for; an unknown one stays, and is refused as no list."""
    both = [*IMAGENET_TEMPLATES, template]
    lists = {"selected": [*IMAGENET_TEMPLATES], "selected_and_own": both}
    return lists.get({"ensemble": "selected" if dataset == "imagenet" else "selected_and_own"}.get(word, word), word)


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
        MethodError: the method's own code failed; with file and line.
    """
    cls = method_class(name)
    _refuse_unknown(name, config or {}, set(cls.option_names()))
    options = resolve_recipe(name, [config or {}], template=template).options
    start = int.from_bytes(hashlib.sha256(f"{seed} parameters".encode()).digest()[:8], "big") >> 1
    with torch.random.fork_rng(devices=[]), blamed(name):
        torch.manual_seed(start)
        return cls(clip, build(cls.Options, options, shown(source_of(name).recipe)), class_names, template)


def _read_recipe(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Defaults and cases of a recipe file; a case is {when: {dataset, protocol, shots}, set: {key: value}}.

    Raises:
        MethodError: what is wrong with the file.
    """
    path = source_of(name).recipe
    try:
        raw = read_yaml(path)
        defaults, cases = raw.get("defaults") or {}, raw.get("cases") or []
        if not isinstance(defaults, dict) or not isinstance(cases, list):
            raise ConfigError(f"{shown(path)}: 'defaults' is a mapping and 'cases' a list.")
        _refuse_unknown(name, defaults, {*method_class(name).option_names(), *TRAINING_KEYS})
    except ConfigError as error:
        raise MethodError(str(error)) from error
    problems = [f"'{key}' is unknown; a recipe has {' and '.join(KEYS)}" for key in raw.keys() - set(KEYS)]
    if not isinstance(raw.get("title", name), str):
        problems.append(f"'title' is a text, got {raw['title']!r}")
    for number, case in enumerate(cases, start=1):
        if not (isinstance(case, dict) and case.keys() == {"when", "set"} and all(map(_is_mapping, case.values()))):
            problems.append(f"case {number} must have exactly 'when' and 'set', both mappings")
        elif unknown := case["when"].keys() - set(CONDITIONS):
            problems.append(
                f"case {number} asks about {', '.join(sorted(unknown))}; it may ask: {', '.join(CONDITIONS)}"
            )
    if problems:
        raise MethodError(listed(shown(path), problems))
    return dict(defaults), cases


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def _fits(when: Mapping[str, Any], **run: Any) -> bool:
    """Whether every condition of a case names this run's value, alone or in a list."""
    return all(run[key] in (wanted if isinstance(wanted, list) else [wanted]) for key, wanted in when.items())


def _refuse_unknown(name: str, layer: Mapping[str, Any], allowed: set[str]) -> None:
    unknown = sorted(layer.keys() - allowed, key=str)
    if unknown:
        raise ConfigError(
            "; ".join(f"{name}: '{key}' is not an option. {did_you_mean(str(key), allowed)}" for key in unknown)
        )
