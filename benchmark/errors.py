"""The errors a user can meet; each message says where, what was got, what is allowed and what to do."""

import difflib
from collections.abc import Iterable, Mapping


class BenchmarkError(Exception):
    """Something the user can mend; shown as its message alone, without a traceback."""


class ConfigError(BenchmarkError, ValueError):
    """A YAML file, a recipe or a command-line option is wrong."""


class MethodError(ConfigError):
    """A method's file or recipe cannot be used; its runs are left out, and the other methods still run."""


class DataError(BenchmarkError):
    """A dataset is missing, damaged or disagrees with its split file."""


class ShapeError(BenchmarkError):
    """A tensor or a prompt has a size that the backbone cannot take."""


class RecordError(BenchmarkError):
    """A result file cannot be read, written or combined with others."""


class DivergedError(BenchmarkError):
    """A loss or a trained method's logits became NaN or infinite.

    Attributes:
        about: where it happened, for the record of the failure; empty if it was not in training.
        last_good: what was learned before, by name; or nothing.
    """

    def __init__(self, message: str, *, about: Mapping[str, object] | None = None, last_good: Mapping | None = None):
        super().__init__(message)
        self.about, self.last_good = dict(about or {}), dict(last_good or {})


class RunsFailedError(BenchmarkError):
    """Some runs of a grid failed; the others are recorded.

    Attributes:
        frame: what was recorded, as `benchmark.run` returns it.
    """

    def __init__(self, message: str, frame: object = None):  # a default, so that processes can hand it on
        super().__init__(message)
        self.frame = frame


class StoreLostError(BenchmarkError):
    """The process that counts for all processes of a command is gone."""


def did_you_mean(name: object, allowed: Iterable[str]) -> str:
    """The sentence that ends every 'unknown name' message: the nearest allowed name, then all of them."""
    names = sorted(allowed)
    lowered = {each.lower(): each for each in names}
    nearest = difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.5)
    guess = f"Did you mean '{lowered[nearest[0]]}'? " if nearest else ""
    return f"{guess}Allowed: {', '.join(names) if names else '(none)'}."


def listed(where: str, problems: list[str], remedy: str = "") -> str:
    """One message out of many problems, so that a user can mend all of them in one go."""
    if len(problems) == 1 and not remedy:
        return f"{where}: {problems[0]}"
    lines = [f"{where}: {len(problems)} problem{'s' if len(problems) != 1 else ''}"]
    lines += [f"  - {problem}" for problem in problems]
    return "\n".join(lines + ([remedy] if remedy else []))
