"""Read recipe files and resolve the settings of a run; importing this module imports neither torch nor a method."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from benchmark.common.config import Training
from benchmark.common.constants import IMAGENET_TEMPLATES, MISSING
from benchmark.common.files import shown
from benchmark.common.validation import build, validated
from benchmark.common.yaml import read_yaml
from benchmark.errors import ConfigError, MethodError, did_you_mean
from benchmark.plugins.discovery import repository_names, source_of

TRAINING_KEYS = frozenset(f.name for f in fields(Training)) - {"views"}  # --views is for all methods alike
NOTHING = (*MISSING, "", "~", "-", "no", "off", "disabled", "random")  # null in quotes, and words meant as null
DEFAULT_PROTOCOL = "base2new"  # whose recipe a method gets if no run names a protocol


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A method's settings for one run.

    Attributes:
        options: the method's own, complete and checked.
        training: how the harness trains it; None for a method that learns nothing.
        template: the dataset's, unless the recipe names another.
    """

    options: dict[str, Any]
    training: Training | None
    template: str


@validated
class Case:
    """Settings for the runs that meet every condition; a condition names one value or a list of them."""

    when: dict[Literal["dataset", "protocol", "shots"], Any]
    set: dict[str, Any]

    def fits(self, **run: Any) -> bool:
        return all(run[key] in (wanted if isinstance(wanted, list) else [wanted]) for key, wanted in self.when.items())


@validated
class RecipeFile:
    """A method's YAML file; the title is its name in tables, `learns` and `where` are its words in docs/methods.md."""

    title: str = ""
    learns: str = ""
    where: str = ""
    defaults: dict[str, Any] | None = None
    cases: list[Case] | None = None


def read_recipe(name: str) -> RecipeFile:
    """Read a method's recipe file and check its layout; the names of options are checked by resolve_recipe.

    Raises:
        MethodError: the file is missing or wrong.
    """
    path = source_of(name).recipe
    try:
        return build(RecipeFile, read_yaml(path), shown(path))
    except ConfigError as error:
        raise MethodError(str(error)) from error


def option_problems(name: str, given: Mapping[str, Any]) -> list[str]:
    """Problems of given options that show without importing the method: names, numbers, and training settings.

    The recipe of a method of this repository gives every option a value. A plugin's may not: resolve_recipe checks it.
    """
    if not given or name not in repository_names():
        return []
    try:
        recipe = read_recipe(name)
        known = recipe.defaults or {}
        refuse_unknown(name, given, {*known, *TRAINING_KEYS, "template"})
        if not TRAINING_KEYS & {*known, *(key for case in recipe.cases or () for key in case.set)}:
            refuse_unknown(f"{name}, which trains nothing", given, {*known, "template"})
        for key in given.keys() & known.keys() - TRAINING_KEYS:
            if isinstance(known[key], int | float) and isinstance(given[key], str):
                raise ConfigError(f"{name}: '{key}' must be a value like {known[key]}, got {given[key]!r}.")
        if training := {key: value for key, value in {**known, **given}.items() if key in TRAINING_KEYS}:
            build(Training, training, name)
    except MethodError:
        return []  # the method is left out later, with this message
    except ConfigError as error:
        return [str(error)]
    return []


def resolve_recipe(
    name: str,
    layers: Sequence[Mapping[str, Any]] = (),
    *,
    template: str,
    protocol: str = DEFAULT_PROTOCOL,
    dataset: str | None = None,
    shots: int | None = None,
) -> Recipe:
    """Merge a method's defaults, the cases that fit the run, then each layer (suite, then command line).

    Later layers win; a key of a later layer removes keys below that contradict it (n_ctx against ctx_init). A word for
    `templates` is replaced by a list: `selected` by the seven selected templates, `selected_and_own` by these and the
    dataset's, and `ensemble` by CoOp's choice: the former on ImageNet, the latter elsewhere.

    Raises:
        ConfigError: unknown keys, wrong types, values out of range or keys that disagree in a layer.
        MethodError: the same in the recipe's own file.
    """
    from benchmark.plugins.importer import attribute_errors_to, method_class  # imports torch

    run = {"protocol": protocol, "dataset": dataset, "shots": shots}
    with attribute_errors_to(name):
        recipe = read_recipe(name)
        defaults = recipe.defaults or {}
        fitting = [case.set for case in recipe.cases or () if case.fits(**run)]
        try:
            refuse_unknown(name, defaults, {*method_class(name).option_names(), *TRAINING_KEYS})
        except ConfigError as error:
            raise MethodError(str(error)) from error
        try:
            return _merge_layers(name, defaults, [*fitting, *layers], template=template, dataset=dataset)
        except ConfigError as error:
            if not layers:
                raise MethodError(str(error)) from error
            resolve_recipe(name, template=template, **run)  # raises MethodError if the file alone is wrong
            raise


def _merge_layers(
    name: str,
    values: Mapping[str, Any],
    layers: Sequence[Mapping[str, Any]],
    *,
    template: str,
    dataset: str | None,
) -> Recipe:
    from benchmark.plugins.importer import method_class  # imports torch

    cls, where = method_class(name), shown(source_of(name).recipe)
    values, allowed = dict(values), {*cls.option_names(), *TRAINING_KEYS, "template"}
    for layer in layers:
        refuse_unknown(name, layer, allowed)
        values = cls.settle(values, layer)
    template = values.pop("template", template)
    if not isinstance(template, str):
        raise ConfigError(
            f"{name}: template is {template!r}, not text. Give text with {{}} for the class name; what begins with a "
            "bracket needs quotes inside the shell's own: '\"{}.\"'."
        )
    if isinstance(word := values.get("templates"), str):
        values["templates"] = _template_list(word, dataset, template)
    training = {key: value for key, value in values.items() if key in TRAINING_KEYS}
    options = {key: value for key, value in values.items() if key not in TRAINING_KEYS}
    _check_nulls(cls.Options, options, where)
    checked = build(cls.Options, options, where)
    return Recipe(
        options={f.name: getattr(checked, f.name) for f in fields(checked)},
        training=build(Training, training, where) if training else None,
        template=template,
    )


def _check_nulls(cls: type, options: Mapping[str, Any], where: str) -> None:
    """Refuse text that stands for nothing where an option may be null: it would be taken as a word of a prompt."""
    for key, hint in get_type_hints(cls).items():
        text = options.get(key)
        if type(None) in get_args(hint) and isinstance(text, str) and text.lower().strip(" <>()[]") in NOTHING:
            raise ConfigError(f"{where}: '{key}' is the text {text!r}; for nothing, write null (in Python None).")


def _template_list(word: str, dataset: str | None, template: str) -> list[str] | str:
    """The list of templates that a word names; an unknown word is returned, and refused later as not a list."""
    both = [*IMAGENET_TEMPLATES, template]
    lists = {"selected": [*IMAGENET_TEMPLATES], "selected_and_own": both}
    return lists.get({"ensemble": "selected" if dataset == "imagenet" else "selected_and_own"}.get(word, word), word)


def refuse_unknown(name: str, given: Iterable[str], allowed: set[str]) -> None:
    """Raise ConfigError for keys that are not among the allowed ones, with the nearest to each."""
    if unknown := sorted(set(given) - allowed, key=str):
        raise ConfigError(
            "; ".join(f"{name}: '{key}' is not an option. {did_you_mean(str(key), allowed)}" for key in unknown)
        )
