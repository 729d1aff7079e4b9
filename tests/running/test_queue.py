"""Runs are distributed: each run once, the longest unit first, none by two processes at once."""

import dataclasses
import errno
import io
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.cli.arguments import read_request
from benchmark.cli.parser import parse
from benchmark.common.config import RunSpec, Training
from benchmark.errors import RecordError
from benchmark.planning.plan import make_plan
from benchmark.planning.planned_run import PlannedRun
from benchmark.records.record import RunRecord, Score
from benchmark.records.store import collect, save
from benchmark.running import queue as module
from benchmark.running.execute import processes_of
from benchmark.running.pool import run_here
from benchmark.running.progress import Progress
from benchmark.running.queue import claim_units, even_share, under_way, units_of

ROOT = Path(__file__).resolve().parents[2]


class Sample:
    """A training set, as far as the length of a unit is concerned."""

    train, class_names = [None] * 4, ("a", "b")


class Run(PlannedRun):
    def training_set(self):
        return Sample


def planned(dataset="x", seed=1, method="coop", protocol="base2new", epochs=1):
    spec = RunSpec(
        suite="s", protocol=protocol, method=method, dataset=dataset, shots=1, seed=seed, backbone="b",
        checkpoint="c", split="d", template="{}.", precision="fp32", options={},
        training=Training(epochs=epochs, batch_size=1, warmup_epochs=0) if epochs else None,
    )  # fmt: skip
    return Run(spec=spec, alike=dataclasses.replace(spec, seed=0), task=None)


def record(run, results):
    scores = {"base": Score(correct=1, total=2, classes=2)}
    save(RunRecord(spec=run.spec, status="ok", scores=scores, evaluation_seconds=0), results, predictions={},
         learned=None)  # fmt: skip


def test_units_are_runs_that_share_a_training_or_differ_in_their_seed_the_longest_first():
    protocols = ("cross_dataset", "few_shot", "domain_generalization")
    runs = [planned("x", method="zero_shot", epochs=0), planned("y", epochs=3)]
    runs += [planned("z", 1, protocol=protocol, epochs=9) for protocol in protocols]
    runs += [planned("y", 2, epochs=3), planned("w", method="copl", epochs=3)]
    units = [[(run.spec.dataset, run.spec.seed, run.spec.protocol) for run in unit] for unit in units_of(runs)]
    assert units[0] == [("z", 1, protocol) for protocol in protocols], "in the order of the plan"
    assert units[1] == [("y", 1, "base2new"), ("y", 2, "base2new")]
    assert [unit[0][0] for unit in units] == ["z", "y", "w", "x"]


def test_units_longer_than_an_even_share_are_taken_apart_by_seeds():
    """The length of a seed is 4 steps of 2 classes in each epoch: 72 for x, 8 for y; 304 together."""
    runs = [planned("x", seed, epochs=9) for seed in (1, 2, 3, 4)] + [planned("y", seed) for seed in (1, 2)]

    def seeds(longest):
        return [[(run.spec.dataset, run.spec.seed) for run in unit] for unit in units_of(runs, longest=longest)]

    x, y = [("x", seed) for seed in (1, 2, 3, 4)], [("y", 1), ("y", 2)]
    assert even_share(runs, 1) == float("inf") and even_share(runs, 2) == 152
    assert seeds(float("inf")) == [x, y]
    assert seeds(152) == [x[:2], x[2:], y]
    assert seeds(100) == [x[:2], [x[2]], [x[3]], y]
    assert seeds(even_share(runs, 4)) == [[each] for each in x] + [y]
    assert seeds(0) == [[each] for each in x + y]
    done = [dataclasses.replace(run, missing=False) for run in runs[:4]]
    assert even_share([*done, *runs[4:]], 2) == 8 and even_share(done, 2) == float("inf"), "what is left counts"


def test_views_count_for_the_unit_that_reads_most_of_them():
    """Each epoch has 8 prompts and 4 views; the 40 views of x's first method serve its second."""
    runs = [planned("x", epochs=10), planned("x", method="copl", epochs=9), planned("y", epochs=7)]
    assert units_of(runs) == [[run] for run in runs]
    assert units_of(runs, view=1) == [[runs[0]], [runs[2]], [runs[1]]], "120, 84, 72"
    assert even_share(runs, 2, view=1) == 138


def test_runs_that_reuse_a_training_stay_with_it():
    runs = [planned("x", seed, protocol=name) for name in ("cross_dataset", "few_shot") for seed in (1, 2)]
    runs += [planned("x", seed, method="zero_shot", epochs=0) for seed in (1, 2)]
    units = [[(run.spec.protocol, run.spec.seed) for run in unit] for unit in units_of(runs, longest=1)]
    assert units[:2] == [[("cross_dataset", seed), ("few_shot", seed)] for seed in (1, 2)]
    assert units[2:] == [[("base2new", 1), ("base2new", 2)]], "nothing is trained"


def test_bytes_of_runs_do_not_depend_on_which_seeds_are_in_a_unit(tmp_path):
    words = ["--datasets", "synth_actions", "--methods", "coop", "prograd", "--seeds", "1", "2", "3", "--shots", "1",
             "--set", "coop.epochs=2", "--set", "prograd.epochs=2", "--device", "cpu", "--threads", "1"]  # fmt: skip
    found = []
    for longest in (float("inf"), 0):
        out = tmp_path / str(longest)
        request = dataclasses.replace(read_request(parse([*words, "--out", str(out)])), device="cpu")
        plan = make_plan(request, fetch=False)
        assert processes_of(plan, 8) == 4, "each seed of CoOp, which encodes the views, and ProGrad"
        units = units_of(plan.runs, longest=longest)
        run_here(plan.settings, units, itertools.count().__next__, Progress(len(plan.runs), stream=io.StringIO()))
        records, problems = collect(out)
        assert (len(units), len(records), problems) == (2 if longest else 6, 6, [])
        assert {record.training["together"] for record in records} == {3 if longest else 1}
        files = sorted(path for path in out.rglob("*") if path.suffix in (".npz", ".safetensors"))
        found.append([(path.relative_to(out), path.read_bytes()) for path in files])
    assert found[0] == found[1] and len(found[0]) == 12


def test_recorded_runs_are_not_claimed_even_if_recorded_since_the_plan(tmp_path):
    units, claimed = [[planned(name)] for name in "wxyz"], []
    record(units[0][0], tmp_path)
    for runs in claim_units(units, tmp_path, itertools.count().__next__):
        claimed.append(runs[0].spec.dataset)
        record(units[2][0], tmp_path)
    assert claimed == ["x", "z"]


def test_process_that_loses_the_counter_tries_all_remaining_units(tmp_path):
    numbers = iter([1])

    def counter():
        try:
            return next(numbers)
        except StopIteration:
            raise RuntimeError("Connection reset by peer") from None

    with pytest.warns(UserWarning, match="shared counter is lost"):
        claimed = [runs[0].spec.dataset for runs in claim_units([[planned(n)] for n in "wxyz"], tmp_path, counter)]
    assert claimed == ["x", "y", "z"]


HOLD = """
import sys, time
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from test_queue import planned
from benchmark.running.queue import locks_on
with locks_on(Path(sys.argv[1]).resolve()).held([planned("x").spec]) as locked:
    print(len(locked), flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(module.fcntl is None, reason="no locks on this system")
def test_run_of_another_process_is_not_claimed_until_that_process_is_dead(tmp_path):
    code = HOLD.format(root=str(ROOT), tests=str(Path(__file__).parent))
    units = [[planned("x"), planned("x", seed=2)], [planned("y")]]
    specs = [units[0][0].spec, units[1][0].spec]
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "1\n"
        assert list(claim_units(units, tmp_path, itertools.count().__next__)) == [[units[0][1]], units[1]]
        assert under_way(specs, tmp_path) == [specs[0]]
        holder.kill()
    assert under_way(specs, tmp_path) == []
    assert list(claim_units(units, tmp_path, itertools.count().__next__)) == units


def test_file_system_without_locks_gives_a_warning(tmp_path, monkeypatch):
    def lockf(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    fake = type("fcntl", (), {"lockf": lockf, "LOCK_EX": 2, "LOCK_NB": 4, "LOCK_UN": 8})
    monkeypatch.setattr(module, "fcntl", fake)
    spec = planned().spec
    with pytest.warns(UserWarning, match="has no locks"), module.RunLocks(tmp_path).held([spec]) as locked:
        assert locked == [spec]


def test_lock_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / module.LOCK_FILE).mkdir()
    with pytest.raises(RecordError, match="Move it away, or give another --out"):
        module.locks_on(tmp_path)
