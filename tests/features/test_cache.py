"""The cache on disk: made once, shared by processes, bounded, and never a reason to fail."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmark.errors import ConfigError
from benchmark.features.cache import DiskCache, key_of
from tests.helpers.faults import full_disk

ROOT = Path(__file__).resolve().parents[2]
KEY = key_of({"what": "a test"})
OTHER = key_of({"what": "another"})


def tensors(value=1.0, size=4):
    return {"pooled": torch.full((size,), value)}


def entries(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_entry_is_made_once_and_read_afterwards(tmp_path):
    calls = []
    for _ in range(3):
        got = DiskCache(tmp_path).get(KEY, lambda: calls.append(1) or tensors())
        assert torch.equal(got["pooled"], torch.ones(4))
    assert calls == [1]
    assert [path.suffix for path in entries(tmp_path)] == [".safetensors"], "no lock and no partial file is left"


def test_keys_tell_names_and_values_apart():
    assert len({key_of({"a": "b"}), key_of({"b": "a"}), key_of({"a": "b", "c": 1}), key_of({"a": "b\nc=1"})}) == 4


@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_damaged_entry_is_made_anew(tmp_path, damage):
    cache = DiskCache(tmp_path)
    cache.get(KEY, lambda: tensors(size=1000))
    (path,) = entries(tmp_path)
    content = {"cut": path.read_bytes()[:-100], "empty": b"", "noise": b"\xff" * 4000}[damage]
    path.write_bytes(content)
    assert torch.equal(cache.get(KEY, lambda: tensors(2.0))["pooled"], torch.full((4,), 2.0))
    assert torch.equal(cache.get(KEY, lambda: tensors(3.0))["pooled"], torch.full((4,), 2.0))


def test_entry_that_is_not_what_belongs_there_is_made_anew(tmp_path):
    cache = DiskCache(tmp_path)
    cache.get(KEY, lambda: tensors(size=3))
    for _ in range(2):
        got = cache.get(KEY, lambda: tensors(2.0), lambda found: found["pooled"].shape == (4,))
        assert torch.equal(got["pooled"], torch.full((4,), 2.0))


def test_readable_entry_of_somebody_else_is_used(tmp_path, monkeypatch):
    DiskCache(tmp_path).get(KEY, tensors)

    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refused)
    assert torch.equal(DiskCache(tmp_path).get(KEY, lambda: tensors(2.0))["pooled"], torch.ones(4))
    assert len(entries(tmp_path)) == 1


def test_what_a_killed_process_left_is_never_read_and_goes_when_space_is_short(tmp_path):
    cache = DiskCache(tmp_path, limit_bytes=10_000)
    partial = cache._path(KEY).with_suffix(".123.partial")
    partial.parent.mkdir()
    partial.write_bytes(bytes(8000))
    os.utime(partial, (1, 1))
    assert not cache.has(KEY)
    assert torch.equal(cache.get(KEY, tensors)["pooled"], torch.ones(4))
    cache.get(OTHER, lambda: tensors(size=1000))
    assert not partial.exists()
    assert cache.has(KEY)


def test_folder_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="COPL_BENCHMARK_CACHE"):
        assert torch.equal(DiskCache(tmp_path / "file").get(KEY, tensors)["pooled"], torch.ones(4))


def test_file_system_without_locks_is_done_without(tmp_path, monkeypatch):
    def no_locks(*_):
        raise NotImplementedError("no flock here")

    monkeypatch.setattr("benchmark.features.cache.FileLock.acquire", no_locks)
    with pytest.warns(UserWarning, match="no flock here"):
        assert torch.equal(DiskCache(tmp_path).get(KEY, tensors)["pooled"], torch.ones(4))


def test_limit_that_is_no_number_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("COPL_BENCHMARK_CACHE_GB", "abc")
    with pytest.raises(ConfigError, match="must be a number of gigabytes"):
        DiskCache(tmp_path)


def fail_to_rename(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmark.features.cache.os.replace", full)
    return contextlib.nullcontext()


@pytest.mark.parametrize("full", [lambda _: full_disk(2000), fail_to_rename], ids=["writing", "renaming"])
def test_full_disk_is_done_without(tmp_path, monkeypatch, full):
    with full(monkeypatch), pytest.warns(UserWarning, match=r"cannot be kept there .*(space|large)"):
        got = DiskCache(tmp_path).get(KEY, lambda: tensors(size=1000))
    assert torch.equal(got["pooled"], torch.ones(1000))
    assert not entries(tmp_path)


def test_error_of_the_maker_comes_through_and_leaves_no_lock(tmp_path):
    def fail():
        raise ValueError("broken picture")

    with pytest.raises(ValueError, match="broken picture"):
        DiskCache(tmp_path).get(KEY, fail)
    assert not entries(tmp_path)


def test_least_recently_used_entries_go_first(tmp_path):
    cache = DiskCache(tmp_path, limit_bytes=10_000)
    keys = [key_of({"number": number}) for number in range(3)]
    for age, key in zip((300, 200, 100), keys, strict=True):
        cache.get(key, lambda: tensors(size=1000))  # 4 kB each
        path = cache._path(key)
        if path.exists():
            os.utime(path, (time.time() - age,) * 2)
    assert [cache.has(key) for key in keys] == [False, True, True]
    cache.get(keys[1], tensors)  # used now
    cache.get(OTHER, lambda: tensors(size=1000))
    assert [cache.has(key) for key in keys] == [False, True, False]


def test_entry_larger_than_the_limit_stays_until_the_next(tmp_path):
    cache = DiskCache(tmp_path, limit_bytes=10)
    cache.get(KEY, tensors)
    assert cache.has(KEY)
    cache.get(OTHER, tensors)
    assert [cache.has(KEY), cache.has(OTHER)] == [False, True]


@pytest.mark.parametrize("stamp", [0, time.time() + 1e9], ids=["past", "future"])
def test_entries_stamped_by_a_clock_that_jumped_do_not_outlive_what_is_used(tmp_path, stamp):
    cache = DiskCache(tmp_path, limit_bytes=10_000)
    old, used, fresh = (key_of({"number": number}) for number in range(3))
    cache.get(old, lambda: tensors(size=1000))
    os.utime(cache._path(old), (stamp, stamp))
    cache.get(used, lambda: tensors(size=1000))  # sees the stamp
    assert cache._path(old).stat().st_mtime <= time.time()
    os.utime(cache._path(used), (time.time() + 0.001,) * 2)
    cache.get(fresh, lambda: tensors(size=1000))
    assert [cache.has(key) for key in (old, used, fresh)] == [False, True, True]


MAKER = """
import os, sys, time, torch
from pathlib import Path
from benchmark.features.cache import DiskCache

def slow():
    print("made", flush=True)
    time.sleep(0.5)
    return {"pooled": torch.ones(100_000)}

print("ready", flush=True)
sys.stdin.readline()
got = DiskCache(Path(sys.argv[1])).get(sys.argv[2], slow)["pooled"]
print(int(got.sum()), flush=True)
"""


@pytest.mark.slow
def test_one_of_several_processes_makes_an_entry_the_others_wait(tmp_path):
    # processes of their own, not forks of this one: after a fork the threads of torch's products are gone, and the
    # first product in the child waits for them forever
    command = [sys.executable, "-c", MAKER, str(tmp_path), KEY]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(3)]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        told = sorted(process.communicate(timeout=60)[0].split() for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert told == [["100000"], ["100000"], ["made", "100000"]]
    assert [process.returncode for process in processes] == [0, 0, 0]
