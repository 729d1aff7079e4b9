"""Run what parsed options ask for."""

import argparse
import time

from benchmark.common import shutdown
from benchmark.common.command import answer
from benchmark.errors import ConfigError


def run_command(options: argparse.Namespace) -> int:
    """Returns the exit code: 0, 1 if a run failed, 2 if nothing started, 130 after an interrupt."""
    began = time.perf_counter()
    kept = "finished runs and checkpoints are kept" if options.download is None else "downloaded files are kept"

    def work() -> int:
        with shutdown.on_sigterm():
            return _run(options, began=began)

    return answer(work, kept=kept)


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
    from benchmark.cli.arguments import check_out, read_request
    from benchmark.planning.request import check_names, check_options

    request = read_request(options)
    check_names(request)
    if options.doctor:
        from benchmark.cli.diagnose import diagnose

        return diagnose(request, options)
    check_options(request)
    check_out(request.out)
    from benchmark.cli import commands

    return commands.run(request, options, began=began)


def _check_tool_options(options: argparse.Namespace) -> None:
    """Refuse options of a tool that was not named."""
    if options.archives or options.imagenet or options.classnames:
        raise ConfigError("--from, --imagenet and --classnames belong to `python -m benchmark download NAME`.")
    given = " and ".join(f"--{name}" for name in ("deep", "json") if getattr(options, name))
    if given and not options.doctor:
        raise ConfigError(f"{given}: belongs to `python -m benchmark doctor`; use it, or leave {given} out.")
