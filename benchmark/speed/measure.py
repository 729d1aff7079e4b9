"""Measure computations: time in alternation in one process, ratio, memory, and the machine's peak."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tabulate import tabulate

from benchmark.common import provenance
from benchmark.common.command import path_option

Computation = Callable[[], object]

SHORTEST = 0.2  # minimum seconds of a timing; faster computations are repeated
FEWEST_ROUNDS, SPREAD, LONG = 3, 0.1, 5.0  # rounds end early if ratios differ by at most SPREAD, or take LONG seconds


def synchronise() -> None:
    """Wait until the GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def now() -> float:
    """Return CPU seconds of this process if it computes in one thread, so that other work on the machine matters less.

    With several threads or a GPU: clock seconds.
    """
    synchronise()
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    return time.process_time() if alone else time.perf_counter()


def seconds(work: Computation, repeats: int = 1) -> float:
    """Return the mean seconds of a call."""
    started = now()
    for _ in range(repeats):
        work()
    return (now() - started) / repeats


def gemm_peak(
    device: torch.device | str, dtype: torch.dtype = torch.float32, size: int = 1024, rounds: int = 10
) -> float:
    """Return the GFLOP/s of a large square matrix product on this machine, the best of some rounds."""
    size = size if torch.device(device).type == "cpu" else 8192
    a, b = torch.randn(size, size, device=device, dtype=dtype), torch.randn(size, size, device=device, dtype=dtype)
    torch.mm(a, b)
    return 2e-9 * size**3 / min(seconds(lambda: torch.mm(a, b), 3) for _ in range(rounds))


def peak_bytes(work: Computation, device: torch.device | str) -> int:
    """Return the peak memory of a call, beyond the memory in use before it.

    On a CPU torch's profiler counts every allocation and release of a tensor, on a GPU torch's allocator does.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        synchronise()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        work()
    held = most = 0
    for event in sorted(profile.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def compare(
    plain: Computation, ours: Computation, device: torch.device, rounds: int, *, part: float = 1
) -> dict[str, float]:
    """Measure the memory of the two, which warms up, and then time them in alternation.

    Args:
        rounds: at most so many; FEWEST_ROUNDS are enough if a round is long or the ratios are within SPREAD.
        part: of our work, that which `plain` does; its seconds are scaled up.
    Returns:
        The median ratio of plain to our seconds, its range, the median seconds of both, and the memory.
    """
    plain_bytes, our_bytes = peak_bytes(plain, device), peak_bytes(ours, device)
    repeats = max(1, round(SHORTEST / max(1e-6, min(seconds(ours), seconds(ours)))))
    times: list[tuple[float, float]] = []
    ratios: list[float] = []
    while len(times) < min(rounds, FEWEST_ROUNDS) or (
        len(times) < rounds and max(ratios) > (1 + SPREAD) * min(ratios) and part * times[-1][0] < LONG
    ):
        times.append((seconds(plain) / part, seconds(ours, repeats)))
        ratios.append(times[-1][0] / times[-1][1])
    return {
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "rounds": len(ratios),
        "plain_seconds": statistics.median(slow for slow, _ in times),
        "our_seconds": statistics.median(fast for _, fast in times),
        "memory_ratio": plain_bytes / our_bytes,
        "our_megabytes": our_bytes / 1e6,
    }


def make_parser(description: str, *, threads: str = "CPU threads") -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have.

    Args:
        threads: help on --threads.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=path_option, metavar="FILE", help="also write the rows to this file")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help=f"{threads} (default: %(default)s)")
    return parser


def report(rows: list[dict[str, object]], *, title: str, device: torch.device | str, path: Path | None) -> None:
    """Print the rows as a table and, with a path, write them as JSON with the machine and the commit."""
    git = provenance.git_state()
    machine = provenance.machine() | {"threads": torch.get_num_threads(), "torch": torch.__version__}
    if torch.device(device).type == "cuda":
        machine["device"] = torch.cuda.get_device_name(device)
    print(f"{title}\n{machine}\ncommit {git}\n")
    shown = [{key: round(v, 3) if isinstance(v, float) else v for key, v in row.items()} for row in rows]
    print(tabulate(shown, headers="keys", tablefmt="github"))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine, "commit": git, "rows": rows}, indent=1) + "\n")
