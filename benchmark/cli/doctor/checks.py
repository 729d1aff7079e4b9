"""Find whether a run would start on this machine and what prevents it, without writing or downloading anything."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace

from benchmark.cli.doctor.datasets import Survey, SurveyOptions, survey_custom, survey_generated, survey_known
from benchmark.cli.doctor.environment import (
    Row,
    hub_cache,
    look_at_caches,
    look_at_device,
    look_at_disk,
    look_at_memory,
    look_at_versions,
)
from benchmark.clip.checkpoint import weight_files
from benchmark.clip.hub import bytes_on_hub
from benchmark.common.files import cache_folder, expand
from benchmark.common.provenance import machine
from benchmark.data.catalog import load_catalog
from benchmark.data.download.install import IMAGENET, is_absent
from benchmark.data.synthetic.names import generated_names, suite_version
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.planning.inputs import EMBEDDED, backbone_folder
from benchmark.planning.plan import Plan, make_plan
from benchmark.planning.request import Request, check_names, choose_trainings, names_of

HUB_SECONDS = 5.0  # for the hub to answer how large a backbone is
RUN, TOOL = "python run_all.py", "python -m benchmark"
DOWNLOAD = f"{TOOL} download"
TO_FETCH = "to be fetched"  # state of a backbone
JSON_SCHEMA = 2  # increased whenever a key or value of the result changes its name or meaning


def examine(request: Request, *, words: Sequence[str], processes: int, how: SurveyOptions) -> dict[str, object]:
    """Check all that a request needs; with a data folder and no named datasets, the whole catalog too.

    Args:
        words: the arguments of the run, as typed.
        processes: the number of processes of the run.
    Returns:
        The JSON object whose keys docs/data.md explains; unknown values are None.
    Raises:
        ConfigError: the request itself is wrong.
    """
    check_names(request)
    trainings, _ = choose_trainings(request)
    needed = names_of(trainings)
    surveys = [_survey(name, request, needed, how) for name in _to_look_at(request, needed)]
    backbone = look_at_backbone(request.backbone)
    device = look_at_device(request.device, precision=request.precision, processes=processes, threads=request.threads)
    disks, caches = _disks(request), look_at_caches()
    wanted = [survey for survey in surveys if survey.needed]
    by_hand = ": correct what its note names, then run the same command again"
    problems = [f"{s.name} is {s.state}{'' if s.next_command else by_hand}" for s in wanted if s.dataset is None]
    problems += [row["problem"] for row in (backbone, device, *caches) if row["problem"]]
    problems += _disk_problems(disks, backbone, generated=any(s.state == "to be generated" for s in wanted))
    plan, problem = _plan(request, wanted, backbone)
    problems += [problem] if problem else []
    return {
        "schema": JSON_SCHEMA,
        "starts": not problems,
        "run_command": command(words),
        "deep": how.deep,
        "datasets": [survey.to_json() for survey in surveys],
        "backbone": backbone,
        "device": device,
        "memory": look_at_memory(),
        "disks": disks,
        "caches": caches,
        "versions": look_at_versions(),
        "machine": machine(),
        "runs": len(plan.specs) if plan else None,
        "done": len(plan.specs) - len(plan.missing) if plan else None,
        "problems": problems,
        "notes": _notes(request, plan),
        "next_commands": _next_commands(request, wanted),
        "smaller_command": _smaller(request, wanted, words),
    }


def _plan(request: Request, wanted: Sequence[Survey], backbone: Row) -> tuple[Plan | None, str | None]:
    """The plan of the run, or why there is none; neither if datasets or the backbone are missing."""
    needed = {survey.name: survey.dataset for survey in wanted}
    if not all(needed.values()) or backbone["problem"]:
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
    return list(dict.fromkeys([*whole, *needed, *request.custom]))


def _survey(name: str, request: Request, needed: Sequence[str], how: SurveyOptions) -> Survey:
    if name in request.custom:
        survey = survey_custom(name, request.custom[name], how)
    elif name in generated_names():
        survey = survey_generated(name, cache_folder() / f"synthetic-{suite_version()}", how)
    else:
        survey = survey_known(name, request.data, how)
    return replace(survey, needed=name in needed, next_command=_next_command(survey, request))


def _next_command(survey: Survey, request: Request) -> str | None:
    """The command that repairs a dataset; none if only its owner can."""
    by_hand = survey.name in request.custom or (survey.name == IMAGENET and survey.counts is not None)
    if survey.dataset is not None or by_hand:
        return None
    if survey.name in generated_names():
        return f"rm -r {shlex.quote(survey.folder)}"  # the next run generates it anew
    data = ["--data", str(request.data)]
    fetch = command([survey.name, *data], DOWNLOAD)
    if survey.name == IMAGENET or is_absent(survey.name, request.data):
        return fetch
    return f"mv {shlex.quote(survey.folder)} {shlex.quote(_free_name(survey.folder))} && {fetch}"


def _free_name(folder: str) -> str:
    """A free name next to a folder, to which a damaged one is moved."""
    names = (f"{folder}.damaged{number}" for number in ("", *range(2, 1000)))
    return next(name for name in names if not os.path.lexists(name))


def _next_commands(request: Request, wanted: Sequence[Survey]) -> list[str]:
    """The commands that repair what the run needs, in order; one command for all plain downloads."""
    commands = {survey.name: survey.next_command for survey in wanted if survey.next_command}
    fetched = [name for name, line in commands.items() if line.startswith(DOWNLOAD)]
    others = [line for name, line in commands.items() if name not in fetched]
    return ([command([*fetched, "--data", str(request.data)], DOWNLOAD)] if fetched else []) + others


def look_at_backbone(name: str) -> Row:
    """Find a backbone or the size of its download; it is refused for the same reasons as in a run."""
    row: Row = {"name": name, "state": "refused", "folder": None, "size_bytes": None, "problem": None}
    try:
        folder = backbone_folder(name, fetch=False)
        if folder is not None:
            size = sum((folder / file).stat().st_size for file in weight_files(folder, name))
            state = "embedded" if name == EMBEDDED else "local" if expand(name).is_dir() else "cached"
            return row | {"state": state, "folder": str(folder), "size_bytes": size}
        row["state"] = TO_FETCH
        row["size_bytes"] = bytes_on_hub(name, timeout=HUB_SECONDS)
    except ConfigError as error:
        row["problem"] = str(error)
    return row


def _disks(request: Request) -> list[Row]:
    folders = {"results": request.out, "cache": cache_folder(), "hub cache": hub_cache()}
    if request.data:
        folders["data"] = request.data
    return [look_at_disk(what, folder) for what, folder in folders.items()]


def _disk_problems(disks: Sequence[Row], backbone: Row, *, generated: bool) -> list[str]:
    """Folders that a run must write and cannot."""
    by_name = {disk["what"]: disk for disk in disks}
    remedy = {"results": "give --out another folder"}
    remedy |= {"cache": "set COPL_BENCHMARK_CACHE"} if generated else {}
    remedy |= {"hub cache": "set HF_HOME"} if backbone["state"] == TO_FETCH else {}
    problems = [
        f"{by_name[what]['folder']} ({what}) cannot be written; {remedy[what]}"
        for what in sorted(remedy)
        if not by_name[what]["writable"] or not by_name[what]["free_bytes"]
    ]
    hub = by_name["hub cache"]
    if backbone["state"] == TO_FETCH and (backbone["size_bytes"] or 0) > hub["free_bytes"]:
        problems.append(f"{hub['folder']} has no room for the backbone; free space or set HF_HOME")
    return problems


def _notes(request: Request, plan: Plan | None) -> list[str]:
    if plan is None:
        return list(request.left_out.values())
    left_out = [f"left out: {text}" for text in plan.broken.values()]
    return list(dict.fromkeys([*left_out, *plan.refused, *plan.warnings]))


def _smaller(request: Request, wanted: Sequence[Survey], words: Sequence[str]) -> str | None:
    """The run on the undamaged datasets, if its protocol has something to do with them."""
    sound = [survey.name for survey in wanted if survey.dataset]
    if request.datasets or not sound or len(sound) == len(wanted):
        return None
    try:
        trainings, _ = choose_trainings(replace(request, datasets=tuple(sound)))
    except ConfigError:
        return None
    return command([*words, "--datasets", *sound]) if {*names_of(trainings)} <= {*sound} else None
