"""The command line from end to end, on the embedded suite: run, resume, fail, refuse."""

from pathlib import Path

import pytest
import torch

import run_all
from benchmark.records.store import load

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("sketched")]  # end to end

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--datasets", "synth_actions", "--seeds", "1", "--shots", "2"]
FAST = ["--set", "coop.epochs=2", "--set", "copl.epochs=1"]


@pytest.fixture
def call(tmp_path):
    """call("--plan", ...): the exit code of the main command on a small grid, records below tmp_path."""

    def run(*arguments, small=True):
        return run_all.main(["--protocol", "base2new", "--out", str(tmp_path), *(SMALL if small else []), *arguments])

    return run


def records_in(folder):
    return sorted(p for p in folder.rglob("*.json") if "failed" not in p.parts)


def test_run_leaves_explained_records_and_both_tables(call, tmp_path, monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert call("--methods", "zero_shot", "coop", "copl", *FAST) == 0
    assert len(records_in(tmp_path)) == 3
    path = next(p for p in records_in(tmp_path) if "/copl/" in p.as_posix())
    record = load(path)
    assert record.spec.training.epochs == 1
    assert record.overrides == {"epochs": 1}
    assert record.scores.keys() == {"base", "new"}
    assert {score.total for score in record.scores.values()} == {200}
    assert record.training["steps"] == 8  # four base classes, two shots, one image a step
    assert record.warnings, "eight steps are worth a warning"
    assert torch.__version__.startswith(record.provenance["versions"]["torch"])  # less the build: "+cpu"
    assert record.provenance["git"]["commit"]
    assert record.provenance["machine"]["instruction_variables"]["MKL_CBWR"] == "COMPATIBLE"
    assert path.with_suffix(".npz").is_file()
    assert path.with_suffix(".safetensors").is_file()
    table = (tmp_path / "synthetic" / "base2new.md").read_text()
    assert "CoPL" in table
    assert "not the paper's numbers" in table
    assert r"\toprule" in (tmp_path / "synthetic" / "base2new.tex").read_text()


def test_second_call_runs_only_what_is_missing(call, tmp_path, capsys):
    methods = ["--methods", "zero_shot", "coop", *FAST]
    assert call(*methods) == 0
    first = {path: path.stat().st_mtime_ns for path in records_in(tmp_path)}
    victim = next(path for path in first if "/coop/" in path.as_posix())
    victim.write_text(victim.read_text()[:200])  # as a full disk would have left it
    capsys.readouterr()
    assert call(*methods) == 0
    assert "[1/1] coop" in capsys.readouterr().err
    second = {path: path.stat().st_mtime_ns for path in records_in(tmp_path)}
    assert second.keys() == first.keys()
    assert [path for path in first if first[path] != second[path]] == [victim]


def test_plan_computes_nothing_and_writes_no_record(call, tmp_path, capsys):
    assert call("--plan") == 0
    out = capsys.readouterr().out
    assert "6       0         6" in out
    assert not list(tmp_path.rglob("*.json"))


def test_request_of_which_nothing_is_left_is_refused(call, capsys):
    assert call("--methods", "tip_adapter") == 2
    assert "error: this request: tip_adapter, as configured, learns for" in capsys.readouterr().err


@pytest.mark.parametrize("words, dtype", [([], torch.float64), (["--precision", "bf16"], torch.float32)])
def test_precision_of_suite_or_option_stands_in_the_record(call, tmp_path, words, dtype):
    assert call("--methods", "coop", *FAST, *words) == 0
    (path,) = records_in(tmp_path)
    assert load(path).spec.precision == (words or ["fp64"])[-1]
    from safetensors.torch import load_file

    assert {t.dtype for t in load_file(path.with_suffix(".safetensors")).values()} == {dtype}
