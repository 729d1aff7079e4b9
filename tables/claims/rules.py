"""Define claims, their kinds and fields, and load them from reference/claims.yaml."""

import functools
from pathlib import Path
from typing import Literal

from benchmark.common.files import shown
from benchmark.common.validation import build, validated
from benchmark.common.yaml import read_yaml
from benchmark.errors import ConfigError, did_you_mean, listed

DATA = Path(__file__).resolve().parents[2] / "benchmark" / "data"
SHEET = Path(__file__).resolve().parents[1] / "reference" / "claims.yaml"
FIELDS_OF_PROTOCOL = {
    "base2new": {"class_set"},
    "few_shot": {"shots"},
    "cross_dataset": {"trained_on"},
    "domain_generalization": {"trained_on"},
}
FIELDS_OF_KIND = {
    "above_on_most": {"share"},
    "average_above": set(),
    "average_below": set(),
    "above_on": {"dataset"},
    "does_not_lead_on": {"dataset"},
    "gain_about": {"dataset", "figure", "tolerance"},
}


@validated
class Claim:
    """A claim, its source, and the rule that judges it: `kind`, with the fields that kind and protocol need.

    Attributes:
        says: the claim as a sentence.
        share: the least share of the judged datasets; 0.5 means more than half.
    """

    id: str
    says: str
    source: str
    protocol: Literal["base2new", "cross_dataset", "few_shot", "domain_generalization"]
    kind: Literal["above_on_most", "average_above", "average_below", "above_on", "does_not_lead_on", "gain_about"]
    method: str
    others: tuple[str, ...]
    class_set: Literal["base", "new"] | None = None
    shots: int | None = None
    trained_on: str | None = None
    dataset: str | None = None
    share: float | None = None
    figure: float | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        needed = FIELDS_OF_PROTOCOL[self.protocol] | FIELDS_OF_KIND[self.kind]
        conditional = set.union(*FIELDS_OF_PROTOCOL.values(), *FIELDS_OF_KIND.values())
        given = {name for name in conditional if getattr(self, name) is not None}
        here = f"kind '{self.kind}' in {self.protocol}"
        problems = [f"{here} needs '{name}'" for name in sorted(needed - given)]
        problems += [f"{here} does not use '{name}'; leave it out" for name in sorted(given - needed)]
        for name in ("dataset", "trained_on"):
            value = getattr(self, name)
            if value is not None and value not in real_datasets():
                problems.append(f"'{name}' is '{value}'; it is unknown. {did_you_mean(value, real_datasets())}")
        if not self.others or self.method in self.others:
            problems.append("'others' must name at least one method, and not 'method' itself")
        if self.kind == "gain_about" and len(self.others) != 1:
            problems.append(f"'others' must be one method for a gain, got {len(self.others)}")
        if self.share is not None and not 0.5 <= self.share <= 1:
            problems.append(f"'share' must be from 0.5 to 1, got {self.share}")
        if self.tolerance is not None and self.tolerance <= 0:
            problems.append(f"'tolerance' must be above 0, got {self.tolerance}")
        if problems:
            raise ConfigError("; ".join(problems))

    @property
    def methods(self) -> tuple[str, ...]:
        """All methods that it compares, its own first."""
        return (self.method, *self.others)


@functools.cache
def real_datasets() -> dict[str, str]:
    """Dataset of the papers to its title."""
    return {name: entry["title"] for name, entry in read_yaml(DATA / "catalog.yaml").items()}


@functools.cache
def mirrors() -> dict[str, dict[str, str]]:
    """The catalog entries of those datasets of the embedded suite that mirror one of the paper, named by `mirrors`."""
    entries = read_yaml(DATA / "synthetic" / "catalog.yaml")
    return {name: entry for name, entry in entries.items() if "mirrors" in entry}


def load_claims(path: Path = SHEET) -> list[Claim]:
    """The claims of a YAML file.

    Raises:
        ConfigError: unknown kinds and keys, missing fields, fields that a kind does not use; all in one message.
    """
    claims, problems = [], []
    for name, raw in read_yaml(path).items():
        where = f"claim '{name}'"
        try:
            if not isinstance(raw, dict):
                raise ConfigError(f"{where}: must be a mapping of fields, got {raw!r}")
            claims.append(build(Claim, {"id": str(name)} | raw, where))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(listed(shown(path), problems))
    return claims
