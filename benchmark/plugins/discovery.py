"""Where methods come from: methods/, files that the user names, installed packages. No code of theirs runs here.

A method's name is that of its file, or of its entry point; its recipe is the YAML file of the same stem beside it.
"""

import importlib.util
import keyword
import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from benchmark.common.config import FAILED
from benchmark.common.files import shown
from benchmark.errors import ConfigError, MethodError, did_you_mean

METHODS = Path(__file__).resolve().parents[2] / "methods"
GROUP = "copl_benchmark.methods"  # of the entry points that installed packages offer
PLUGIN_MODULES = "copl_benchmark_plugin_"  # before a plugin's name, its module's


@dataclass(frozen=True)
class Source:
    """One method's code.

    Attributes:
        module: its name for import.
        path: its file; None for an installed one, which is looked for when it is first needed.
        entry: the entry point of an installed one.
    """

    name: str
    module: str
    path: Path | None = None
    entry: EntryPoint | None = None

    @property
    def is_plugin(self) -> bool:
        """Whether its code is no part of this repository."""
        return not self.module.startswith("methods.")

    @property
    def file(self) -> Path:
        """The Python file.

        Raises:
            MethodError: the module of an entry point is not there.
        """
        if self.path is not None:
            return self.path
        try:
            found = importlib.util.find_spec(self.module)  # imports the packages around it, not the module
        except Exception as error:  # whatever those do
            raise MethodError(f"{self.told}: {type(error).__name__}: {error}") from error
        if found is None or not found.origin or not found.origin.endswith(".py"):
            raise MethodError(f"{self.told}: there is no Python file of module '{self.module}'.")
        return Path(found.origin)

    @property
    def recipe(self) -> Path:
        """The YAML file beside it.

        Raises:
            MethodError: there is none.
        """
        path = self.file.with_suffix(".yaml")
        if not path.is_file():
            raise MethodError(
                f"{shown(self.file)}: its recipe {path.name} is not beside it. Write `defaults:` there, with a value "
                "for every option of the method and, if it learns, epochs and batch_size."
            )
        return path

    @property
    def told(self) -> str:
        """How messages call it."""
        if self.entry is None:
            return shown(self.file)
        package = self.entry.dist.name if self.entry.dist else "an installed package"
        return f"method '{self.name}' of {package} ({GROUP}: {self.entry.value})"


_added: dict[str, Source] = {}


def add_plugin(path: Path | str) -> str:
    """Make the method of a file known under its stem, and return that; its code runs when it is next needed.

    Raises:
        ConfigError: no such file, or its stem cannot be a method's name.
        MethodError: another method has the name already.
    """
    file = Path(path).expanduser().absolute()
    if file.suffix != ".py" or not file.is_file():
        what = "is no Python file" if file.is_file() else "is not there"
        raise ConfigError(f"--plugin {path}: {what}. Give the .py file of a method; its recipe lies beside it.")
    name = file.stem
    check_method_name(name, f"--plugin {path}")
    other = _in_repository().get(name) or _added.get(name) or _installed().get(name)
    if other is not None and (other.path is None or not other.path.samefile(file)):
        raise MethodError(f"{path}: there is a method '{name}' already ({other.told}). Rename the file and its recipe.")
    if name not in _in_repository():
        _added[name] = Source(name, PLUGIN_MODULES + name, file)
        sys.modules.pop(PLUGIN_MODULES + name, None)  # in a notebook the file may have changed since the last call
    return name


def check_method_name(name: str, where: str) -> None:
    """Refuse what cannot be a file of Python, a word on the command line and a folder of results at once.

    Raises:
        ConfigError: it cannot.
    """
    if not _can_name_a_method(name):
        raise ConfigError(
            f"{where}: '{name}' cannot name a method. Use small letters, digits and '_', a letter first, and no word "
            f"of Python nor '{FAILED}'."
        )


def method_names() -> tuple[str, ...]:
    """Names of all methods, alphabetically: of methods/, of named plugins, of installed packages."""
    return tuple(sorted({**_installed(), **_added, **_in_repository()}))


def repository_names() -> tuple[str, ...]:
    """Names of the methods of this repository, alphabetically."""
    return tuple(_in_repository())


def source_of(name: str) -> Source:
    """Where a method comes from.

    Raises:
        ConfigError: an unknown name, with the nearest.
    """
    known = {**_installed(), **_added, **_in_repository()}
    if name not in known:
        raise ConfigError(f"'{name}' is not a method. {did_you_mean(name, known)}")
    return known[name]


def origin_of(name: str) -> dict[str, str] | None:
    """Where a plugin comes from, as a record tells it: its file's name, its package and version; None for ours."""
    source = source_of(name)
    if not source.is_plugin:
        return None
    package = source.entry.dist if source.entry else None
    of_package = {"package": package.name, "version": package.version} if package else {}
    return {"file": source.file.name, **of_package}


def clashes() -> list[str]:
    """Entry points that are left out since their names are taken, in words."""
    found = []
    for entry in _entries():
        source = source_of(entry.name) if entry.name in method_names() else None
        if source is None or source.entry is not entry:
            taken = "its name is taken" if source else "its name cannot be a method's"
            found.append(f"{Source(entry.name, entry.module, entry=entry).told} is left out: {taken}.")
    return found


def _in_repository() -> dict[str, Source]:
    return {
        path.stem: Source(path.stem, f"methods.{path.stem}", path.with_suffix(".py"))
        for path in sorted(METHODS.glob("*.yaml"))
    }


def _installed() -> dict[str, Source]:
    """What packages offer; a name that is taken stays whose it was."""
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
