"""From a method's name to its class, imported at first use so that one broken method harms no other.

Whatever a method's own code raises is told in one line, with its file and the line where it arose.
"""

import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from types import CodeType, ModuleType

from benchmark.common.files import shown
from benchmark.common.provenance import sha256_file
from benchmark.errors import BenchmarkError, MethodError, listed
from benchmark.method import Method
from benchmark.plugins.discovery import Source, source_of

CODE = "__copl_benchmark_sha256__"  # in a plugin's module: of the text that was imported


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
        loader = _FreshLoader(source.module, str(source.path))
        spec = importlib.util.spec_from_file_location(source.module, source.path, loader=loader)
        module = sys.modules[source.module] = importlib.util.module_from_spec(spec)
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[source.module]
            raise
        return module
    except (Exception, SystemExit) as error:
        raise broken(source.name, error) from error


class _FreshLoader(importlib.machinery.SourceFileLoader):
    """Imports the text of a file as it is now, and keeps its hash in the module.

    A compiled copy is neither read nor kept: Python would take it for that of a file changed within the same second.
    """

    def get_code(self, fullname: str) -> CodeType:
        text = self.get_data(self.path)
        setattr(sys.modules[fullname], CODE, hashlib.sha256(text).hexdigest())
        return self.source_to_code(text, self.path)


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
