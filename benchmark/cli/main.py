"""Run what parsed options ask for, and turn errors into messages and exit codes."""

import argparse
import os
import sys
import time

from benchmark.common import shutdown
from benchmark.common.files import REPOSITORY
from benchmark.errors import BenchmarkError, ConfigError, StoreLostError

CLOSED_OUTPUT = 128 + 13  # as a shell reports a process that SIGPIPE ended
OURS = ("", "benchmark", "methods", "tables")  # packages whose absence is a bug, not a missing installation


def run_command(options: argparse.Namespace) -> int:
    """Returns the exit code: 0, 1 if a run failed, 2 if nothing started, 130 after an interrupt."""
    kept = "finished runs and checkpoints are kept" if options.download is None else "downloaded files are kept"
    try:
        with shutdown.on_sigterm():
            return _run(options, began=time.perf_counter())
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, StoreLostError) else 2
    except BrokenPipeError:  # the reader, such as `head`, has closed the output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
        return CLOSED_OUTPUT
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OURS:
            raise
        requirements = REPOSITORY / "requirements.txt"
        print(f"error: {error}. Install what is needed: pip install -r {requirements}", file=sys.stderr)
        return 2
    except shutdown.Terminated:
        print(f"ended on request; {kept}, the same command goes on.", file=sys.stderr)
        return shutdown.EXIT_CODE
    except KeyboardInterrupt:
        print(f"\ninterrupted; {kept}, the same command goes on from there.", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace, *, began: float) -> int:
    """Each tool imports what it needs: torch, transformers and pandas take seconds, a wrong name is answered before."""
    if options.new_method:
        from benchmark.plugins.scaffold import write_new_method

        print(write_new_method(options.new_method))
        return 0
    if options.download is not None:
        from benchmark.cli import download

        return download.run(options)
    _check_tool_options(options)
    if options.export:
        from benchmark.cli.export import export

        print("Written: " + ", ".join(map(str, export(options.export, options.out))))
        return 0
    from benchmark.cli.arguments import read_request
    from benchmark.planning.request import check_names, check_options

    request = read_request(options)
    check_names(request)
    if options.doctor:
        from benchmark.cli.diagnose import diagnose

        return diagnose(request, options)
    check_options(request)
    from benchmark.cli import commands

    return commands.run(request, options, began=began)


def _check_tool_options(options: argparse.Namespace) -> None:
    """Refuse options of a tool that was not named."""
    if options.archives or options.imagenet or options.classnames:
        raise ConfigError("--from, --imagenet and --classnames belong to `python -m benchmark download NAME`.")
    given = " and ".join(f"--{name}" for name in ("deep", "json") if getattr(options, name))
    if given and not options.doctor:
        raise ConfigError(f"{given}: belongs to `python -m benchmark doctor`; use it, or leave {given} out.")
