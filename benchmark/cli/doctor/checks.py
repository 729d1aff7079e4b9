"""Find whether a run would start on this machine and what prevents it, without writing or downloading anything."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmark.cli.doctor.datasets import Survey, SurveyOptions, survey_custom, survey_generated, survey_known
from benchmark.cli.doctor.environment import (
    Cache,
    Device,
    Disk,
    Memory,
    Package,
    hub_cache,
    look_at_caches,
    look_at_device,
    look_at_disk,
    look_at_memory,
    look_at_versions,
)
from benchmark.clip.checkpoint import weight_files
from benchmark.clip.hub import bytes_on_hub
from benchmark.common.provenance import machine
from benchmark.data.catalog import load_catalog
from benchmark.data.download.install import is_absent
from benchmark.data.synthetic.names import generated_names, suite_version
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.features.cache import cache_folder
from benchmark.planning.inputs import EMBEDDED, backbone_folder
from benchmark.planning.plan import Plan, make_plan
from benchmark.planning.request import Request, check_names, choose_trainings, names_of

HUB_SECONDS = 5.0  # for the hub to answer how large a backbone is
RUN, TOOL = "python run_all.py", "python -m benchmark"
DOWNLOAD, DOCTOR = f"{TOOL} download", f"{TOOL} doctor"
BY_HAND = "imagenet"  # each user agrees to its terms first


@dataclass(frozen=True, kw_only=True)
class DatasetCheck:
    """A dataset, whether the run needs it, and the command that repairs it."""

    survey: Survey
    needed: bool
    next_command: str | None


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The folder of a backbone and its size: of the weights there, or of all files to download."""

    name: str
    state: Literal["embedded", "local", "cached", "to be fetched", "refused"]
    folder: str | None = None
    size_bytes: int | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Everything that the doctor found.

    Attributes:
        run_command: the run that was checked.
        runs, done: of its plan; None without a plan.
        problems: why the run would not start; empty if it would.
        notes: other things to know.
        next_commands: what repairs the datasets that the run needs.
        smaller_command: the same run on the available datasets, if some are missing.
    """

    run_command: str
    deep: bool
    datasets: tuple[DatasetCheck, ...]
    backbone: Backbone
    device: Device
    memory: Memory
    disks: tuple[Disk, ...]
    caches: tuple[Cache, ...]
    versions: tuple[Package, ...]
    machine: Mapping[str, object]
    runs: int | None
    done: int | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    next_commands: tuple[str, ...]
    smaller_command: str | None

    @property
    def starts(self) -> bool:
        """Whether the run would start."""
        return not self.problems


def examine(request: Request, *, words: Sequence[str], processes: int, how: SurveyOptions) -> Diagnosis:
    """Check all that a request needs; with a data folder and no named datasets, the whole catalog too.

    Args:
        words: the arguments of the run, as typed.
        processes: the number of processes of the run.
    Raises:
        ConfigError: the request itself is wrong.
    """
    check_names(request)
    trainings, _ = choose_trainings(request)
    needed = names_of(trainings)
    datasets = tuple(_check(name, request, needed, how) for name in _to_look_at(request, needed))
    backbone = look_at_backbone(request.backbone)
    device = look_at_device(request.device, precision=request.precision, processes=processes, threads=request.threads)
    disks, caches = _disks(request), look_at_caches()
    problems = _problems(datasets, backbone, device, disks, caches)
    plan, problem = _plan(request, datasets, backbone)
    problems += [problem] if problem else []
    return Diagnosis(
        run_command=command(words),
        deep=how.deep,
        datasets=datasets,
        backbone=backbone,
        device=device,
        memory=look_at_memory(),
        disks=disks,
        caches=caches,
        versions=look_at_versions(),
        machine=machine(),
        runs=len(plan.specs) if plan else None,
        done=len(plan.specs) - len(plan.missing) if plan else None,
        problems=tuple(problems),
        notes=_notes(request, plan),
        next_commands=_next_commands(request, datasets),
        smaller_command=_smaller(request, datasets, words),
    )


def _problems(
    datasets: Sequence[DatasetCheck],
    backbone: Backbone,
    device: Device,
    disks: Sequence[Disk],
    caches: Sequence[Cache],
) -> list[str]:
    """What prevents the run, apart from the plan."""
    needed = [check.survey for check in datasets if check.needed]
    problems = [f"{survey.name} is {survey.state}" for survey in needed if survey.dataset is None]
    problems += [each.problem for each in (backbone, device, *caches) if each.problem]
    return problems + _disk_problems(disks, backbone, generated=any(s.state == "to be drawn" for s in needed))


def _plan(request: Request, datasets: Sequence[DatasetCheck], backbone: Backbone) -> tuple[Plan | None, str | None]:
    """The plan of the run, or why there is none; neither if datasets or the backbone are missing."""
    needed = {check.survey.name: check.survey.dataset for check in datasets if check.needed}
    if not all(needed.values()) or backbone.problem:
        return None, None
    try:
        return make_plan(request, fetch=False, datasets=needed), None
    except BenchmarkError as error:
        return None, str(error)


def command(words: Sequence[str], program: str = RUN) -> str:
    """A command line."""
    return " ".join([program, *map(shlex.quote, words)])


def _to_look_at(request: Request, needed: Sequence[str]) -> list[str]:
    whole = (
        [name for name in load_catalog() if name not in generated_names()]
        if request.data and not request.datasets
        else []
    )
    return list(dict.fromkeys([*whole, *needed, *request.own]))


def _check(name: str, request: Request, needed: Sequence[str], how: SurveyOptions) -> DatasetCheck:
    if name in request.own:
        survey = survey_custom(name, request.own[name], how)
    elif name in generated_names():
        survey = survey_generated(name, cache_folder() / f"synthetic-{suite_version()}", how)
    else:
        survey = survey_known(name, request.data, how)
    return DatasetCheck(survey=survey, needed=name in needed, next_command=_next_command(survey, request))


def _next_command(survey: Survey, request: Request) -> str | None:
    """The command that repairs a dataset, or that checks it again if only its owner can repair it."""
    if survey.dataset is not None:
        return None
    if survey.name in generated_names():
        return f"rm -r {shlex.quote(survey.folder)}"  # the next run draws it anew
    if survey.name in request.own:
        return command(["--dataset", f"{survey.name}={request.own[survey.name]}"], DOCTOR)
    data = ["--data", str(request.data)]
    if survey.name == BY_HAND and survey.counts is not None:
        return command(["--datasets", survey.name, *data], DOCTOR)
    fetch = command([survey.name, *data], DOWNLOAD)
    if survey.name == BY_HAND or is_absent(survey.name, request.data):
        return fetch
    return f"mv {shlex.quote(survey.folder)} {shlex.quote(_free_name(survey.folder))} && {fetch}"


def _free_name(folder: str) -> str:
    """A free name next to a folder, to which a damaged one is moved."""
    names = (f"{folder}.damaged{number}" for number in ("", *range(2, 1000)))
    return next(name for name in names if not os.path.lexists(name))


def _next_commands(request: Request, datasets: Sequence[DatasetCheck]) -> tuple[str, ...]:
    """The commands that repair what the run needs, in order; one command for all plain downloads."""
    wanting = [check for check in datasets if check.needed and check.next_command]
    fetched = [c.survey.name for c in wanting if c.next_command.startswith(DOWNLOAD)]
    others = [check.next_command for check in wanting if check.survey.name not in fetched]
    return (*([command([*fetched, "--data", str(request.data)], DOWNLOAD)] if fetched else []), *others)


def look_at_backbone(name: str) -> Backbone:
    """Find a backbone or the size of its download; it is refused for the same reasons as in a run."""
    try:
        folder = backbone_folder(name, fetch=False)
        if folder is not None:
            size = sum((folder / file).stat().st_size for file in weight_files(folder, name))
            local = "embedded" if name == EMBEDDED else "local" if Path(name).expanduser().is_dir() else "cached"
            return Backbone(name=name, state=local, folder=str(folder), size_bytes=size)
    except ConfigError as error:
        return Backbone(name=name, state="refused", problem=str(error))
    try:
        return Backbone(name=name, state="to be fetched", size_bytes=bytes_on_hub(name, timeout=HUB_SECONDS))
    except ConfigError as error:
        return Backbone(name=name, state="to be fetched", problem=str(error))


def _disks(request: Request) -> tuple[Disk, ...]:
    folders = {"results": request.out, "cache": cache_folder(), "hub cache": hub_cache()}
    if request.data:
        folders["data"] = request.data
    return tuple(look_at_disk(what, folder) for what, folder in folders.items())


def _disk_problems(disks: Sequence[Disk], backbone: Backbone, *, generated: bool) -> list[str]:
    """Folders that a run must write and cannot."""
    by_name = {disk.what: disk for disk in disks}
    must = {"results"}
    must |= {"cache"} if generated else set()
    must |= {"hub cache"} if backbone.state == "to be fetched" else set()
    remedy = {"results": "give --out another folder", "cache": "set COPL_BENCHMARK_CACHE", "hub cache": "set HF_HOME"}
    problems = [
        f"{by_name[what].folder} ({what}) cannot be written; {remedy[what]}"
        for what in sorted(must)
        if not by_name[what].writable or not by_name[what].free_bytes
    ]
    if backbone.state == "to be fetched" and (backbone.size_bytes or 0) > by_name["hub cache"].free_bytes:
        problems.append(f"{by_name['hub cache'].folder} has no room for the backbone; free space or set HF_HOME")
    return problems


def _notes(request: Request, plan: Plan | None) -> tuple[str, ...]:
    if plan is None:
        return tuple(request.left_out.values())
    return tuple(
        dict.fromkeys([*(f"left out: {text}" for text in plan.broken.values()), *plan.refused, *plan.warnings])
    )


def _smaller(request: Request, datasets: Sequence[DatasetCheck], words: Sequence[str]) -> str | None:
    """The run on the undamaged datasets, if its protocol has something to do with them."""
    sound = [check.survey.name for check in datasets if check.needed and check.survey.dataset]
    if request.datasets or not sound or all(check.survey.dataset for check in datasets if check.needed):
        return None
    try:
        trainings, _ = choose_trainings(replace(request, datasets=tuple(sound)))
    except ConfigError:
        return None
    return command([*words, "--datasets", *sound]) if {*names_of(trainings)} <= {*sound} else None
