"""The cache on disk: entries made once, shared by processes, bounded, and never a reason to fail."""

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file

from benchmark.errors import ConfigError
from benchmark.features.cache import DiskCache, key_of
from tests.helpers.faults import full_disk

KEY = key_of({"what": "a test"})
OTHER = key_of({"what": "another"})


def tensors(value=1.0, size=4):
    return {"pooled": torch.full((size,), value)}


def get(cache, key=KEY, value=1.0, size=4):
    """The first value of an entry of this size, which is made of `value` if it is missing."""
    return cache.get(key, lambda: tensors(value, size), {"pooled": (size,)})["pooled"][0].item()


def entries(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_entry_is_made_once_and_read_afterwards(tmp_path):
    assert [get(DiskCache(tmp_path), value=value) for value in (1.0, 2.0, 3.0)] == [1.0] * 3
    assert [path.suffix for path in entries(tmp_path)] == [".safetensors"], "no lock and no partial file is left"


@pytest.mark.parametrize("damage", [lambda whole: whole[:-100], lambda whole: b"", lambda whole: b"\xff" * 4000])
def test_damaged_entry_is_made_again(tmp_path, damage):
    cache = DiskCache(tmp_path)
    get(cache, size=1000)
    (path,) = entries(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert [get(cache, value=value, size=1000) for value in (2.0, 3.0)] == [2.0, 2.0]


@pytest.mark.parametrize(
    "content", [{}, tensors(size=5), {"pooled": torch.ones(4, 1)}, tensors() | {"patches": torch.ones(4)}]
)
def test_entry_of_another_shape_is_made_again(tmp_path, content):
    cache = DiskCache(tmp_path)
    get(cache)
    (path,) = entries(tmp_path)
    save_file(content, path)
    assert [get(cache, value=value) for value in (2.0, 3.0)] == [2.0, 2.0]


def test_unusable_folder_and_file_system_without_locks_are_not_used(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="COPL_BENCHMARK_CACHE"):
        assert get(DiskCache(tmp_path / "file")) == 1.0

    def no_locks(*_):
        raise NotImplementedError("no flock here")

    monkeypatch.setattr("benchmark.features.cache.FileLock.acquire", no_locks)
    with pytest.warns(UserWarning, match="no flock here"):
        assert get(DiskCache(tmp_path)) == 1.0


def test_limit_that_is_not_a_number_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("COPL_BENCHMARK_CACHE_GB", "abc")
    with pytest.raises(ConfigError, match="must be a number of gigabytes"):
        DiskCache(tmp_path)


def fail_to_rename(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmark.features.cache.os.replace", full)
    return contextlib.nullcontext()


@pytest.mark.parametrize("full", [lambda _: full_disk(2000), fail_to_rename], ids=["writing", "renaming"])
def test_full_disk_is_a_warning(tmp_path, monkeypatch, full):
    with full(monkeypatch), pytest.warns(UserWarning, match=r"cannot be kept there .*(space|large)"):
        assert get(DiskCache(tmp_path), size=1000) == 1.0
    assert not entries(tmp_path)


def test_least_recently_used_entries_are_deleted_first(tmp_path):
    cache = DiskCache(tmp_path, limit_bytes=10_000)
    keys = [key_of({"number": number}) for number in range(3)]
    for age, key in zip((300, 200, 100), keys, strict=True):
        get(cache, key, size=1000)  # 4 kB each
        if cache.has(key):
            os.utime(cache._path(key), (time.time() - age,) * 2)
    assert [cache.has(key) for key in keys] == [False, True, True]
    get(cache, keys[1], size=1000)  # used now
    get(cache, OTHER, size=1000)
    assert [cache.has(key) for key in keys] == [False, True, False]
    get(cache, KEY, size=5000)
    assert cache.has(KEY), "an entry above the limit is kept until the next one"


def test_one_process_makes_an_entry_and_the_others_wait(tmp_path):
    made = []

    def slow():
        made.append(1)
        time.sleep(0.2)
        return tensors()

    def run(_):  # locks of different caches exclude each other, as those of processes do
        return DiskCache(tmp_path).get(KEY, slow, {"pooled": (4,)})["pooled"][0].item()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [1.0] * 4
    assert made == [1]


def test_partial_file_of_a_killed_process_is_not_read_and_is_deleted_if_space_is_short(tmp_path):
    cache = DiskCache(tmp_path, limit_bytes=10_000)
    partial = cache._path(KEY).with_suffix(".123.partial")
    partial.parent.mkdir()
    partial.write_bytes(bytes(8000))
    os.utime(partial, (1, 1))
    assert not cache.has(KEY)
    assert [get(cache), get(cache, OTHER, size=1000)] == [1.0, 1.0]
    assert (partial.exists(), cache.has(KEY)) == (False, True)
