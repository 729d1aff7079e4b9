"""Who does which run: each run once, the longest first, none twice at once by separate processes."""

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.common.config import RunSpec, Training
from benchmark.planning.plan import Plan
from benchmark.records.record import RunRecord, Score
from benchmark.records.store import save
from benchmark.running import queue as turns
from benchmark.running.queue import OneByOne, take_turns, under_way, units_of
from benchmark.training.reuse import training_id

ROOT = Path(__file__).resolve().parents[2]


def spec(dataset="x", seed=1, method="coop", protocol="base2new", epochs=1):
    return RunSpec(
        suite="s", protocol=protocol, method=method, dataset=dataset, shots=1, seed=seed, backbone="b",
        checkpoint="c", split="d", template="{}.", precision="fp32", options={},
        training=Training(epochs=epochs, batch_size=1, warmup_epochs=0) if epochs else None,
    )  # fmt: skip


class Sample:
    """A training set as far as the length of a unit is concerned."""

    train, class_names = [None] * 4, ("a", "b")


@pytest.fixture
def plan(monkeypatch):
    """plan(specs): a plan of these runs, all on four images of two classes."""
    monkeypatch.setattr(Plan, "training_set", lambda self, spec: Sample)
    return lambda specs: Plan(None, None, [], {}, specs=list(specs))


def done(spec, results):
    record = RunRecord(
        spec=spec, status="ok", scores={"base": Score(correct=1, total=2, classes=2)}, evaluation_seconds=0
    )
    save(record, results, predictions={"base": np.array([0, 1])}, learned=None)


def test_seeds_of_a_method_and_dataset_are_one_unit(plan):
    specs = [spec(d, s, m) for s in (1, 2) for d in ("x", "y") for m in ("coop", "copl")]
    units = units_of(plan(specs))
    assert [len(unit) for unit in units] == [2] * 4
    assert all(len({(one.dataset, one.method) for one in unit}) == 1 for unit in units)


def test_runs_that_share_a_training_are_one_unit_in_the_order_of_the_plan(plan):
    protocols = ("cross_dataset", "few_shot", "domain_generalization")
    units = units_of(plan(spec(d, 1, "copl", protocol) for protocol in protocols for d in ("x", "y")))
    assert [tuple(run.protocol for run in unit) for unit in units] == [protocols, protocols]
    assert all(len({training_id(run) for run in unit}) == 1 for unit in units)


def test_longest_units_come_first_and_what_learns_nothing_last(plan):
    specs = [spec("x", method="zero_shot", epochs=0), spec("y", epochs=3), spec("z", epochs=9), spec("w", epochs=3)]
    assert [unit[0].dataset for unit in units_of(plan(specs))] == ["z", "y", "w", "x"]


def test_what_is_recorded_is_not_given_out(tmp_path):
    one, two = spec("x"), spec("y")
    done(one, tmp_path)
    assert list(take_turns([[one], [two]], tmp_path, OneByOne())) == [[two]]


def test_what_another_wrote_since_the_plan_is_not_given_out(tmp_path):
    units = [[spec("x")], [spec("y")], [spec("z")]]
    given = []
    for mine in take_turns(units, tmp_path, OneByOne()):
        given.append(mine[0].dataset)
        done(spec("y"), tmp_path)
    assert given == ["x", "z"]


def test_counter_that_is_lost_leaves_nobody_without_the_rest(tmp_path):
    numbers = iter([1])

    def counter():
        try:
            return next(numbers)
        except StopIteration:
            raise RuntimeError("Connection reset by peer") from None

    units = [[spec(name)] for name in "wxyz"]
    with pytest.warns(UserWarning, match="shared counter is lost"):
        given = [mine[0].dataset for mine in take_turns(units, tmp_path, counter)]
    assert given == ["x", "y", "z"], "its own, then all that come after it"


HOLD = """
import sys, time
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from test_queue import spec
from benchmark.running.queue import locks_on
with locks_on(Path(sys.argv[1]).resolve()).held([spec("x")]) as mine:
    print(len(mine), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has the run on dataset x under way."""
    code = HOLD.format(root=str(ROOT), tests=str(Path(__file__).parent))
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "1\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.slow
@pytest.mark.skipif(turns.fcntl is None, reason="no locks on this system")
def test_run_under_way_elsewhere_is_not_given_out_until_its_process_is_dead(holder, tmp_path):
    units = [[spec("x"), spec("x", seed=2)], [spec("y")]]
    assert list(take_turns(units, tmp_path, OneByOne())) == [[spec("x", seed=2)], [spec("y")]]
    assert under_way([spec("x"), spec("y")], tmp_path) == [spec("x")]
    holder.kill()
    holder.wait()
    assert under_way([spec("x"), spec("y")], tmp_path) == []
    assert list(take_turns(units, tmp_path, OneByOne())) == [units[0], units[1]]


def test_file_system_without_locks_is_told_of_and_worked_on(tmp_path, monkeypatch):
    def lockf(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(turns, "fcntl", type("fcntl", (), {"lockf": lockf, "LOCK_EX": 2, "LOCK_NB": 4, "LOCK_UN": 8}))
    with pytest.warns(UserWarning, match="has no locks"), turns.RunLocks(tmp_path).held([spec("x")]) as mine:
        assert mine == [spec("x")]
