"""Hold what a user requests, and check its names and numbers before any dataset or checkpoint is opened.

It imports neither torch nor transformers: a wrong name is answered at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.common.config import LARGEST, Suite
from benchmark.common.constants import CHECKPOINT_MINUTES
from benchmark.common.files import cache_folder
from benchmark.data.catalog import load_catalog
from benchmark.data.custom.dataset import name_problems
from benchmark.data.custom.settings import place_problems
from benchmark.errors import ConfigError, did_you_mean, listed
from benchmark.plugins.discovery import method_names
from benchmark.plugins.recipes import option_problems
from benchmark.protocols.protocol import Choice, Protocol
from benchmark.protocols.registry import ALL, PROTOCOLS
from benchmark.records.trackers import tracker_problems
from benchmark.training.load_paths import pattern_problems

ADD_CUSTOM = " Add a custom one with --dataset NAME=PATH."


@dataclass(frozen=True, kw_only=True)
class ComputeSettings:
    """Where and how runs are computed.

    Attributes:
        out: the results folder.
        device: where this process computes.
        threads: of each process on a CPU; they may change last digits, for any number of processes.
        plugins: files of methods outside this repository.
        cache: whether image features may be cached on disk.
        lockstep: whether the seeds of a (method, dataset) are trained in one pass.
        graphs: whether training steps may be CUDA graphs.
        checkpoint_minutes: between two checkpoints of a training.
    """

    out: Path
    precision: str
    device: str = "cpu"
    threads: int = 1
    plugins: tuple[Path, ...] = ()
    cache: bool = True
    lockstep: bool = True
    graphs: bool = True
    checkpoint_minutes: float = CHECKPOINT_MINUTES


@dataclass(frozen=True, kw_only=True)
class Request(ComputeSettings):
    """What a user requests; names are not checked yet.

    Attributes:
        protocol: one of PROTOCOLS, or "all".
        datasets: the datasets named; None: the custom ones, or the suite's if there are none or its file names some.
        source: the dataset that cross_dataset trains on; None: the suite's.
        shots: the numbers of shots named; empty: the protocol's.
        data: folder of the real datasets; None if no real dataset is requested.
        custom: custom datasets, each with the path of its data.
        overrides: method to the option values of --set.
        left_out: plugins that cannot be used under their names, with the reason.
        loads: methods whose learned values are loaded, each with the path of its file.
        track: experiment trackers that log finished runs.
        views: random views of each training image; None: a new one each epoch.
    """

    protocol: str
    suite: Suite
    methods: tuple[str, ...]
    datasets: tuple[str, ...] | None
    source: str | None
    seeds: tuple[int, ...]
    shots: tuple[int, ...]
    backbone: str
    data: Path | None
    overrides: Mapping[str, Mapping[str, object]]
    left_out: Mapping[str, str] = field(default_factory=dict)
    loads: Mapping[str, str] = field(default_factory=dict)
    custom: Mapping[str, Path] = field(default_factory=dict)
    track: tuple[str, ...] = ()
    views: int | None = None

    @property
    def protocols(self) -> list[Protocol]:
        """The requested protocols, in the order in which they run."""
        return [p for p in PROTOCOLS.values() if self.protocol in (p.name, ALL)]

    @property
    def chosen(self) -> tuple[str, ...] | None:
        """The datasets that a protocol chooses from; None: the suite's."""
        suite = self.suite
        in_suite = {*suite.datasets, suite.source, suite.shift_source, *suite.shift_targets}
        return self.datasets or (tuple(self.custom) if self.custom and not in_suite & self.custom.keys() else None)

    @property
    def known(self) -> list[str]:
        """All datasets that may be named."""
        return [*load_catalog(), *self.custom]

    @property
    def missing_datasets(self) -> frozenset[str]:
        """The real datasets, if no folder of them is given."""
        real = (name for name, entry in load_catalog().items() if entry.mirrors is None)
        return frozenset(real) if self.data is None else frozenset()

    def shots_of(self, protocol: Protocol) -> tuple[int, ...]:
        """The numbers of shots that a protocol runs."""
        return self.shots or protocol.shots or (self.suite.shots,)


def check_names(request: Request) -> None:
    """Refuse unknown names and values, all in one message."""
    problems, sources = [], () if request.source is None else (request.source,)
    for kind, given, allowed in (
        ("protocol", (request.protocol,), (*PROTOCOLS, ALL)),
        ("method", (*request.methods, *request.overrides, *request.suite.recipes), method_names()),
        ("dataset", (*(request.chosen or request.suite.datasets), *sources), request.known),
    ):
        hint = ADD_CUSTOM if kind == "dataset" else ""
        problems += [
            f"'{name}' is not a {kind}. {did_you_mean(name, allowed)}{hint}" for name in given if name not in allowed
        ]
    for kind in ("methods", "datasets", "seeds", "shots", "track"):
        given = getattr(request, kind) or ()
        problems += [f"--{kind} names one twice: {given}"] if len(set(given)) < len(given) else []
    problems += name_problems(request.custom) + tracker_problems(request.track)
    if request.custom:
        problems += place_problems(request.custom, {"--out": request.out, "COPL_BENCHMARK_CACHE": cache_folder()})
    problems += pattern_problems(
        request.loads, request.methods, {p.name: request.shots_of(p) for p in request.protocols}
    )
    problems += [f"--seeds {seed}: a seed is 0 or more" for seed in request.seeds if seed < 0]
    problems += [f"--shots {shots}: at least 1 is needed" for shots in request.shots if shots < 1]
    too_large = [number for number in (*request.seeds, *request.shots) if number > LARGEST]
    problems += [f"{number} is too large: a seed or number of shots is at most {LARGEST}" for number in too_large]
    for protocol in request.protocols:
        if len(request.shots) > 1 and not protocol.shots:
            problems.append(
                f"--shots {' '.join(map(str, request.shots))}: {protocol.name} takes one number of shots; "
                "give one, or take --protocol few_shot"
            )
    if request.source and request.protocols and not any(protocol.takes_source for protocol in request.protocols):
        problems.append(
            f"--source {request.source}: {request.protocol} has no source to choose; leave --source out, or take "
            f"--protocol {' or '.join(p.name for p in PROTOCOLS.values() if p.takes_source)}"
        )
    if problems:
        raise ConfigError(listed("this request", list(dict.fromkeys(problems))))


def check_options(request: Request) -> None:
    """Refuse wrong options of --set and of the suite, as far as they show without importing a method."""
    suite, problems = request.suite, []
    for method in dict.fromkeys([*request.methods, *request.overrides]):  # of methods that do not run, too
        problems += option_problems(method, {**suite.recipes.get(method, {}), **request.overrides.get(method, {})})
    if problems:
        raise ConfigError(listed("this request", sorted(set(problems))))


def choose_trainings(request: Request) -> tuple[dict[str, dict[str, tuple[str, ...]]], list[str]]:
    """Protocol to {dataset trained on: other datasets scored}, and a message for each protocol that is left out.

    With `all` protocols, only domain generalization uses the shifted versions of a source, and a protocol that has
    nothing to do with the named datasets is left out.

    Raises:
        ConfigError: the only protocol requested has nothing to do, the folder of real datasets or a name is missing.
    """
    chosen, left_out = {}, []
    for protocol in request.protocols:
        named = request.chosen
        if named is not None and request.protocol == ALL and protocol.name != "domain_generalization":
            named = tuple(name for name in named if name not in request.suite.shift_targets)
        try:
            choice = Choice(
                suite=request.suite,
                datasets=named,
                source=request.source,
                missing_datasets=request.missing_datasets,
            )
            trainings = protocol.trainings(choice)
        except ConfigError as error:
            left_out.append(f"{error} It is left out.")
            if request.protocol != ALL:
                raise
        else:
            chosen[protocol.name] = trainings
    _check_datasets(request, names_of(chosen))
    return chosen, left_out


def names_of(chosen: Mapping[str, Mapping[str, tuple[str, ...]]]) -> list[str]:
    """All datasets of these trainings, each once, in order."""
    return list(dict.fromkeys(name for of in chosen.values() for pair in of.items() for name in (pair[0], *pair[1])))


def _check_datasets(request: Request, names: list[str]) -> None:
    problems = [
        f"suite '{request.suite.name}': '{name}' is not a dataset. {did_you_mean(name, request.known)}{ADD_CUSTOM}"
        for name in names
        if name not in request.known
    ]
    if real := [name for name in names if name in request.missing_datasets]:
        problems.append(f"{', '.join(real)}: real images are needed; give --data FOLDER (its layout: docs/data.md)")
    if problems or not names:
        raise ConfigError(listed("this request", problems or ["no protocol has anything to do with these datasets"]))
