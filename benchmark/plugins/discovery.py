"""Find methods in methods/, in files that the user names and in installed packages, without running their code.

A method's name is the stem of its file or the name of its entry point. Its recipe is the YAML file next to it.
"""

import importlib.util
import keyword
import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from benchmark.common.config import FAILED
from benchmark.common.files import REPOSITORY, expand, shown
from benchmark.errors import ConfigError, MethodError, did_you_mean

METHODS = REPOSITORY / "methods"
GROUP = "copl_benchmark.methods"  # of entry points in installed packages
PLUGIN_MODULES = "copl_benchmark_plugin_"  # prefix of the modules of plugins


@dataclass(frozen=True)
class Source:
    """Where the code of one method is.

    Attributes:
        module: name for import.
        path: its file; None for an installed method, whose file is searched when it is first needed.
        entry: entry point of an installed method.
    """

    name: str
    module: str
    path: Path | None = None
    entry: EntryPoint | None = None

    @property
    def is_plugin(self) -> bool:
        """Whether its code is outside this repository."""
        return not self.module.startswith("methods.")

    @property
    def file(self) -> Path:
        """The Python file.

        Raises:
            MethodError: the module of an entry point does not exist.
        """
        if self.path is not None:
            return self.path
        try:
            found = importlib.util.find_spec(self.module)  # imports its parent packages, not the module
        except Exception as error:  # raised by the code of those packages
            raise MethodError(f"{self.label}: {type(error).__name__}: {error}") from error
        if found is None or not found.origin or not found.origin.endswith(".py"):
            raise MethodError(f"{self.label}: there is no Python file of module '{self.module}'.")
        return Path(found.origin)

    @property
    def recipe(self) -> Path:
        """The YAML file next to it.

        Raises:
            MethodError: there is no such file.
        """
        path = self.file.with_suffix(".yaml")
        if not path.is_file():
            raise MethodError(
                f"{shown(self.file)}: its recipe {path.name} is missing next to it. Write `defaults:` there, with a "
                "value for every option of the method and, if it learns, epochs and batch_size."
            )
        return path

    @property
    def label(self) -> str:
        """Its name in messages."""
        if self.entry is None:
            return shown(self.file)
        package = self.entry.dist.name if self.entry.dist else "an installed package"
        return f"method '{self.name}' of {package} ({GROUP}: {self.entry.value})"


_added: dict[str, Source] = {}


def add_plugin(path: Path | str) -> str:
    """Register the method of a file under the file's stem and return the stem; its code runs when it is next needed.

    Raises:
        ConfigError: no such file, or its stem cannot be a method's name.
        MethodError: another method has this name.
    """
    file = expand(path).absolute()
    if file.suffix != ".py" or not file.is_file():
        what = "is not a Python file" if file.is_file() else "is a folder" if file.is_dir() else "does not exist"
        raise ConfigError(f"--plugin {path}: {what}. Give the .py file of a method, with its recipe next to it.")
    name = file.stem
    check_method_name(name, f"--plugin {path}")
    other = _in_repository().get(name) or _added.get(name) or _installed().get(name)
    if other is not None and (other.path is None or not other.path.samefile(file)):
        raise MethodError(f"{path}: the name '{name}' is taken ({other.label}). Rename the file and its recipe.")
    if name not in _in_repository():
        _added[name] = Source(name, PLUGIN_MODULES + name, file)
        sys.modules.pop(PLUGIN_MODULES + name, None)  # in a notebook the file may have changed
    return name


def check_method_name(name: str, where: str) -> None:
    """Refuse a name that cannot be a Python module, a command-line word and a folder of results.

    Raises:
        ConfigError: the name is not valid.
    """
    if not _can_name_a_method(name):
        raise ConfigError(
            f"{where}: '{name}' cannot name a method. Use lowercase letters, digits and '_', a letter first, and "
            f"neither a keyword of Python nor '{FAILED}'."
        )


def method_names() -> tuple[str, ...]:
    """Names of all methods in alphabetical order: those of methods/, named plugins and installed packages."""
    return tuple(sorted({**_installed(), **_added, **_in_repository()}))


def repository_names() -> tuple[str, ...]:
    """Names of the methods of this repository, in alphabetical order."""
    return tuple(_in_repository())


def source_of(name: str) -> Source:
    """Look up a method's source.

    Raises:
        ConfigError: the name is unknown; with the nearest.
    """
    known = {**_installed(), **_added, **_in_repository()}
    if name not in known:
        raise ConfigError(f"'{name}' is not a method. {did_you_mean(name, known)}")
    return known[name]


def origin_of(name: str) -> dict[str, str] | None:
    """A plugin's file name, package and version, for the record; None for a method of this repository."""
    source = source_of(name)
    if not source.is_plugin:
        return None
    package = source.entry.dist if source.entry else None
    of_package = {"package": package.name, "version": package.version} if package else {}
    return {"file": source.file.name, **of_package}


def clashes() -> list[str]:
    """Describe the entry points that are left out because of their names."""
    found = []
    for entry in _entries():
        source = source_of(entry.name) if entry.name in method_names() else None
        if source is None or source.entry is not entry:
            taken = "its name is taken" if source else "its name cannot be a method's"
            found.append(f"{Source(entry.name, entry.module, entry=entry).label} is left out: {taken}.")
    return found


def _in_repository() -> dict[str, Source]:
    names = sorted(file.removesuffix(".yaml") for file in os.listdir(METHODS) if file.endswith(".yaml"))
    return {name: Source(name, f"methods.{name}", METHODS / f"{name}.py") for name in names}


def _installed() -> dict[str, Source]:
    """Methods of installed packages; of equal names the first one counts."""
    found: dict[str, Source] = {}
    for entry in _entries():
        if _can_name_a_method(entry.name):
            found.setdefault(entry.name, Source(entry.name, entry.module, entry=entry))
    return found


def _can_name_a_method(name: str) -> bool:
    return bool(re.fullmatch(r"[a-z][a-z0-9_]*", name)) and not keyword.iskeyword(name) and name != FAILED


@cache
def _entries() -> tuple[EntryPoint, ...]:
    return tuple(sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)))
