"""What a run is: training settings, the frozen RunSpec, and the suites that list runs.

All of them are read by `build`, as recipes, records and `--set` are; it and the YAML reader live in strict_yaml.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmark.common.constants import (
    ADAM_EPSILON,
    LEARNING_RATE,
    MOMENTUM,
    WARMUP_EPOCHS,
    WARMUP_LEARNING_RATE,
    WEIGHT_DECAY,
)
from benchmark.common.files import shown
from benchmark.common.yaml import build, check_fields, parse_scalar, read_yaml
from benchmark.errors import ConfigError, did_you_mean, listed

__all__ = [  # the strict_yaml functions too, so that who reads a config needs this module alone
    "FAILED",
    "SCHEMA",
    "TRACKING",
    "Options",
    "RunSpec",
    "Suite",
    "Training",
    "build",
    "check_fields",
    "check_name",
    "load_suite",
    "parse_scalar",
    "read_yaml",
    "suite_names",
]

SCHEMA = 4  # of the records; part of every RunSpec's hash, so a new schema means new files
SUITES = Path(__file__).resolve().parents[1] / "suites"
FAILED = "failed"  # the folder below results/ that holds failures; no part of a record's path may be called so
TRACKING = ".tracking"  # the folder below results/ where trackers keep what stays on this machine


def check_name(kind: str, name: str) -> None:
    """Refuse a name that cannot be one folder of a record's path."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or name.lower() == FAILED:
        raise ConfigError(
            f"{kind} {name!r} cannot name a folder; use at most 100 letters, digits, '.', '_' and '-', "
            f"begin with a letter or digit, and do not call it '{FAILED}'."
        )


def canonical_json(value: object) -> str:
    """The one spelling of a value: keys sorted, no blanks, no NaN."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{value!r} cannot be stored as JSON: {error}.") from error


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the harness trains a method; defaults are the field's (METHODS: optimisation common to all)."""

    epochs: int
    batch_size: int
    learning_rate: float = LEARNING_RATE
    momentum: float = MOMENTUM
    weight_decay: float = WEIGHT_DECAY
    warmup_epochs: int = WARMUP_EPOCHS
    warmup_learning_rate: float = WARMUP_LEARNING_RATE
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"  # momentum is SGD's alone, epsilon that of the other two
    epsilon: float = ADAM_EPSILON

    def __post_init__(self) -> None:
        check_fields(self)
        rules = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "momentum": (0 <= self.momentum < 1, "from 0 to below 1"),
            "weight_decay": (self.weight_decay >= 0, "at least 0"),
            "warmup_epochs": (0 <= self.warmup_epochs <= self.epochs, f"from 0 to epochs ({self.epochs})"),
            "warmup_learning_rate": (self.warmup_learning_rate > 0, "above 0"),
            "epsilon": (self.epsilon > 0, "above 0"),
        }
        problems = [f"'{k}' must be {rule}, got {getattr(self, k)}" for k, (fits, rule) in rules.items() if not fits]
        if problems:
            raise ConfigError(listed("training", problems))


class Options(Mapping):
    """What a spec maps, options above all: immutable, hashable, equal by value; dict(options) is a plain copy."""

    def __init__(self, values: Mapping) -> None:
        self._text = canonical_json(dict(values))

    def __getitem__(self, key: str) -> object:
        return json.loads(self._text)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(json.loads(self._text))

    def __len__(self) -> int:
        return len(json.loads(self._text))

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Options) else dict(self) == other

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Options({json.loads(self._text)})"


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """All that decides one run's result; its hash ends the record's file name."""

    suite: str
    protocol: str
    method: str
    dataset: str
    shots: int
    seed: int
    backbone: str  # as the user named it
    checkpoint: str  # short sha256 of its files
    split: str  # short sha256 of the split file(s); behind a "+" that of the targets' together, where there are any
    template: str  # the one in force
    precision: Literal["fp32", "tf32", "bf16", "fp16"]
    plugin: str = ""  # short sha256 of the method's file where that is no part of this repository
    options: Mapping[str, object]  # the method's resolved ones; held as Options
    training: Training | None  # None: nothing is trained here
    targets: Mapping[str, str] = field(default_factory=dict)  # other datasets scored -> template; held as Options
    loaded: str = ""  # short sha256 of the learned values, where they were loaded instead of trained

    def __post_init__(self) -> None:
        check_fields(self)
        for kind in ("suite", "protocol", "method", "dataset"):
            check_name(kind, getattr(self, kind))
        if not self.backbone.isprintable():
            raise ConfigError(f"'backbone' is {self.backbone!r}; rename it, what is not text cannot be recorded")
        for kind in ("shots", "seed"):
            if getattr(self, kind) < 0:
                raise ConfigError(f"'{kind}' must be at least 0, got {getattr(self, kind)}")
        if self.loaded and self.training is not None:
            raise ConfigError("'loaded' and 'training' exclude each other: what was learned is loaded or trained")
        object.__setattr__(self, "options", Options(self.options))
        object.__setattr__(self, "targets", Options(self.targets))

    def to_json(self) -> dict:
        """A plain dictionary that from_json turns back into an equal spec."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        training = None if self.training is None else dataclasses.asdict(self.training)
        return values | {"options": dict(self.options), "training": training, "targets": dict(self.targets)}

    @classmethod
    def from_json(cls, raw: Mapping) -> "RunSpec":
        return build(cls, raw, "spec")

    @property
    def hash(self) -> str:
        """8 hexadecimal digits that change with any field and with the records' schema."""
        text = canonical_json({"schema": SCHEMA, "spec": self.to_json()})
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def record_path(self, results: Path) -> Path:
        name = f"shots{self.shots}-seed{self.seed}-{self.hash}.json"
        return Path(results) / self.suite / self.protocol / self.method / self.dataset / name

    def label(self) -> str:
        shots = f"{self.shots} shot{'s' * (self.shots != 1)}"
        return f"{self.method} on {self.dataset}, {self.protocol}, {shots}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Which datasets, seeds and backbone a grid covers; one YAML file of benchmark/suites."""

    name: str
    backbone: str
    datasets: tuple[str, ...]
    shots: int
    seeds: tuple[int, ...]
    recipes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # by method; the registry checks keys
    protocol_recipes: Mapping[str, Mapping[str, Mapping[str, object]]] = field(default_factory=dict)  # over `recipes`
    methods: tuple[str, ...] = ()  # those that run where none is named; none: all of methods/
    source: str = ""  # that cross_dataset trains on
    shift_source: str = ""  # that domain_generalization trains on
    shift_targets: tuple[str, ...] = ()  # shifted versions of it
    note: str = ""  # for captions
    published: bool = False  # show published values beside the measured ones

    def __post_init__(self) -> None:
        check_fields(self)
        check_name("suite", self.name)
        problems = []
        for key in ("datasets", "seeds", "methods", "shift_targets"):
            values = getattr(self, key)
            repeated = sorted({str(value) for value in values if values.count(value) > 1})
            problems += [f"'{key}' is empty; give at least one"] if not values and key in ("datasets", "seeds") else []
            problems += [f"'{key}' repeats {', '.join(repeated)}"] if repeated else []
        if bool(self.shift_source) != bool(self.shift_targets) or self.shift_source in self.shift_targets:
            problems.append("'shift_source' and 'shift_targets' belong together, and the source is no target of itself")
        problems += [f"'seeds' holds {seed}; a seed is 0 or more" for seed in self.seeds if seed < 0]
        problems += [f"'shots' must be at least 1, got {self.shots}"] if self.shots < 1 else []
        if problems:
            raise ConfigError(listed("suite", problems))


def suite_names() -> list[str]:
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def load_suite(name_or_path: str | Path) -> Suite:
    """A suite by its name in benchmark/suites, or by the path of a YAML file; the file's stem is its name.

    Raises:
        ConfigError: no such suite (the nearest name is given), or a file that is no valid suite.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and len(path.parts) == 1:
        path = SUITES / f"{path}.yaml"
    if not path.is_file():
        advice = did_you_mean(Path(name_or_path).stem, suite_names())
        raise ConfigError(f"suite '{name_or_path}' is unknown. {advice} Or give the path of a .yaml file.")
    raw = {"name": path.stem} | read_yaml(path)
    if raw["name"] != path.stem:
        raise ConfigError(f"{shown(path)}: 'name' is {raw['name']!r}, but the file is '{path.name}'; leave 'name' out.")
    return build(Suite, raw, shown(path))
