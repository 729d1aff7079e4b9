"""Import methods at first use, so that a broken method does not affect the others.

An error that a method's own code raises is reported in one line, with the file and the line where it was raised.
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

CODE = "__copl_benchmark_sha256__"  # attribute of a plugin's module: hash of the text that was imported


def method_class(name: str) -> type[Method]:
    """Import a method's class: the only subclass of Method in its file, or the one that its entry point names.

    Raises:
        ConfigError: an unknown name, with the nearest.
        MethodError: the file cannot be imported or does not define one class with the interface; with file and line.
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


def method_error(name: str, error: BaseException) -> MethodError:
    """Convert an error of a method's own code to a MethodError with the file and the line where it was raised."""
    source = source_of(name)
    message = str(error.msg if isinstance(error, SyntaxError) else error)
    line = _failing_line(error, source.file)
    where = f"{shown(source.file)}:{line}" if line else source.label
    return MethodError(f"{where}: {type(error).__name__}: {message}")


@contextmanager
def attribute_errors_to(name: str) -> Iterator[None]:
    """Convert errors raised inside to MethodError as `method_error` does, except those that users can correct."""
    try:
        yield
    except BenchmarkError:
        raise
    except (Exception, SystemExit) as error:
        raise method_error(name, error) from error


def code_of(name: str) -> str:
    """16 hexadecimal digits of the hash of a plugin's file as it was imported; empty for methods of this repository.

    They are part of the spec: when the file changes, its runs are new runs. Other files that it imports do not count.
    """
    source = source_of(name)
    if not source.is_plugin:
        return ""
    module = _module(source)
    if CODE not in vars(module):  # Python's own loader imported an installed package
        setattr(module, CODE, sha256_file(source.file))
    return getattr(module, CODE)[:16]


def _failing_line(error: BaseException, file: Path) -> int | None:
    """The innermost line of a file in an error's traceback; None if the error was raised elsewhere."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == file:
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
    return lines[-1] if lines else None


def _module(source: Source) -> ModuleType:
    """Import a method's module once.

    Raises:
        MethodError: its code raised an error.
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
        raise method_error(source.name, error) from error


class _FreshLoader(importlib.machinery.SourceFileLoader):
    """Import the current text of a file and keep its hash in the module.

    No compiled copy is read or written: Python would also use it for a file that changed within the same second.
    """

    def get_code(self, fullname: str) -> CodeType:
        text = self.get_data(self.path)
        setattr(sys.modules[fullname], CODE, hashlib.sha256(text).hexdigest())
        return self.source_to_code(text, self.path)


def _check_interface(cls: type[Method], source: Source) -> None:
    """Refuse a class that the harness cannot use.

    Raises:
        MethodError: everything that is missing, with file and line.
    """
    problems = []
    if cls.forward is Method.forward:
        problems.append("it does not define forward(self, images), which returns the logits")
    if not (is_dataclass(cls.Options) and cls.Options.__dataclass_params__.frozen):
        problems.append("its Options is not a frozen dataclass; write @dataclass(frozen=True, kw_only=True)")
    try:
        inspect.signature(cls).bind("clip", "options", "class names", "template")
    except TypeError:
        problems.append("its __init__ does not take (self, clip, options, class_names, template)")
    if cls.sample_views and cls.take_sample is Method.take_sample:
        problems.append(f"sample_views is {cls.sample_views}, but it does not define take_sample(self, views, labels)")
    if problems:
        line = inspect.getsourcelines(cls)[1]
        raise MethodError(listed(f"{shown(source.file)}:{line}: class {cls.__name__}", problems))
