"""Where a user's own dataset lies, and the YAML that says how its classes are put into words and how it is cut."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.common.files import shown
from benchmark.common.validation import build, validated
from benchmark.common.yaml import read_yaml
from benchmark.errors import ConfigError, DataError

GUIDE = "docs/your-own-data.md"
SUFFIXES = (".yaml", ".yml")


@validated
class OwnSplit:
    """How one tree is cut: shares of each class, the rest to test. Part of the dataset, not of a run."""

    train: float = 0.5
    val: float = 0.2
    seed: int = 1

    def __post_init__(self) -> None:
        problems = [f"'train' must be above 0, got {self.train}"] if self.train <= 0 else []
        problems += [f"'val' must be at least 0, got {self.val}"] if self.val < 0 else []
        problems += [f"'seed' must be at least 0, got {self.seed}"] if self.seed < 0 else []
        if self.train + self.val >= 1:
            problems.append(f"'train' and 'val' must leave something to test, got {self.train} and {self.val}")
        if problems:
            raise ConfigError("; ".join(problems))


@validated
class OwnSettings:
    """What a dataset's YAML may say.

    Attributes:
        template: with one {} for the class name.
        classes: class name as written in the data -> as it stands in prompts.
        images: the folder that a list's paths are relative to, itself relative to the YAML; None: the list's own.
        data: what the YAML is about, relative to it, where --dataset names the YAML.
        split: of a tree without train and test folders; None: the default one.
    """

    template: str = "a photo of a {}."
    classes: Mapping[str, str] = field(default_factory=dict)
    images: str | None = None
    data: str | None = None
    split: OwnSplit | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.template.count("{}") != 1:
            problems.append(f"'template' must hold {{}} once, where the class name goes; got {self.template!r}")
        problems += [f"'classes.{name}' is empty; give a name" for name, new in self.classes.items() if not new.strip()]
        problems += [f"'{key}' is empty" for key in ("images", "data") if getattr(self, key) == ""]
        if problems:
            raise ConfigError("; ".join(problems))


@dataclass(frozen=True)
class Source:
    """A dataset's data (a folder or a list), the folder that its paths are relative to, and its settings."""

    data: Path
    images: Path
    settings: OwnSettings


def find_source(name: str, path: str | Path) -> Source:
    """What --dataset NAME=PATH names: data with a YAML beside them or none, or a YAML that names them.

    Raises:
        ConfigError: the YAML is wrong.
        DataError: something named is not there.
    """
    path = _absolute(path)
    _check_there(name, path)
    if path.suffix.lower() in SUFFIXES and path.is_file():
        return _source_of_yaml(name, path)
    stem = path / "dataset" if path.is_dir() else path.with_suffix("")
    beside = next((file for suffix in SUFFIXES if (file := Path(f"{stem}{suffix}")).is_file()), None)
    if beside is None:
        return _source(name, path, OwnSettings(), path.parent)
    settings = _read_settings(beside)
    if settings.data is not None and _below(beside.parent, settings.data) != path:
        raise ConfigError(f"{beside}: 'data' names something else than {path}, which it lies beside. Leave 'data' out.")
    return _source(name, path, settings, beside.parent)


def _source_of_yaml(name: str, path: Path) -> Source:
    settings = _read_settings(path)
    if settings.data is None:
        raise ConfigError(
            f"{path}: 'data' is missing: --dataset names this YAML, so it must say what it is about, "
            "e.g. `data: photos`, relative to it."
        )
    data = _below(path.parent, settings.data)
    _check_there(name, data)
    return _source(name, data, settings, path.parent)


def _source(name: str, data: Path, settings: OwnSettings, home: Path) -> Source:
    images = data if data.is_dir() else data.parent
    if settings.images is not None and not data.is_dir():
        images = _below(home, settings.images)
        if not images.is_dir():
            raise DataError(f"{name}: there is no folder {images}, which 'images' of its YAML names.")
    return Source(data, images, settings)


def _read_settings(path: Path) -> OwnSettings:
    return build(OwnSettings, read_yaml(path), shown(path))


def _check_there(name: str, path: Path) -> None:
    if not path.exists():
        raise DataError(f"{name}: there is no file or folder {path}. What may be given is in {GUIDE}.")


def _below(folder: Path, path: str) -> Path:
    return _absolute(folder / Path(path).expanduser())


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))  # links stay, ".." goes
