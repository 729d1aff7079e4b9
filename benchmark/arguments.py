"""What `run_all.py` was told, read into a Request: the suite's defaults, and over them what the arguments say."""

import argparse

from benchmark.config import load_suite, parse_scalar
from benchmark.errors import ConfigError, MethodError, did_you_mean
from benchmark.request import Request
from benchmark.sources import add_plugin, method_names, repository_names
from tables.aggregate import in_order


def make_request(options: argparse.Namespace) -> Request:
    """The arguments over the suite's defaults. Named plugins are known by their names from here on."""
    suite = load_suite(options.suite or ("paper" if options.data else "synthetic"))
    if options.data and not options.data.expanduser().is_dir():
        raise ConfigError(f"--data {options.data}: there is no such folder. Its layout is in docs/data.md.")
    plugins, left_out = {}, {}
    for path in options.plugin:
        try:
            plugins[add_plugin(path)] = path
        except MethodError as error:
            left_out[str(path)] = str(error)
    ordinary = tuple(dict.fromkeys([*(suite.methods or in_order(repository_names())), *plugins]))
    return Request(
        protocol=options.protocol,
        suite=suite,
        methods=split_names(options.methods) or ordinary,
        datasets=split_names(options.datasets) or None,
        source=options.source,
        seeds=split_numbers("seeds", options.seeds) or suite.seeds,
        shots=split_numbers("shots", options.shots),
        backbone=options.backbone or suite.backbone,
        precision=options.precision,
        data=options.data.expanduser() if options.data else None,
        out=options.out,
        overrides=parse_settings(options.settings),
        plugins=tuple(plugins.values()),
        left_out=left_out,
        cache=not options.no_cache,
        lockstep=not options.no_lockstep,
        graphs=not options.no_graphs,
    )


def split_names(words: list[str] | None) -> tuple[str, ...]:
    """`--methods coop,copl kgcoop` as three names; none for none."""
    return tuple(name for word in words or () for name in word.split(",") if name)


def split_numbers(option: str, words: list[str] | None) -> tuple[int, ...]:
    """`--seeds 1 2 3` or `--seeds 1,2,3` as numbers."""
    try:
        return tuple(int(name) for name in split_names(words))
    except ValueError as error:
        raise ConfigError(f"--{option} {' '.join(words)}: whole numbers are needed, e.g. --{option} 1 2.") from error


def parse_settings(settings: list[str]) -> dict[str, dict[str, object]]:
    """`--set coop.epochs=2` and its like, by method. Keys are checked where the recipe is resolved."""
    overrides: dict[str, dict[str, object]] = {}
    for text in settings:
        target, equals, value = text.partition("=")
        method, dot, key = target.partition(".")
        if not (equals and dot and method and key):
            raise ConfigError(f"--set {text}: write METHOD.KEY=VALUE, e.g. --set cocoop.epochs=2.")
        if method not in method_names():
            raise ConfigError(f"--set {text}: '{method}' is not a method. {did_you_mean(method, method_names())}")
        if key in overrides.setdefault(method, {}):
            raise ConfigError(f"--set {target} is given twice; give it once.")
        overrides[method][key] = parse_scalar(value)
    return overrides
