"""Interrupted, killed and concurrent writers: a record that exists is complete."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from benchmark.common.files import REPOSITORY
from benchmark.errors import RecordError
from benchmark.records.store import collect, is_done, load, save_failure
from tests.helpers.faults import full_disk
from tests.records.test_record import make_record, make_spec, names_in, put


def run_python(code: str, *arguments: object) -> subprocess.Popen:
    """A second process that can call this file's helpers."""
    head = f"import os, signal, sys; sys.path.insert(0, {str(REPOSITORY)!r})\nfrom pathlib import Path\n"
    head += "from tests.records.test_record import make_record, put\n"
    return subprocess.Popen([sys.executable, "-c", head + code, *map(str, arguments)], cwd=REPOSITORY)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("file_number", [1, 2, 3], ids=["predictions", "tensors", "record"])
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


@pytest.mark.parametrize("largest, left", [(100, []), (5_000, [".npz"]), (50_000, [".npz", ".safetensors"])])
def test_full_disk_at_any_file_leaves_no_record_and_keeps_an_earlier_one(tmp_path, largest, left):
    record, learned = make_record(warnings=["w" * 60_000]), b"t" * 20_000
    with full_disk(largest), pytest.raises(RecordError, match=r"cannot be written \(File too large\); no part"):
        put(tmp_path, record, learned=learned)
    assert [os.path.splitext(name)[1] for name in names_in(tmp_path)] == left
    path = put(tmp_path, record, learned=learned)
    before = path.read_bytes()
    with full_disk(largest), pytest.raises(RecordError):
        put(tmp_path, record, learned=learned)
    with full_disk(100), pytest.raises(RecordError, match="cannot be written"):
        save_failure(make_spec(), tmp_path, "Traceback")
    assert path.read_bytes() == before and len(names_in(tmp_path)) == 3 and is_done(make_spec(), tmp_path)


def test_results_folder_that_is_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(RecordError, match=r"results.*cannot be written.*give another results folder"):
        put(tmp_path / "results")
    with pytest.raises(RecordError, match="cannot be written"):
        save_failure(make_spec(), tmp_path / "results", "boom")


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


@pytest.mark.slow
def test_two_processes_writing_the_same_record_leave_one_whole_one(tmp_path):
    code = """
for number in range(40):
    record = make_record(evaluation_seconds=float(sys.argv[2]))
    put(Path(sys.argv[1]), record, learned=sys.argv[2].encode() * 50_000)
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
