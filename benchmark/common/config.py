"""Define what a run is: Training settings, the frozen RunSpec, and the suites that list runs."""

import copy
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WrapValidator

from benchmark.common.constants import (
    ADAM_EPSILON,
    CROP_SCALE,
    LEARNING_RATE,
    MOMENTUM,
    PRECISIONS,
    WARMUP_EPOCHS,
    WARMUP_LEARNING_RATE,
    WEIGHT_DECAY,
)
from benchmark.common.files import expand, shown
from benchmark.common.validation import build, validated
from benchmark.common.yaml import read_yaml
from benchmark.errors import ConfigError, did_you_mean

SCHEMA = 4  # of the records; part of every RunSpec's hash, so a new schema means new files
MOST_EPOCHS = 1_000_000  # a record holds the loss of each
LARGEST = 2**63 - 1  # number of seeds, shots and images: of an integer in NumPy, torch and pandas
SUITES = Path(__file__).resolve().parents[1] / "suites"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # of a folder
FAILED = "failed"  # the folder below results/ that holds failures; no part of a record's path may be called so
TRACKING = ".tracking"  # the folder below results/ where trackers keep their files


def check_name(kind: str, name: str) -> None:
    """Refuse a name that cannot be one folder of a record's path."""
    if not NAME.fullmatch(name) or name.lower() == FAILED:
        raise ConfigError(
            f"{kind} {name!r} cannot name a folder; use at most 100 letters, digits, '.', '_' and '-', "
            f"begin with a letter or digit, and do not call it '{FAILED}'."
        )


def _check_folder(name: str) -> str:
    check_name("the name", name)
    return name


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ConfigError(f"{text!r} holds characters that cannot be recorded; rename it")
    return text


def _check_unique(values: tuple) -> tuple:
    if repeated := sorted({str(value) for value in values if values.count(value) > 1}):
        raise ConfigError(f"repeats {', '.join(repeated)}")
    return values


Positive = Field(gt=0)
NonNegative = Field(ge=0)
Unique = AfterValidator(_check_unique)
FolderName = Annotated[str, AfterValidator(_check_folder)]
Precision = Literal[PRECISIONS]


def _values(instance: object) -> dict[str, object]:
    """The fields of a dataclass; asdict would copy what they hold."""
    return {name: getattr(instance, name) for name in instance.__dataclass_fields__}


CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: object) -> str:
    """Encode a value in one way only: keys sorted, no blanks, no NaN."""
    try:
        return CANONICAL.encode(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{value!r} cannot be stored as JSON: {error}.") from error


@validated
class Training:
    """How the harness trains a method; the defaults are those of CoOp and Dassl."""

    epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS)]
    batch_size: Annotated[int, Field(ge=1, le=LARGEST)]
    learning_rate: Annotated[float, Positive] = LEARNING_RATE
    momentum: Annotated[float, Field(ge=0, lt=1)] = MOMENTUM
    weight_decay: Annotated[float, NonNegative] = WEIGHT_DECAY
    warmup_epochs: Annotated[int, NonNegative] = WARMUP_EPOCHS
    warmup_learning_rate: Annotated[float, Positive] = WARMUP_LEARNING_RATE
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"  # momentum is SGD's alone, epsilon that of the other two
    epsilon: Annotated[float, Positive] = ADAM_EPSILON
    smallest_crop: Annotated[float, Field(gt=0, le=1)] = CROP_SCALE[0]  # share of an image's area in a training view
    views: Annotated[int, Field(ge=1)] | None = None  # of an image, taken in turn by the epochs; None: one an epoch

    def __post_init__(self) -> None:
        if self.warmup_epochs > self.epochs:
            raise ConfigError(f"'warmup_epochs' must be from 0 to epochs ({self.epochs}), got {self.warmup_epochs}")

    @property
    def repeats_views(self) -> bool:
        """Whether there are fewer views of an image than epochs."""
        return self.views is not None and self.views < self.epochs


class Options(Mapping):
    """An immutable mapping, hashable and equal by value, for the options of a spec; dict(options) is a plain copy."""

    def __init__(self, values: Mapping) -> None:
        self._text = canonical_json(dict(values))
        self._values = json.loads(self._text)

    def __getitem__(self, key: str) -> object:
        value = self._values[key]
        return copy.deepcopy(value) if isinstance(value, list | dict) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Options) else dict(self) == other

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Options({self._values})"


AsOptions = WrapValidator(lambda value, check: value if isinstance(value, Options) else Options(check(value)))


@validated
class RunSpec:
    """Everything that decides the result of one run; its hash ends the record's file name."""

    suite: FolderName
    protocol: FolderName
    method: FolderName
    dataset: FolderName
    shots: Annotated[int, NonNegative]
    seed: Annotated[int, NonNegative]
    backbone: Annotated[str, AfterValidator(_check_printable)]  # as the user named it
    checkpoint: str  # short sha256 of its files
    split: str  # short sha256 of the split files; after a "+" that of all targets' split files, if there are targets
    template: str  # of the prompts, with one {}
    precision: Precision  # fp64: of everything; the others: of the frozen towers
    plugin: str = ""  # short sha256 of the method's file if it is not in this repository
    options: Annotated[Mapping[str, object], AsOptions]  # of the method, complete
    training: Training | None  # None: nothing is trained
    targets: Annotated[Mapping[str, str], AsOptions] = Options({})  # other datasets scored -> template
    loaded: str = ""  # short sha256 of the learned values if they were loaded instead of trained
    images: str = (
        ""  # short sha256 of the training images + that of all scored images; "": recorded before there was one
    )

    def __post_init__(self) -> None:
        if self.loaded and self.training is not None:
            raise ConfigError("'loaded' and 'training' exclude each other: values are loaded or trained")

    def to_json(self) -> dict:
        """Convert to a plain dictionary, from which build makes an equal spec."""
        values, training = _values(self), self.training and _values(self.training)
        if not self.images:  # so that the hash of older records stays
            del values["images"]
        if training and training["smallest_crop"] == CROP_SCALE[0]:  # for the same reason
            del training["smallest_crop"]
        if training and training["views"] is None:
            del training["views"]
        return values | {"options": dict(self.options), "training": training, "targets": dict(self.targets)}

    @functools.cached_property
    def hash(self) -> str:
        """8 hexadecimal digits that change with any field and with the records' schema."""
        text = canonical_json({"schema": SCHEMA, "spec": self.to_json()})
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def folder(self, results: Path) -> Path:
        """The folder of the records of a method and dataset."""
        return Path(results, self.suite, self.protocol, self.method, self.dataset)

    @property
    def record_name(self) -> str:
        return f"shots{self.shots}-seed{self.seed}-{self.hash}.json"

    def record_path(self, results: Path) -> Path:
        return self.folder(results) / self.record_name

    def label(self) -> str:
        shots = f"{self.shots} shot{'s' * (self.shots != 1)}"
        return f"{self.method} on {self.dataset}, {self.protocol}, {shots}, seed {self.seed}"


@validated
class Suite:
    """Which datasets, seeds and backbone a grid covers; one YAML file of benchmark/suites."""

    name: FolderName
    backbone: str
    datasets: Annotated[tuple[str, ...], Field(min_length=1), Unique]
    shots: Annotated[int, Field(ge=1, le=LARGEST)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, le=LARGEST)], ...], Field(min_length=1), Unique]
    recipes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # by method; recipes.py checks the keys
    methods: Annotated[tuple[str, ...], Unique] = ()  # run if the user names none; empty: all of methods/
    source: str = ""  # dataset that cross_dataset trains on
    shift_source: str = ""  # dataset that domain_generalization trains on
    shift_targets: Annotated[tuple[str, ...], Unique] = ()  # shifted versions of it
    precision: Precision = "fp32"  # if the user names none
    note: str = ""  # for captions
    published: bool = False  # show published values next to the measured ones

    def __post_init__(self) -> None:
        if bool(self.shift_source) != bool(self.shift_targets) or self.shift_source in self.shift_targets:
            raise ConfigError("'shift_source' and 'shift_targets' belong together, and no target is the source")


def suite_names() -> list[str]:
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def load_suite(name_or_path: str | Path) -> Suite:
    """Load a suite by its name in benchmark/suites or by the path of a YAML file, whose stem is the suite's name.

    Raises:
        ConfigError: the suite is unknown (with the nearest name), or the file is not a valid suite.
    """
    path = expand(name_or_path)
    if path.suffix not in (".yaml", ".yml") and len(path.parts) == 1:
        path = SUITES / f"{path}.yaml"
    if path.is_dir():
        raise ConfigError(f"suite '{name_or_path}' is a folder. Give the path of a .yaml file, or a name.")
    if not path.is_file():
        advice = did_you_mean(Path(name_or_path).stem, suite_names())
        raise ConfigError(f"suite '{name_or_path}' is unknown. {advice} Or give the path of a .yaml file.")
    raw = {"name": path.stem} | read_yaml(path)
    if raw["name"] != path.stem:
        raise ConfigError(f"{shown(path)}: 'name' is {raw['name']!r}, but the file is '{path.name}'; leave 'name' out.")
    return build(Suite, raw, shown(path))
