"""Define the errors that users can meet. A message says where, what was given, what is allowed and what to do."""

import difflib
from collections.abc import Iterable, Mapping


class BenchmarkError(Exception):
    """An error that the user can correct; shown as its message alone, without a traceback."""


class ConfigError(BenchmarkError, ValueError):  # pydantic collects the ValueErrors of a dataclass
    """A YAML file, a recipe or a command-line option is wrong."""


class MethodError(ConfigError):
    """A method's file or recipe cannot be used; its runs are left out, and the other methods still run."""


class DataError(BenchmarkError):
    """A dataset is missing, damaged or does not match its split file."""


class ShapeError(BenchmarkError):
    """A tensor or a prompt has a size that the backbone does not accept."""


class RecordError(BenchmarkError):
    """A result file cannot be read, written or combined with others."""


class DivergedError(BenchmarkError):
    """A loss or a trained method's logits became NaN or infinite.

    Attributes:
        about: where it happened, for the record of the failure; empty outside training.
        last_good: the learned tensors before that step, by name; may be empty.
    """

    def __init__(self, message: str, *, about: Mapping[str, object] | None = None, last_good: Mapping | None = None):
        super().__init__(message)
        self.about, self.last_good = dict(about or {}), dict(last_good or {})


class RunsFailedError(BenchmarkError):
    """Some runs of a grid failed; the others are recorded.

    Attributes:
        frame: the recorded results, as `benchmark.run` returns them.
    """

    def __init__(self, message: str, frame: object = None):  # a default, so that the error can be pickled
        super().__init__(message)
        self.frame = frame


class StoreLostError(BenchmarkError):
    """The process that holds the counter of a command's processes has ended."""


MOST_NAMES = 20  # of a longer list, the nearest name is shown alone


def did_you_mean(name: object, allowed: Iterable[str]) -> str:
    """The end of every 'unknown name' message: the nearest allowed name, then all allowed names."""
    names = sorted(allowed)
    lowered = {each.lower(): each for each in names}
    nearest = difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.5)
    guess = f"Did you mean '{lowered[nearest[0]]}'? " if nearest else ""
    if nearest and len(names) > MOST_NAMES:
        return guess.strip()
    return f"{guess}Allowed: {', '.join(names) if names else '(none)'}."


def unreadable(path: object, error: OSError) -> str:
    """The message about a file that the system does not give."""
    return f"{path}: cannot be read ({error.strerror}). Restore the file or its permissions, then start again."


def listed(where: str, problems: list[str], remedy: str = "") -> str:
    """Join problems into one message, so that a user can correct all of them at once."""
    if len(problems) == 1 and not remedy:
        return f"{where}: {problems[0]}"
    lines = [f"{where}: {len(problems)} problem{'s' if len(problems) != 1 else ''}"]
    lines += [f"  - {problem}" for problem in problems]
    return "\n".join(lines + ([remedy] if remedy else []))
