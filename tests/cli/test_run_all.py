"""The command line from end to end, on the embedded suite: run, resume, fail, refuse."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import benchmark.planning.planned_run
import run_all
from benchmark.common.config import RunSpec
from benchmark.errors import ConfigError
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


def test_run_leaves_explained_records_and_both_tables(call, tmp_path):
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


def test_same_command_gives_the_same_bytes(call, tmp_path):
    def outcome():
        assert call("--methods", "cocoop", "copl", "--set", "cocoop.epochs=1", "--set", "copl.epochs=1") == 0
        return {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*.safetensors")} | {
            p.name: load(p).scores for p in records_in(tmp_path)
        }

    first = outcome()
    for path in records_in(tmp_path):
        path.unlink()
    assert outcome() == first


def test_changed_setting_makes_a_new_record(call, tmp_path):
    assert call("--methods", "coop", "--set", "coop.epochs=1") == 0
    assert call("--methods", "coop", "--set", "coop.epochs=2") == 0
    assert len(records_in(tmp_path)) == 2


def test_failed_run_is_kept_apart_and_the_others_go_on(call, tmp_path, monkeypatch, capsys):
    real = benchmark.planning.planned_run.create_method

    def broken(name, **options):
        if name == "coop":
            raise RuntimeError("the method fell over")
        return real(name, **options)

    monkeypatch.setattr(benchmark.planning.planned_run, "create_method", broken)
    arguments = ["--methods", "coop", "zero_shot", *FAST]
    assert call(*arguments) == 1
    assert "1 of 2 runs failed" in capsys.readouterr().err
    (failure,) = (tmp_path / "failed").rglob("*.json")
    assert "the method fell over" in json.loads(failure.read_text())["error"]
    assert [p.parent.parent.name for p in records_in(tmp_path)] == ["zero_shot"]
    monkeypatch.setattr(benchmark.planning.planned_run, "create_method", real)
    assert call(*arguments) == 0
    assert not list((tmp_path / "failed").rglob("*.json"))


def test_diverged_training_is_a_failure_that_says_what_to_do(call, tmp_path):
    assert call("--methods", "coop", "--set", "coop.learning_rate=1e30", "--set", "coop.epochs=4") == 1
    (failure,) = (tmp_path / "failed").rglob("*.json")
    assert "Lower learning_rate" in json.loads(failure.read_text())["error"]


def test_logits_that_are_not_finite_are_a_failure_and_no_score(call, tmp_path, capsys):
    """The loss is seen before a step, so what the last step broke shows in the logits alone."""
    assert call("--methods", "coop", "--set", "coop.learning_rate=1e30", "--set", "coop.epochs=2") == 1
    (failure,) = (tmp_path / "failed").rglob("*.json")
    assert "not finite" in json.loads(failure.read_text())["error"]
    assert not records_in(tmp_path)
    assert call("--methods", "coop", *FAST) == 0
    report = (tmp_path / "synthetic" / "report.md").read_text()
    assert "Runs that failed" not in report, "it failed with other settings"
    assert "a run with other settings failed" in report


def test_spec_that_a_setting_once_led_to_stands_in_the_table_of_one_without(call, tmp_path):
    arguments = ["--methods", "zero_shot", "kgcoop"]
    assert call(*arguments, "--set", "kgcoop.epochs=50") == 0  # the suite's own number
    assert call(*arguments, "--seeds", "1", "2") == 0
    assert "seeds 1, 2" in (tmp_path / "synthetic" / "base2new.md").read_text()


def test_results_folder_that_cannot_be_written_is_refused_before_a_run(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    arguments = ["--methods", "zero_shot", *SMALL, "--out", str(tmp_path / "file")]
    assert run_all.main(arguments) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_fewer_images_than_shots_stand_in_the_record(call, tmp_path):
    assert call("--methods", "kgcoop", "--shots", "20", "--set", "kgcoop.epochs=1") == 0
    (path,) = records_in(tmp_path)
    assert any("fewer than 20 training images; all are used" in text for text in load(path).warnings)


def test_plan_computes_nothing_and_writes_no_record(call, tmp_path, capsys):
    assert call("--plan") == 0
    out = capsys.readouterr().out
    assert "6       0         6" in out
    assert not list(tmp_path.rglob("*.json"))


def test_method_that_cannot_transfer_is_refused_and_the_rest_runs(call, capsys):
    assert call("--plan", "--methods", "coop", "zero_shot", "--set", "coop.class_specific=true") == 0
    out = capsys.readouterr().out
    assert "refused: coop, as configured, learns for the trained classes alone" in out
    assert "total           1" in out


def test_request_of_which_nothing_is_left_is_refused(call, capsys):
    assert call("--methods", "tip_adapter") == 2
    assert "error: this request: tip_adapter, as configured, learns for" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--methods", "cocop"], "'cocop' is not a method. Did you mean 'cocoop'?"),
        (["--datasets", "synth_texture"], "'synth_texture' is not a dataset. Did you mean 'synth_textures'?"),
        (["--datasets", "dtd"], "give --data FOLDER"),
        (["--seeds", "-1"], "a seed is 0 or more"),
        (["--seeds", "1", "1"], "names one twice"),
        (["--shots", "0"], "at least 1 is needed"),
        (["--suite", "synthetc"], "suite 'synthetc' is unknown. Did you mean 'synthetic'?"),
        (["--backbone", "./nowhere"], "there is no such folder"),
        (["--data", "/nowhere/at/all"], "there is no such folder"),
        (["--device", "abacus"], "not a device"),
        (["--set", "coop.epoch=2"], "'epoch' is not an option. Did you mean 'epochs'?"),
        (["--set", "coop.epochs=0"], "at least 1"),
        (["--set", "coop.epochs=two"], "'epochs' must be an integer"),
        (["--set", "cop.epochs=2"], "'cop' is not a method"),
        (["--set", "epochs=2"], "write METHOD.KEY=VALUE"),
        (["--set", "coop.epochs=2", "--set", "coop.epochs=3"], "is given twice"),
        (["--set", "coop.n_ctx=2", "--set", "coop.ctx_init=a photo of a"], "has 4 words, but n_ctx is 2"),
        (["--set", "prograd.n_ctx=2"], "Raise n_ctx"),
        (["--protocol", "base2nw"], "Did you mean 'base2new'?"),
    ],
)
def test_bad_request_is_one_message_and_exit_code_2(call, tmp_path, capsys, arguments, message):
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("*.json"))


def test_fp16_without_a_gpu_is_refused(call, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert call("--precision", "fp16") == 2
    assert "needs a GPU" in capsys.readouterr().err


def test_bf16_runs_on_a_cpu_and_stands_in_the_record(call, tmp_path):
    assert call("--methods", "coop", *FAST, "--precision", "bf16") == 0
    (path,) = records_in(tmp_path)
    assert load(path).spec.precision == "bf16"
    from safetensors.torch import load_file

    assert {t.dtype for t in load_file(path.with_suffix(".safetensors")).values()} == {torch.float32}


def test_output_without_a_terminal_is_line_based(call, capsys):
    assert call("--methods", "zero_shot", "coop", *FAST) == 0
    lines = capsys.readouterr().err.splitlines()
    told = [line.split(" on ")[0].split() for line in lines if line.startswith("[")]
    assert [place for place, _ in told] == ["[1/2]", "[2/2]"]
    assert {method for _, method in told} == {"zero_shot", "coop"}
    assert not any("\r" in line or "it/s" in line for line in lines)


def test_killed_grid_goes_on_where_it_was(tmp_path):
    import signal
    import time

    command = [sys.executable, str(ROOT / "run_all.py"), "--protocol", "base2new", "--out", str(tmp_path), *SMALL,
               "--methods", "zero_shot", "coop", "kgcoop", "--set", "coop.epochs=30"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not records_in(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.read_bytes() for path in records_in(tmp_path)}
    assert 1 <= len(before) < 3
    assert run_all.main(command[2:]) == 0
    assert len(records_in(tmp_path)) == 3
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.golden
def test_real_photographs_run_end_to_end(call, shared, tmp_path):
    arguments = ["--data", str(shared / "data"), "--backbone", str(shared / "tiny-clip"), "--datasets", "caltech101"]
    arguments += ["--seeds", "1", "--shots", "1", "--methods", "zero_shot", "copl", "--set", "copl.epochs=1"]
    assert call(*arguments, small=False) == 0
    record = load(next(p for p in records_in(tmp_path) if "/copl/" in p.as_posix()))
    assert (record.scores["base"].classes, record.scores["new"].classes) == (50, 50)
    assert record.scores["base"].total + record.scores["new"].total > 300
    assert "Published values" in (tmp_path / "paper" / "base2new.md").read_text()


def test_spec_in_a_record_rebuilds_to_the_same_hash(call, tmp_path):
    assert call("--methods", "copl", *FAST) == 0
    (path,) = records_in(tmp_path)
    raw = json.loads(path.read_text())
    assert RunSpec.from_json(raw["spec"]).hash == raw["hash"] == path.stem.split("-")[-1]


def test_settings_are_read_as_yaml_reads_them():
    from benchmark.cli.arguments import parse_settings

    settings = ["coop.learning_rate=1e-5", "coop.ctx_init=a photo of a", "copl.local=false"]
    assert parse_settings(settings) == {
        "coop": {"learning_rate": 1e-5, "ctx_init": "a photo of a"},
        "copl": {"local": False},
    }
    with pytest.raises(ConfigError):
        parse_settings(["coop.epochs"])


def test_missing_package_is_one_message_that_says_how_to_install_it():
    code = "import sys; sys.modules['transformers'] = None; import run_all; sys.exit(run_all.main(['--plan']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "transformers" in done.stderr
    assert done.stderr.endswith("requirements.txt\n")
    assert len(done.stderr.splitlines()) == 1
