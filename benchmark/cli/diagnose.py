"""Run the doctor and print what it finds."""

import argparse
import json

from tqdm import tqdm

from benchmark.cli.arguments import with_device
from benchmark.cli.doctor.checks import examine
from benchmark.cli.doctor.datasets import SurveyOptions
from benchmark.cli.doctor.report import to_text
from benchmark.planning.request import Request
from benchmark.running.device import cores, default_processes

OWN_OPTIONS = ("--doctor", "--deep", "--json")


def diagnose(request: Request, options: argparse.Namespace) -> int:
    """Print what the doctor finds; returns 0 if the run would start, 1 if not."""
    request = with_device(request, options)
    bar = tqdm(unit=" files", leave=False, disable=None)  # None: shown on a terminal only
    how = SurveyOptions(deep=options.deep, processes=cores(), bar=bar)
    words = [word for word in options.words if word not in OWN_OPTIONS]
    with bar:
        processes = options.processes or default_processes(request.device)
        found = examine(request, words=words, processes=processes, how=how)
    print(json.dumps(found, indent=2) if options.json else to_text(found))
    return 0 if found["starts"] else 1
