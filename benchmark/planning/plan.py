"""From a request to its runs: everything that can be known, checked and refused before anything is computed."""

from dataclasses import dataclass, field
from pathlib import Path

from benchmark.clip.backbone import Patches, outline
from benchmark.clip.locate import checkpoint_hash
from benchmark.common.config import RunSpec
from benchmark.data.catalog import Dataset, count_by_label
from benchmark.data.synthetic.names import CHECKPOINT
from benchmark.errors import ConfigError, MethodError, ShapeError, listed
from benchmark.planning.capability import longest_name, probe, scores_strangers
from benchmark.planning.inputs import backbone_folder, load_datasets
from benchmark.planning.request import Request, check_names, choose_trainings
from benchmark.planning.specs import Settled, lists_differ, settle, spec_of
from benchmark.plugins.discovery import clashes
from benchmark.protocols.protocol import Protocol, Scored
from benchmark.protocols.registry import PROTOCOLS
from benchmark.records import store
from benchmark.training.loaded import Fit, Loader, other_classes
from benchmark.training.loop import FEW_STEPS
from benchmark.training.reuse import find_training, training_id
from benchmark.training.schedule import batches_per_epoch

SMALL_STEPS, SMALL_IMAGES = 300, 2000  # of a grid that one process does: others take seconds to start


@dataclass
class Plan:
    """The runs of a request: all of them, those without a record, and what a user should know before they start.

    Attributes:
        protocols: those that have something to do.
        datasets: those trained on and those scored.
        broken: plugins and other methods whose code or recipe cannot be used, with what is wrong; their runs are none.
        taken: of the missing ones, those whose training is another run's, recorded or to run before.
        patches: the features of image patches that some method reads, None for the pooled embedding alone.
        sample_views: of runs whose method reads its training images before it is trained, how many views of each.
        files: of runs whose learned values are loaded instead of trained, where these are.
    """

    request: Request
    checkpoint: Path | None
    protocols: list[str]
    datasets: dict[str, Dataset]
    specs: list[RunSpec] = field(default_factory=list)
    missing: list[RunSpec] = field(default_factory=list)
    taken: set[RunSpec] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    patches: set[Patches | None] = field(default_factory=set)
    sample_views: dict[RunSpec, int] = field(default_factory=dict)
    files: dict[RunSpec, Path] = field(default_factory=dict)

    def training_set(self, spec: RunSpec) -> Dataset:
        """The dataset whose train list is the sample that a run trains on."""
        return PROTOCOLS[spec.protocol].training_set(self.datasets[spec.dataset], shots=spec.shots, seed=spec.seed)

    def scored_sets(self, spec: RunSpec) -> list[tuple[Scored, str]]:
        """The class sets that a run scores, each with the template in force there."""
        targets = [dataset for name, dataset in self.datasets.items() if name in spec.targets]
        sets = PROTOCOLS[spec.protocol].scored_sets(self.datasets[spec.dataset], targets)
        return [(scored, spec.targets.get(scored.name, spec.template)) for scored in sets]


def make_plan(request: Request, *, fetch: bool, datasets: dict[str, Dataset] | None = None) -> Plan:
    """Everything that can be known without computing: names, recipes, datasets, capabilities, what is done already.

    Args:
        fetch: whether a backbone that is not in the local cache may be downloaded.
        datasets: all that it needs, read and checked already; None: they are read here.
    Raises:
        BenchmarkError: all problems of the request in one message.
    """
    check_names(request)
    trainings, left_out = choose_trainings(request)
    checkpoint = backbone_folder(request.backbone, fetch=fetch)
    digest = "not-fetched" if checkpoint is None else checkpoint_hash(checkpoint)
    datasets = load_datasets(request, trainings) if datasets is None else datasets
    plan = Plan(request, checkpoint, list(trainings), datasets, refused=left_out)
    plan.broken.update(request.left_out)
    plan.warnings += clashes()
    problems: list[str] = []
    loader = Loader(request.loads)
    plan.warnings += [note for method in request.methods for note in loader.notes(method, request.seeds)]
    if unused := [name for name in request.own if name not in plan.datasets]:
        plan.warnings.append(f"--dataset {', '.join(unused)}: nothing here uses it; name it with --datasets to do so.")
    for protocol, of_protocol in trainings.items():
        for name, targets in of_protocol.items():
            problems += _untrainable(plan, PROTOCOLS[protocol], name)
            for shots in request.shots_of(PROTOCOLS[protocol]):
                plan.warnings += few_images(plan.datasets[name], shots)
                specs, wrong = _specs(plan, loader, digest, protocol, (name, *targets), shots)
                plan.specs += specs
                problems += wrong
    problems += _refuse_incapable(plan)
    problems += _misfits(plan, loader)
    if not plan.specs:
        problems += [*plan.broken.values(), *plan.refused]
    if problems:
        raise ConfigError(listed("this request", sorted(set(problems))))
    plan.warnings = list(dict.fromkeys(plan.warnings))
    plan.missing = store.missing(plan.specs, request.out)
    plan.taken = _taken(plan)
    plan.warnings += [
        f"{folder.name}: its file changed since {count} runs of {folder.parent.name} were recorded; they stay in "
        f"{folder}, and are not part of these tables."
        for folder, count in store.of_other_code(plan.specs, request.out).items()
    ]
    plan.warnings += _few_steps(plan)
    return plan


def is_small(plan: Plan) -> bool:
    """Whether what is missing is done sooner than another process is up."""
    steps = sum(steps_of(plan, spec) for spec in plan.missing)
    images = sum(len(plan.datasets[name].test) for name in {n for s in plan.missing for n in (s.dataset, *s.targets)})
    return steps <= SMALL_STEPS and images <= SMALL_IMAGES


def steps_of(plan: Plan, spec: RunSpec) -> int:
    """Optimiser steps that a run takes; none if another run trains for it."""
    if spec.training is None or spec in plan.taken:
        return 0
    return spec.training.epochs * batches_per_epoch(len(plan.training_set(spec).train), spec.training.batch_size)


def _untrainable(plan: Plan, protocol: Protocol, name: str) -> list[str]:
    """Why a protocol cannot train on a dataset, if so."""
    dataset = plan.datasets[name]
    if not dataset.train:
        return [
            f"{name}: {protocol.name} trains on it, but it holds test images only. Leave it out with --datasets, or "
            "score it with --protocol cross_dataset or domain_generalization"
        ]
    if len(dataset.class_names) < protocol.min_classes:
        return [f"{name}: {protocol.name} needs {protocol.min_classes} classes or more"]
    return []


def _specs(
    plan: Plan, loader: Loader, checkpoint: str, protocol: str, names: tuple[str, ...], shots: int
) -> tuple[list[RunSpec], list[str]]:
    """The runs of each seed and method that train on the first of some datasets, and what is wrong with recipes."""
    request, datasets, specs, problems = plan.request, [plan.datasets[name] for name in names], [], []
    chosen: list[Settled] = []
    for method in request.methods:
        try:
            found, wrong = settle(request, loader, method, datasets, protocol=protocol, shots=shots)
        except MethodError as error:
            plan.broken[method] = str(error)
            continue
        problems += wrong
        if any(lists_differ(settled.recipes) for settled in found):
            plan.refused.append(
                f"{method}: its list of templates is another for each dataset, and a run of {protocol} has one for all "
                "of them: its runs are left out, the rest goes on. Name the list, or leave templates alone."
            )
        else:
            chosen += found
    for settled in sorted(chosen, key=lambda settled: request.seeds.index(settled.seed)):
        spec = spec_of(request, settled, datasets, protocol=protocol, shots=shots, checkpoint=checkpoint)
        specs.append(spec)
        if settled.file is not None:
            plan.files[spec] = settled.file.path
    return specs, problems


def _refuse_incapable(plan: Plan) -> list[str]:
    """Take out the runs of methods that, as configured, cannot do what their protocol asks; returns other problems.

    What a method can do is read from an instance of it, made here on the backbone's outline, which loads at once.
    """
    clip, problems, kept, capable = outline(plan.checkpoint or CHECKPOINT)[0], [], [], {}
    longest = {name: longest_name(clip, dataset) if plan.checkpoint else "a" for name, dataset in plan.datasets.items()}
    refused: dict[tuple[str, str], int] = {}
    for spec in plan.specs:
        templates = {spec.dataset: spec.template, **spec.targets}
        prompts = tuple((template, longest[name]) for name, template in templates.items())
        key = (spec.method, spec.options, prompts)
        if key not in capable:
            try:
                capable[key] = probe(clip, spec, prompts)
            except MethodError as error:
                plan.broken[spec.method] = str(error)
            except (ConfigError, ShapeError) as error:
                problems.append(f"{spec.method}: {error}")
            capable.setdefault(key, None)
        able = capable[key]
        if able is None:
            continue
        if not able.transfers and scores_strangers(plan.training_set(spec), plan.scored_sets(spec)):
            refused[spec.method, spec.protocol] = refused.get((spec.method, spec.protocol), 0) + 1
            continue
        kept.append(spec)
        plan.patches.add(able.needs_patches)
        if able.sample_views and spec not in plan.files:
            plan.sample_views[spec] = able.sample_views
    plan.specs = [spec for spec in kept if spec.method not in plan.broken]
    plan.refused += [
        f"{method}, as configured, learns for the trained classes alone and cannot score others, which {protocol} "
        f"asks for: its {'run is' if count == 1 else f'{count} runs are'} left out, the rest goes on."
        for (method, protocol), count in refused.items()
    ]
    return problems


def _misfits(plan: Plan, loader: Loader) -> list[str]:
    """Files that cannot be loaded into the runs they are named for; what else is to know of them is a warning."""
    loaded, problems = [spec for spec in plan.specs if spec in plan.files], []
    fit = Fit(plan.checkpoint) if loaded and plan.checkpoint else None
    for spec in loaded:
        released, class_names = loader.read[plan.files[spec]], plan.training_set(spec).class_names
        plan.warnings += other_classes(spec, released, class_names)
        problems += fit.problems(spec, released, class_names) if fit else []
    return problems


def _taken(plan: Plan) -> set[RunSpec]:
    """The missing runs that need no training of their own, since one before them or a record has it."""
    taken, known = set(), set()
    for spec in plan.missing:
        training = training_id(spec)
        if training and (training in known or find_training(spec, plan.request.out)):
            taken.add(spec)
        known.add(training)
    return taken


def _few_steps(plan: Plan) -> list[str]:
    """Trainings so short that their schedule hardly moves anything; seeds of a (method, dataset) are as long."""
    one_seed = {
        (s.protocol, s.method, s.dataset, s.shots): s for s in plan.missing if s.training and s not in plan.taken
    }
    few: dict[tuple[str, str], list[str]] = {}
    for (protocol, method, dataset, shots), spec in one_seed.items():
        if (steps := steps_of(plan, spec)) <= FEW_STEPS:
            few.setdefault((protocol, method), []).append(f"{steps} on {dataset} at {shots} shot{'s' * (shots != 1)}")
    return [
        f"{method} in {protocol} trains {FEW_STEPS} steps or fewer in all: {', '.join(found)}."
        for (protocol, method), found in few.items()
    ]


def few_images(dataset: Dataset, shots: int) -> list[str]:
    """What to know of a training list that holds fewer images of a class than shots, if it does."""
    counts = count_by_label(dataset.train, len(dataset.class_names))
    few = sum(count < shots for count in counts)
    if not few:
        return []
    return [f"{dataset.name}: {few} of {len(counts)} classes have fewer than {shots} training images; all are used."]
