"""A grid that is killed repeatedly ends with the results of an undisturbed grid."""

import os
import random
import signal
import time

import pytest

from benchmark.records.store import collect
from tests.running.test_scale_out import ended, results, start, workers_below

pytestmark = pytest.mark.slow
GRID = ["--methods", "zero_shot", "coop", "--datasets", "synth_actions", "synth_aircraft", "--shots", "2",
        "--set", "coop.epochs=8", "--no-lockstep", "--checkpoint-minutes", "0.01"]  # fmt: skip


@pytest.mark.parametrize(
    ("seeds", "kills"), [(6, 4), pytest.param(50, 60, marks=pytest.mark.soak)], ids=["short", "whole"]
)
def test_killed_grid_ends_as_an_undisturbed_one(tmp_path, seeds, kills):
    grid = [*GRID, "--seeds", *map(str, range(seeds)), "--processes"]
    said, code = ended(start(tmp_path / "calm", grid=[*grid, "1"]))
    assert code == 0, said
    (tmp_path / "soak").mkdir()
    chance, killed, lost = random.Random(7), 0, 0
    for _ in range(kills):
        process = start(tmp_path / "soak", grid=[*grid, "2"])
        deadline = time.monotonic() + chance.uniform(4, 14)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if process.poll() is not None:
            break
        victims = workers_below(process.pid)
        how = chance.choice(["a worker", "the parent", "asked"])
        if how == "a worker" and victims:
            os.kill(chance.choice(victims), signal.SIGKILL)
        else:
            process.send_signal(signal.SIGTERM if how == "asked" else signal.SIGKILL)
        said, _ = ended(process)
        assert "Traceback" not in said
        killed += 1
        before, problems = collect(tmp_path / "soak")
        assert problems == []
        assert len(before) >= lost, "no fault loses a finished record"
        lost = len(before)
    assert killed > 0
    for processes in ("2", "1"):
        said, code = ended(start(tmp_path / "soak", grid=[*grid, processes]))
    assert code == 0, said
    assert len(collect(tmp_path / "soak")[0]) == 4 * seeds
    assert results(tmp_path / "soak") == results(tmp_path / "calm")
