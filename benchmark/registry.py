"""From a method's name to its class and its recipe, imported at first use so that one broken method harms no other."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmark.clip.backbone import Clip
from benchmark.config import Training, build, read_yaml
from benchmark.constants import IMAGENET_TEMPLATES
from benchmark.errors import BenchmarkError, ConfigError, MethodError, did_you_mean, listed
from benchmark.method import Method
from benchmark.provenance import sha256_file
from benchmark.sources import Source, method_names, source_of
from benchmark.strict_yaml import shown

__all__ = ["Recipe", "blamed", "broken", "code_of", "create_method", "method_class", "method_names", "resolve_recipe"]

TRAINING_KEYS = frozenset(f.name for f in fields(Training))
KEYS = ("title", "defaults", "cases")  # of a recipe file; the title is the method's name in tables
CONDITIONS = ("dataset", "protocol", "shots")  # what a case of a recipe may ask about
CODE = "__copl_benchmark_sha256__"  # in a plugin's module: of the text that was imported
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


def method_class(name: str) -> type[Method]:
    """The class of a method: the one subclass of Method that its file defines, or the one its entry point names.

    Raises:
        ConfigError: an unknown name, with the nearest.
        MethodError: the file cannot be imported, or holds no one class with the interface; with file and line.
    """
    source = source_of(name)
    module = _module(source)
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if source.entry is not None and source.entry.attr:
        found = [cls for cls in found if cls.__qualname__ == source.entry.attr]
    if len(found) != 1:
        names = f" ({', '.join(cls.__name__ for cls in found)})" if found else ""
        raise MethodError(
            f"{shown(source.file)}:1: defines {len(found)} subclasses of Method{names}; exactly one is needed."
        )
    _check_interface(found[0], source)
    return found[0]


def broken(name: str, error: BaseException) -> MethodError:
    """What to tell of an error that a method's own code raised: its file, and the line where it arose."""
    source = source_of(name)
    told = str(error.msg if isinstance(error, SyntaxError) else error)
    line = _failing_line(error, source.file)
    where = f"{shown(source.file)}:{line}" if line else source.told
    return MethodError(f"{where}: {type(error).__name__}: {told}")


@contextmanager
def blamed(name: str) -> Iterator[None]:
    """What a method's own code raises in here, other than the errors that users can mend, is told as `broken` does."""
    try:
        yield
    except BenchmarkError:
        raise
    except (Exception, SystemExit) as error:
        raise broken(name, error) from error


def code_of(name: str) -> str:
    """16 hexadecimal digits of a plugin's file as it was imported; empty for the methods of this repository.

    They are part of its runs: another code, another run. Other files that it imports are not counted in.
    """
    source = source_of(name)
    if not source.is_plugin:
        return ""
    module = _module(source)
    if CODE not in vars(module):  # of an installed package, which Python imported itself
        setattr(module, CODE, sha256_file(source.file))
    return getattr(module, CODE)[:16]


def _failing_line(error: BaseException, file: Path) -> int | None:
    """The line of a file where an error arose, the innermost one; None if it arose elsewhere."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == file:
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
    return lines[-1] if lines else None


def _module(source: Source) -> ModuleType:
    """The module of a method, imported once.

    Raises:
        MethodError: whatever its code raises.
    """
    if source.module in sys.modules:
        return sys.modules[source.module]
    try:
        if source.path is None or not source.is_plugin:
            return importlib.import_module(source.module)
        text = source.path.read_bytes()
        spec = importlib.util.spec_from_file_location(source.module, source.path)
        module = sys.modules[source.module] = importlib.util.module_from_spec(spec)
        setattr(module, CODE, hashlib.sha256(text).hexdigest())
        try:  # no compiled copy is kept: Python would take it for that of a file changed within the same second
            exec(compile(text, str(source.path), "exec"), vars(module))
        except BaseException:
            del sys.modules[source.module]
            raise
        return module
    except (Exception, SystemExit) as error:
        raise broken(source.name, error) from error


def _check_interface(cls: type[Method], source: Source) -> None:
    """Refuse a class that the harness could not use, before it does anything.

    Raises:
        MethodError: all that is missing, with file and line.
    """
    problems = []
    if cls.forward is Method.forward:
        problems.append("it does not define forward(self, images), which gives the logits")
    if not (is_dataclass(cls.Options) and cls.Options.__dataclass_params__.frozen):
        problems.append("its Options is no frozen dataclass; write @dataclass(frozen=True, kw_only=True)")
    try:
        inspect.signature(cls).bind("clip", "options", "class names", "template")
    except TypeError:
        problems.append("its __init__ does not take (self, clip, options, class_names, template)")
    if cls.sample_views and cls.take_sample is Method.take_sample:
        problems.append(f"sample_views is {cls.sample_views}, but it does not define take_sample(self, views, labels)")
    if problems:
        line = inspect.getsourcelines(cls)[1]
        raise MethodError(listed(f"{shown(source.file)}:{line}: class {cls.__name__}", problems))


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
