"""Find a custom dataset and read its YAML: prompt template, class names, split."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.common.files import expand, shown
from benchmark.common.validation import build, validated
from benchmark.common.yaml import read_yaml
from benchmark.errors import ConfigError, DataError

GUIDE = "docs/your-own-data.md"
SUFFIXES = (".yaml", ".yml")


@validated
class CustomSplit:
    """Shares of each class for train and val; the rest is for test. Part of the dataset, not of a run."""

    train: float = 0.5
    val: float = 0.2
    seed: int = 1

    def __post_init__(self) -> None:
        problems = [f"'train' must be above 0, got {self.train}"] if self.train <= 0 else []
        problems += [f"'val' must be at least 0, got {self.val}"] if self.val < 0 else []
        problems += [f"'seed' must be at least 0, got {self.seed}"] if self.seed < 0 else []
        if self.train + self.val >= 1:
            problems.append(f"'train' and 'val' must leave something for test, got {self.train} and {self.val}")
        if problems:
            raise ConfigError("; ".join(problems))


@validated
class CustomSettings:
    """The options of a dataset's YAML.

    Attributes:
        template: prompt with one {} for the class name.
        classes: class name in the data -> class name in prompts.
        images: the folder that listed paths are relative to, itself relative to the YAML; None: the list's folder.
        data: path of the data, relative to the YAML; needed if --dataset names the YAML.
        split: shares for class folders without train and test; None: the default.
    """

    template: str = "a photo of a {}."
    classes: Mapping[str, str] = field(default_factory=dict)
    images: str | None = None
    data: str | None = None
    split: CustomSplit | None = None

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
    """The data of a dataset (a folder or a list), the folder that its paths are relative to, and its settings."""

    data: Path
    images: Path
    settings: CustomSettings


def find_source(name: str, path: str | Path) -> Source:
    """Return what --dataset NAME=PATH names: data with or without a YAML next to them, or a YAML that names its data.

    Raises:
        ConfigError: the YAML is wrong.
        DataError: a path does not exist.
    """
    path = _absolute(path)
    _check_exists(name, path)
    if path.suffix.lower() in SUFFIXES and path.is_file():
        return _source_of_yaml(name, path)
    stem = path / "dataset" if path.is_dir() else path.with_suffix("")
    neighbor = next((file for suffix in SUFFIXES if (file := Path(f"{stem}{suffix}")).is_file()), None)
    if neighbor is None:
        return _source(name, path, CustomSettings(), path.parent)
    settings = _read_settings(neighbor)
    if settings.data is not None and _below(neighbor.parent, settings.data) != path:
        raise ConfigError(f"{neighbor}: 'data' is not {path}, which is next to this YAML. Remove 'data'.")
    return _source(name, path, settings, neighbor.parent)


def place_problems(paths: Mapping[str, Path], written: Mapping[str, Path]) -> list[str]:
    """Return a problem for each folder that would be read as a class of a dataset, since it is among class folders.

    Args:
        paths: of custom datasets, by name.
        written: folders that a run writes to, by the option that names them.
    """
    problems = []
    for name, path in paths.items():
        with suppress(ConfigError, DataError):  # it is reported when the dataset is read
            data = find_source(name, path).data.resolve()
            for option, folder in written.items() if data.is_dir() else ():
                own = folder.resolve()
                if own.is_relative_to(data) and not f"{own}/".startswith(f"{data}/."):  # hidden folders are no classes
                    problems.append(
                        f"{option} {folder}: is among the class folders of {name} and would be read as one. Give a "
                        f"folder outside of {data}, and move what is there already"
                    )
    return problems


def _source_of_yaml(name: str, path: Path) -> Source:
    settings = _read_settings(path)
    if settings.data is None:
        raise ConfigError(
            f"{path}: 'data' is missing. --dataset names this YAML, so give the path of the data relative to it, "
            "e.g. `data: photos`."
        )
    data = _below(path.parent, settings.data)
    _check_exists(name, data)
    return _source(name, data, settings, path.parent)


def _source(name: str, data: Path, settings: CustomSettings, home: Path) -> Source:
    images = data if data.is_dir() else data.parent
    if settings.images is not None and not data.is_dir():
        images = _below(home, settings.images)
        if not images.is_dir():
            raise DataError(f"{name}: there is no folder {images}, which 'images' in its YAML names.")
    return Source(data, images, settings)


def _read_settings(path: Path) -> CustomSettings:
    return build(CustomSettings, read_yaml(path), shown(path))


def _check_exists(name: str, path: Path) -> None:
    if not path.exists():
        raise DataError(f"{name}: there is no file or folder {path}. {GUIDE} says what is allowed.")


def _below(folder: Path, path: str) -> Path:
    return _absolute(folder / expand(path))


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(expand(path)))  # resolves "..", keeps links
