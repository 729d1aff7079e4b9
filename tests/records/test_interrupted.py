"""Interrupted, killed and concurrent writers: a record that exists is whole."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.common.config import RunSpec, Training
from benchmark.errors import RecordError
from benchmark.records import store
from benchmark.records.record import RunRecord, Score
from benchmark.records.store import collect, is_done, load, save, save_failure

ROOT = Path(store.__file__).parents[2]
PREDICTIONS = {"base": np.array([0, 1, 2, 1])}


def make_spec() -> RunSpec:
    return RunSpec(
        suite="synthetic",
        protocol="base2new",
        method="coop",
        dataset="dtd",
        shots=16,
        seed=1,
        backbone="embedded",
        checkpoint="0a1b2c3d",
        split="99887766",
        template="{} texture.",
        precision="fp32",
        options={"n_ctx": 4},
        training=Training(epochs=2, batch_size=4),
    )


def make_record(*, seconds: float = 0.25) -> RunRecord:
    scores = {"base": Score(correct=3, total=4, classes=3)}
    return RunRecord(spec=make_spec(), status="ok", scores=scores, evaluation_seconds=seconds)


def put(results: Path, *, seconds: float = 0.25, learned: bytes = b"tensors") -> Path:
    return save(make_record(seconds=seconds), results, predictions=PREDICTIONS, learned=learned)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def run_python(code: str, *arguments: object) -> subprocess.Popen:
    """A second process with this file's helpers at hand."""
    paths = [str(ROOT), str(Path(__file__).parent)]
    head = f"import sys; sys.path[:0] = {paths!r}\nfrom test_interrupted import *\n"
    return subprocess.Popen([sys.executable, "-c", head + code, *map(str, arguments)], cwd=ROOT)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("file_number", [1, 2, 3])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_interrupted_write_leaves_no_json_and_no_temporary_file(tmp_path, monkeypatch, call, file_number, error):
    real, calls, wanted = getattr(os, call), [], (2 * file_number - 1 if call == "fsync" else file_number)

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == wanted:  # fsync is called on the file, then on its folder
            raise error
        return real(*arguments)

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(RecordError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        put(tmp_path)
    if isinstance(error, OSError):
        assert "No space left on device" in str(caught.value) and str(tmp_path) in str(caught.value)
    monkeypatch.undo()
    assert not any(name.endswith((".json", ".tmp")) for name in names_in(tmp_path))
    assert len(names_in(tmp_path)) == file_number - 1
    assert not is_done(make_spec(), tmp_path)
    put(tmp_path)
    assert is_done(make_spec(), tmp_path)


def test_interrupted_rewrite_keeps_the_record_that_was_there(tmp_path, monkeypatch):
    path = put(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(RecordError, match="Input/output error"):
        put(tmp_path, seconds=9.0)
    assert path.read_bytes() == before and is_done(make_spec(), tmp_path)


def test_results_folder_that_is_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(RecordError, match=r"results.*cannot be written.*give another results folder"):
        put(tmp_path / "results")
    with pytest.raises(RecordError, match="cannot be written"):
        save_failure(make_spec(), tmp_path / "results", "boom")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_read_only_results_folder_is_refused_by_name(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RecordError, match="Permission denied"):
            put(tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="no folder can be synced here")
def test_file_system_that_cannot_sync_folders_is_accepted(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    put(tmp_path)
    assert is_done(make_spec(), tmp_path)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_process_killed_before_the_last_rename_leaves_nothing_that_counts(tmp_path):
    code = """
real = os.replace
os.replace = lambda a, b: os.kill(os.getpid(), signal.SIGKILL) if str(b).endswith(".json") else real(a, b)
put(Path(sys.argv[1]))
"""
    assert run_python(code, tmp_path).wait(timeout=60) == -signal.SIGKILL
    left = names_in(tmp_path)
    assert [name.startswith(".") and name.endswith(".tmp") for name in left].count(True) == 1
    assert not any(name.endswith(".json") for name in left)
    assert not is_done(make_spec(), tmp_path) and collect(tmp_path) == ([], [])
    put(tmp_path)
    assert is_done(make_spec(), tmp_path) and collect(tmp_path) == ([make_record()], [])


def test_two_processes_writing_the_same_record_leave_one_whole_one(tmp_path):
    code = """
for number in range(40):
    put(Path(sys.argv[1]), seconds=float(sys.argv[2]), learned=sys.argv[2].encode() * 50_000)
"""
    writers = [run_python(code, tmp_path, name) for name in ("1", "2")]
    path, looks = make_spec().record_path(tmp_path), 0
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            assert load(path).evaluation_seconds in (1.0, 2.0)
            assert len(set(path.with_suffix(".safetensors").read_bytes())) == 1
            looks += 1
    assert [writer.returncode for writer in writers] == [0, 0] and looks > 0
    assert names_in(tmp_path) == sorted([path.name, f"{path.stem}.npz", f"{path.stem}.safetensors"])
    assert is_done(make_spec(), tmp_path) and len(collect(tmp_path)[0]) == 1
