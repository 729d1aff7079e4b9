"""Read command-line options into a Request: the defaults of the suite, overridden by the options."""

import argparse
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path

from benchmark.common.config import load_suite
from benchmark.common.files import expand
from benchmark.common.yaml import parse_scalar
from benchmark.errors import ConfigError, MethodError, did_you_mean
from benchmark.planning.request import Request
from benchmark.plugins.discovery import add_plugin, method_names, repository_names
from benchmark.running.device import check_device_name, choose_device, default_threads
from tables.aggregate import in_order

UNCHANGED = ("protocol", "source", "checkpoint_minutes", "cache", "lockstep", "graphs")


def make_request(options: argparse.Namespace, *, local_rank: int = 0) -> Request:
    """read_request, with the device; see choose_device."""
    return with_device(read_request(options), options, local_rank=local_rank)


def with_device(request: Request, options: argparse.Namespace, *, local_rank: int = 0) -> Request:
    """The request with the device that this process computes on.

    Args:
        local_rank: number of this process among those that a launcher started on this machine.
    """
    device = choose_device(options.device, request.precision, local_rank=local_rank)
    if options.processes is not None and device != "cpu":
        raise ConfigError(f"--processes {options.processes!r}: is for a CPU only. Leave it out, or add --device cpu.")
    return replace(request, device=device)


def read_request(options: argparse.Namespace) -> Request:
    """The options over the defaults of the suite, without the device: torch is not imported.

    From here on, the methods of --plugin are known by their names.
    """
    _check_numbers(options)
    check_device_name(options.device)
    suite = load_suite(options.suite or ("paper" if options.data or options.custom else "synthetic"))
    if options.data and not options.data.is_dir():
        what = "is a file; give the folder" if options.data.exists() else "there is no such folder"
        raise ConfigError(f"--data {options.data}: {what}. Its layout is in docs/data.md.")
    plugins, left_out = _add_plugins(options.plugins)
    default_methods = tuple(dict.fromkeys([*(suite.methods or in_order(repository_names())), *plugins]))
    return Request(
        suite=suite,
        methods=split_names(options.methods) or default_methods,
        datasets=split_names(options.datasets) or None,
        seeds=split_numbers("seeds", options.seeds) or suite.seeds,
        shots=split_numbers("shots", options.shots),
        views=None if options.views is None else int(options.views),
        backbone=options.backbone or suite.backbone,
        precision=options.precision or suite.precision,
        threads=options.threads or default_threads(),
        data=options.data,
        custom=parse_custom(options.custom),
        out=options.out,
        overrides=parse_settings(options.settings),
        plugins=tuple(plugins.values()),
        left_out=left_out,
        loads=parse_loads(options.load),
        track=split_names(options.track),
        **{name: getattr(options, name) for name in UNCHANGED},
    )


def check_out(out: Path) -> None:
    """Refuse a results folder that is a file or below one; the doctor has a line of its own for it."""
    if not next(path for path in (out, *out.absolute().parents) if path.exists()).is_dir():
        raise ConfigError(f"--out {out}: a file is in the way. Give a folder, or another name.")


def _check_numbers(options: argparse.Namespace) -> None:
    for name in ("views", "processes", "threads"):
        value = getattr(options, name)
        if value is not None and not (isinstance(value, Integral) and value >= 1):
            raise ConfigError(f"--{name} {value!r}: must be a whole number, 1 or more.")
    minutes = options.checkpoint_minutes
    if not (isinstance(minutes, Real) and minutes >= 0):
        raise ConfigError(f"--checkpoint-minutes {minutes!r}: must be a number, 0 (after every step) or more.")


def _add_plugins(paths: list[Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """Method to file for the plugins that can be added, and file to reason for the others."""
    added, left_out = {}, {}
    for path in paths:
        try:
            added[add_plugin(path)] = path
        except MethodError as error:
            left_out[str(path)] = str(error)
    return added, left_out


def split_names(words: list[str] | None) -> tuple[str, ...]:
    """Split `--methods coop,copl kgcoop` into three names."""
    return tuple(name for word in words or () for name in word.split(",") if name)


def split_numbers(option: str, words: list[str] | None) -> tuple[int, ...]:
    """Split `--seeds 1 2 3` or `--seeds 1,2,3` into numbers."""
    try:
        return tuple(int(name) for name in split_names(words))
    except ValueError as error:
        raise ConfigError(f"--{option} {' '.join(words)}: whole numbers are needed, e.g. --{option} 1 2.") from error


def parse_custom(words: list[str]) -> dict[str, Path]:
    """Parse `--dataset flowers=~/flowers` into name and path; both are checked where they are used."""
    form = "NAME=PATH, e.g. --dataset flowers=photos/flowers. --datasets chooses among the known ones."
    pairs = _parse_pairs("--dataset", words, form=form, once="or use another name for one of them")
    return {name: expand(path) for name, path in pairs.items()}


def parse_loads(words: list[str]) -> dict[str, str]:
    """Parse `--load coop=model.pth.tar-50` into method and path; both are checked where they are used."""
    form = "METHOD=PATH, e.g. --load coop=prompt_learner/model.pth.tar-50."
    pairs = _parse_pairs("--load", words, form=form, once="with {dataset}, {seed} or {shots} in its path")
    return {method: str(expand(path)) for method, path in pairs.items()}


def _parse_pairs(option: str, words: list[str], *, form: str, once: str) -> dict[str, str]:
    """Parse NAME=VALUE words; the messages say the `form` of a word, and how to give a name `once`."""
    pairs: dict[str, str] = {}
    for text in words:
        name, _, value = text.partition("=")
        if not name or not value:
            raise ConfigError(f"{option} {text}: write {form}")
        if name in pairs:
            raise ConfigError(f"{option} {name} is given twice; give it once, {once}.")
        pairs[name] = value
    return pairs


def parse_settings(settings: list[str]) -> dict[str, dict[str, object]]:
    """Parse `--set coop.epochs=2` into method, key and value; keys are checked with the recipe."""
    overrides: dict[str, dict[str, object]] = {}
    for text in settings:
        target, equals, value = text.partition("=")
        method, dot, key = target.partition(".")
        if not (equals and dot and method and key):
            raise ConfigError(f"--set {text}: write METHOD.KEY=VALUE, e.g. --set cocoop.epochs=2.")
        if not value.strip():
            raise ConfigError(f"--set {text}: there is no value. Give one; for nothing, write null.")
        if method not in method_names():
            raise ConfigError(f"--set {text}: '{method}' is not a method. {did_you_mean(method, method_names())}")
        if key in overrides.setdefault(method, {}):
            raise ConfigError(f"--set {target} is given twice; give it once.")
        try:
            overrides[method][key] = parse_scalar(value)
        except ConfigError as error:
            raise ConfigError(f"--set {target}: {error}") from error
    return overrides
