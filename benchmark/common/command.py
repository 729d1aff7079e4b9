"""Parse the arguments of a command, and turn its errors into messages and exit codes."""

import argparse
import difflib
import gc
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from benchmark.common import shutdown
from benchmark.common.files import REPOSITORY, expand
from benchmark.errors import BenchmarkError, ConfigError, StoreLostError

CLOSED_OUTPUT = 128 + 13  # as a shell reports a process that SIGPIPE ended
OURS = ("", "benchmark", "methods", "tables")  # packages whose absence is a bug, not a missing installation
PACKAGE = re.compile(r"-packages\W(\w+)")  # in the path of an installed file, its package


class Parser(argparse.ArgumentParser):
    """An ArgumentParser with one line per option, and the nearest option in the message on an unknown one."""

    def __init__(self, **options: object):
        formatter = partial(argparse.RawDescriptionHelpFormatter, width=100, max_help_position=30)
        super().__init__(formatter_class=formatter, **options)

    def parse_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        """As ArgumentParser.parse_args; an empty value, of an unset shell variable for example, is refused."""
        args = sys.argv[1:] if args is None else args
        for before, word in zip(["", *args], args, strict=False):
            if not word.strip(" ,"):
                self.error(f"{before or 'argument'}: its value is empty; give one or leave the option out")
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            names = {name for parser in self._all() for name in parser._option_string_actions}
            nearest = difflib.get_close_matches(rest[0].partition("=")[0], names, n=1)
            hint = f" (did you mean {nearest[0]}?)" if nearest else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
        return found

    def _all(self) -> list[argparse.ArgumentParser]:
        below = [a.choices.values() for a in self._actions if isinstance(a, argparse._SubParsersAction)]
        return [self, *(parser for parsers in below for parser in parsers)]

    def error(self, message: str) -> NoReturn:
        """As ArgumentParser.error, without the usage of all options."""
        self.exit(2, f"{self.prog}: error: {message}. `{self.prog} --help` lists the options.\n")


def path_option(text: str) -> Path:
    """The path of an option, with ~ expanded: after `--out=` the shell leaves it alone."""
    try:
        return expand(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).removesuffix(".")) from error


def check_python() -> None:
    """Refuse a Python without docstrings: transformers reads its own when it is imported."""
    if sys.flags.optimize > 1:
        raise ConfigError("Python runs with -OO or PYTHONOPTIMIZE=2, and transformers fails so. Use -O at most.")


def in_utf8() -> None:
    """Start this program again in Python's UTF-8 mode if the locale has another encoding for names of files.

    Class names are names of folders: read in another encoding, they would be other prompts, or none.
    """
    if sys.getfilesystemencoding() != "utf-8" and "utf8" not in sys._xoptions:
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)  # of the terminal
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def answer(work: Callable[[], int], *, kept: str = "no file is partial") -> int:
    """Do the work of a command.

    Args:
        kept: what an interrupted command leaves, for its last line.
    Returns:
        The exit code: that of the work, 2 if nothing started, 130 after an interrupt.
    """
    with _lasting_output() as outputs:
        code = _answer(work, kept)
    if lost := " and ".join(output.lost for output in outputs if output.lost):
        print(f"error: output could not be written ({lost}); the work was not interrupted.", file=sys.stderr)
        return code or 1
    return code


def _answer(work: Callable[[], int], kept: str) -> int:
    _prepare()
    try:
        check_python()
        return work()
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, StoreLostError) else 2
    except BrokenPipeError:  # the reader, such as `head`, has closed the output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
        return CLOSED_OUTPUT
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OURS:
            raise
        requirements = REPOSITORY / "requirements.txt"
        print(f"error: {error}. Install what is needed: pip install -r {requirements}", file=sys.stderr)
        return 2
    except shutdown.Terminated:
        print(f"ended on request; {kept}, the same command goes on.", file=sys.stderr)
        return shutdown.EXIT_CODE
    except KeyboardInterrupt:
        print(f"\ninterrupted; {kept}, the same command goes on from there.", file=sys.stderr)
        return 130
    except Exception as error:
        if (package := _not_imported(error)) is None:
            raise
        reason = " ".join([f"{type(error).__name__}:", *str(error).split()])[:300]
        advice = "Look for a wrong environment variable, which it reads at its start, or install it again."
        if suspects := _suspects(str(error)):
            advice = f"Correct or unset {', '.join(suspects)}."
        print(f"error: the package {package} cannot be imported ({reason}). {advice}", file=sys.stderr)
        return 2


@contextmanager
def made_to_last() -> Iterator[None]:
    """Make what a command needs to its end; the garbage collector would visit all of it again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class _LastingOutput:
    """A stream that drops what it cannot write, on a full disk for example, so that the work goes on.

    Attributes:
        lost: why something was dropped; empty if nothing was.
    """

    def __init__(self, stream: io.TextIOBase):
        self._stream, self.lost = stream, ""

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except BrokenPipeError:
            raise
        except OSError as error:
            self.lost = error.strerror or type(error).__name__
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # takes what waits to be written, too


@contextmanager
def _lasting_output() -> Iterator[list[_LastingOutput]]:
    """Let writing to stdout and stderr not fail, closed ones included; yields the two streams."""
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        outputs = [_LastingOutput(stream or nowhere) for stream in before]
        sys.stdout, sys.stderr = outputs
        try:
            yield outputs
            for output in outputs:
                with suppress(BrokenPipeError):
                    output.flush()
        finally:
            sys.stdout, sys.stderr = before


def _prepare() -> None:
    """Let output show \\u2193 where it cannot show an arrow, and matplotlib draw to files wherever the command runs.

    Libraries of torch that report each call on standard output, which is the command's, are silenced.
    """
    for name in ("DNNL_VERBOSE", "MKL_VERBOSE", "ONEDNN_VERBOSE"):
        os.environ.pop(name, None)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has none, and shows all characters
            stream.reconfigure(errors="backslashreplace")
    os.environ["MPLBACKEND"] = "agg"  # the one that a notebook names may not be installed here
    try:
        expand("~")
    except ConfigError:
        os.environ.setdefault("MPLCONFIGDIR", os.devnull)  # matplotlib takes a temporary folder


def _suspects(text: str) -> list[str]:
    """The environment variables that an error names, else those whose value it quotes."""
    named = [name for name in os.environ if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    return named or [name for name, value in os.environ.items() if value and repr(value) in text]


def _not_imported(error: Exception) -> str | None:
    """The package of others whose import raised an error: a wrong value of a variable that it reads then, say."""
    frames = traceback.extract_tb(error.__traceback__)
    packages = [PACKAGE.search(frame.filename) for frame in frames]  # an environment may be inside of the repository
    ours = max(
        number
        for number, (frame, package) in enumerate(zip(frames, packages, strict=True))
        if package is None and Path(frame.filename).is_relative_to(REPOSITORY)
    )
    called = zip(frames[ours + 1 : ours + 2], packages[ours + 1 :], strict=False)
    return next((package[1] for frame, package in called if package and frame.name == "<module>"), None)
