"""Judge claims about CoPL from records: holds, does not hold or not measured; docs/claims.md has the rules."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmark.common.config import load_suite
from benchmark.common.files import write_atomically
from benchmark.records.metrics import accuracy_percent, mean
from benchmark.records.record import RunRecord
from tables.aggregate import headline, method_title, method_titles, untrained_methods
from tables.claims.rules import Claim, load_claims, mirrors, real_datasets
from tables.comparable import check_comparable
from tables.rendering.grid import Cell, Grid, to_markdown
from tables.statistics import paired_test

EXPLAINED = (
    "Accuracies are means over the seeds that all methods of a claim have, compared unrounded; a tie is not above. "
    "A claim about an average or a majority is judged on the datasets on which all its methods are measured, and only "
    "if these are more than half of the paper's. The numbers decide, not the paired test. The test is over the seeds "
    "of one dataset or over datasets, against the closest of the other methods. A claim of a gain of about so many "
    "points holds within the tolerance given with the number."
)
MIRRORED = "Judged on synthetic datasets of the embedded suite that mirror the paper's: this is not the paper's data."
COLUMNS = ("claim", "what it says", "verdict", "measured", "judged on", "seeds", "paired test", "source")
Mirrored = Mapping[str, Mapping[str, str]]  # as mirrors(); empty for records of real datasets
OUTCOMES = ("holds", "does not hold", "not measured")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on one claim, with its evidence as text.

    Attributes:
        measured: the numbers that decide, or the reason why there are none.
        judged: the judged datasets, and the number of all datasets of the claim.
        test: the paired test with the closest other method; "" if not measured.
    """

    claim: Claim
    outcome: Literal["holds", "does not hold", "not measured"]
    measured: str
    judged: str
    seeds: tuple[int, ...] = ()
    test: str = ""


@dataclass(frozen=True)
class Evidence:
    """The accuracies that a claim is judged from.

    Attributes:
        possible: the datasets of the paper that the claim is about.
        recorded: the methods of the claim that have records.
        runs: dataset to method to accuracy by seed, for datasets on which all methods of the claim are measured.
        titles: dataset to title.
    """

    claim: Claim
    possible: Sequence[str]
    recorded: frozenset[str]
    runs: Mapping[str, Mapping[str, Mapping[int, float]]]
    titles: Mapping[str, str]

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """Dataset to method to the mean over seeds."""
        return {d: {m: mean(list(by_seed.values())) for m, by_seed in run.items()} for d, run in self.runs.items()}

    @property
    def overall(self) -> dict[str, float]:
        """Method to the mean over datasets of its means."""
        return {m: mean([of[m] for of in self.means.values()]) for m in self.claim.methods}

    @property
    def closest(self) -> str:
        """The best of the other methods; the worst for a claim of being below them."""
        sign = 1 if self.claim.kind == "average_below" else -1
        return min(self.claim.others, key=lambda method: sign * self.overall[method])

    def differences(self) -> list[float]:
        """Differences to the closest other method: per seed for a single dataset, else per dataset."""
        own, other = self.claim.method, self.closest
        if self.claim.dataset is None:
            return [of[own] - of[other] for of in self.means.values()]
        run = self.runs[self.claim.dataset]
        return [run[own][seed] - run[other][seed] for seed in run[own]]


def judge(records: Sequence[RunRecord], claims: Iterable[Claim] | None = None) -> list[Verdict]:
    """A verdict on each claim (default: those of reference/claims.yaml).

    Raises:
        RecordError: the records of a claim are not comparable.
    """
    mirrored, shared = mirrors() if is_mirrored(records) else {}, {}
    verdicts = []
    for claim in load_claims() if claims is None else claims:
        about = (claim.protocol, claim.methods, claim.shots, claim.trained_on)
        if about not in shared:
            shared[about] = _concerned(claim, records, mirrored)
        verdicts.append(_verdict(gather(claim, shared[about], mirrored)))
    return verdicts


def _concerned(claim: Claim, records: Sequence[RunRecord], mirrored: Mirrored) -> list[RunRecord]:
    """The records that a claim is about, which are comparable."""
    found = []
    for record in records:
        spec = record.spec
        if spec.protocol != claim.protocol or spec.method not in claim.methods or claim.shots not in (None, spec.shots):
            continue
        if claim.trained_on in (None, mirrored.get(spec.dataset, {}).get("mirrors", spec.dataset)):
            found.append(record)
    if found:
        check_comparable(found)
    return found


def gather(claim: Claim, concerned: Sequence[RunRecord], mirrored: Mirrored) -> Evidence:
    """The evidence on a claim in its records; datasets of the embedded suite count as those that they mirror."""
    paper = {name: entry["mirrors"] for name, entry in mirrored.items()}
    values: dict[tuple[str, str], dict[int, float]] = {}
    for record in concerned:
        for dataset, accuracy in _accuracies(record, claim, paper).items():
            values.setdefault((record.spec.method, dataset), {})[record.spec.seed] = accuracy
    untrained = untrained_methods(concerned)
    possible = _possible(claim)
    runs = {dataset: _by_common_seed(claim, values, dataset, untrained) for dataset in possible}
    real = real_datasets()
    titles = {of: f"{mirrored[name]['title']} (for {real.get(of, of)})" for name, of in paper.items()}
    return Evidence(
        claim,
        possible,
        frozenset(record.spec.method for record in concerned),
        {dataset: run for dataset, run in runs.items() if run},
        real | titles,
    )


def is_mirrored(records: Iterable[RunRecord]) -> bool:
    """Whether these are runs on the embedded suite only, not on the datasets of the papers."""
    names = {record.spec.dataset for record in records}
    return bool(names & mirrors().keys()) and not names & real_datasets().keys()


def _accuracies(record: RunRecord, claim: Claim, paper: Mapping[str, str]) -> dict[str, float]:
    """Scored dataset of the paper to accuracy; for a transfer, without the source."""
    if claim.trained_on is None:
        scores = {record.spec.dataset: record.scores[claim.class_set or "all"]}
    else:
        scores = {name: score for name, score in record.scores.items() if name != record.spec.dataset}
    return {paper.get(name, name): accuracy_percent(score.correct, score.total) for name, score in scores.items()}


def _possible(claim: Claim) -> list[str]:
    eleven = load_suite("paper").datasets
    if claim.dataset is not None:
        return [claim.dataset]
    if claim.protocol == "domain_generalization":
        return [name for name in real_datasets() if name not in eleven]
    return [name for name in eleven if name != claim.trained_on]


def _by_common_seed(
    claim: Claim, values: Mapping[tuple[str, str], Mapping[int, float]], dataset: str, untrained: set[str]
) -> dict[str, dict[int, float]]:
    """Method to accuracy by seed, over the seeds common to all methods; an untrained method fits any seed."""
    runs = {method: values.get((method, dataset), {}) for method in claim.methods}
    learned = [set(by_seed) for method, by_seed in runs.items() if method not in untrained]
    seeds = sorted(set.intersection(*(learned or map(set, runs.values()))))
    if not seeds or not all(runs.values()):
        return {}
    return {m: {seed: by.get(seed, mean(list(by.values()))) for seed in seeds} for m, by in runs.items()}


def _verdict(evidence: Evidence) -> Verdict:
    claim, judged, possible = evidence.claim, list(evidence.runs), evidence.possible
    absent = [dataset for dataset in possible if dataset not in judged]
    where = f"{len(judged)} of {len(possible)} datasets"
    if claim.dataset is not None:
        where = f"{evidence.titles[claim.dataset]}, {len(judged)} of 1 dataset"
    elif judged and absent:
        where += f"; without {_listed(absent, evidence.titles)}"
    seeds = tuple(sorted({seed for run in evidence.runs.values() for seed in run[claim.method]}))
    about = {"claim": claim, "judged": where, "seeds": seeds}
    if 2 * len(judged) <= len(possible):
        return Verdict(**about, outcome="not measured", measured=_reason(evidence))
    holds, measured = _decide(evidence)
    return Verdict(**about, outcome="holds" if holds else "does not hold", measured=measured, test=_test(evidence))


def _reason(evidence: Evidence) -> str:
    """The reason why a claim cannot be judged."""
    claim = evidence.claim
    if unseen := [method for method in claim.methods if method not in evidence.recorded]:
        return f"no record of {_listed(unseen, method_titles())}"
    if claim.dataset is not None:
        return f"no seed of {evidence.titles[claim.dataset]} that all of its methods have"
    return (
        f"all its methods are measured on {len(evidence.runs)} of {len(evidence.possible)} datasets; "
        f"at least {len(evidence.possible) // 2 + 1} are needed"
    )


def _decide(evidence: Evidence) -> tuple[bool, str]:
    """Whether a claim holds, and the numbers that decide."""
    claim, overall = evidence.claim, evidence.overall
    own, others = overall[claim.method], [overall[method] for method in claim.others]
    numbers = ", ".join(f"{method_title(method)} {overall[method]:.2f}" for method in claim.methods)
    if claim.kind == "above_on_most":
        return _decide_most(evidence)
    if claim.kind == "gain_about":
        gain = own - others[0]
        text = f"gain {gain:+.2f}, claimed {claim.figure:.2f} ± {claim.tolerance:.2f} ({numbers})"
        return abs(gain - claim.figure) <= claim.tolerance, text
    leads = own > max(others)
    outcome = {"average_below": own < min(others), "does_not_lead_on": not leads}
    return outcome.get(claim.kind, leads), numbers


def _decide_most(evidence: Evidence) -> tuple[bool, str]:
    claim, means = evidence.claim, evidence.means
    ahead = [d for d, of in means.items() if of[claim.method] > max(of[method] for method in claim.others)]
    needed = max(len(means) // 2 + 1, math.ceil(claim.share * len(means) - 1e-9))  # 0.7 has no exact representation
    behind = [dataset for dataset in means if dataset not in ahead]
    text = f"{method_title(claim.method)} is above on {len(ahead)} of {len(means)} datasets, {needed} are needed"
    word, named = ("on", ahead) if len(ahead) < len(behind) else ("not on", behind)
    return len(ahead) >= needed, text + (f"; {word} {_listed(named, evidence.titles)}" if named else "")


def _test(evidence: Evidence) -> str:
    """The paired test with the closest other method, as text."""
    claim, differences = evidence.claim, evidence.differences()
    unit = "dataset" if claim.dataset is None else "seed"
    pair = f"{method_title(claim.method)} minus {method_title(evidence.closest)}"
    if len(differences) < 2:
        return f"{pair}: {differences[0]:+.2f} on one {unit}, no test"
    test = paired_test(differences)
    parts = [f"{pair}: {test.mean:+.2f} over {test.n} {unit}s"]
    if test.interval is not None:
        parts.append("95 % interval {:+.2f} to {:+.2f}".format(*test.interval))
    if test.p_value is not None:
        parts.append("p < 0.001" if test.p_value < 0.001 else f"p = {test.p_value:.3f}")
    return ", ".join(parts)


def _listed(names: Sequence[str], titles: Mapping[str, str]) -> str:
    return ", ".join(titles.get(name, name) for name in names)


def grid(verdicts: Sequence[Verdict], records: Sequence[RunRecord], *, note: str = "") -> Grid:
    """A grid with a row per claim: its verdict and evidence."""
    caption = f"Claims about CoPL, judged from measured records. {headline(records)}"
    rows = [
        [
            Cell(verdict.claim.id),
            Cell(verdict.claim.says),
            Cell(verdict.outcome, best=verdict.outcome == "holds", value=float(OUTCOMES.index(verdict.outcome))),
            Cell(verdict.measured),
            Cell(verdict.judged),
            Cell(", ".join(map(str, verdict.seeds)) or "—"),
            Cell(verdict.test or "—"),
            Cell(verdict.claim.source),
        ]
        for verdict in verdicts
    ]
    remarks = [MIRRORED] if is_mirrored(records) else []
    return Grid(
        name="claims",
        caption=" ".join([caption, *remarks, *([note] if note else [])]),
        explained=EXPLAINED,
        columns=COLUMNS,
        rows=rows,
    )


def write(records: Sequence[RunRecord], out: Path, *, note: str = "") -> Path:
    """Judge the claims and write `out`/claims.md atomically."""
    path = Path(out) / "claims.md"
    write_atomically(path, to_markdown(grid(judge(records), records, note=note)).encode())
    return path
