"""Plan, run or calibrate a request."""

import argparse
import time

from benchmark.cli.arguments import with_device
from benchmark.cli.summary import describe, describe_cost
from benchmark.common.command import made_to_last
from benchmark.planning.plan import Plan, make_plan
from benchmark.planning.request import Request
from benchmark.running.launcher import join


def run(request: Request, options: argparse.Namespace, *, began: float) -> int:
    """Do what run_all.py does with a checked request; returns the exit code.

    Args:
        began: time.perf_counter() at the start of the command.
    """
    only_plan = options.plan or options.calibrate
    world = None if only_plan else join()
    request = with_device(request, options, local_rank=world.local_rank if world else 0)
    with made_to_last():
        plan = make_plan(request, fetch=options.calibrate or not options.plan)
    if world is None or world.rank == 0:
        print(describe(plan), flush=True)
    if options.calibrate:
        print(_forecast(plan, options.processes, before=time.perf_counter() - began))
        return 0
    if options.plan:
        print(describe_cost(plan))
        return 0
    from benchmark.cli.grid import run_grid  # here: a plan needs neither accelerate nor transformers

    return run_grid(plan, world, processes=options.processes, std=options.std)


def _forecast(plan: Plan, processes: int | None, *, before: float) -> str:
    from benchmark.cli.summary import describe_forecast  # here, as for run_grid
    from benchmark.costs.calibrate import calibrate
    from benchmark.running.execute import processes_of

    return describe_forecast(
        calibrate(plan.settings, plan.missing, processes=processes_of(plan, processes), before=before)
    )
