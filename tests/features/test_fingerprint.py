"""Fingerprints of images: of their content alone, read once, and checked when an image is opened."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from benchmark.data.catalog import relative_path
from benchmark.errors import DataError
from benchmark.features import fingerprint as module
from benchmark.features.encoder import TEST_VIEW, ImageEncoder
from benchmark.features.fingerprint import fingerprint


@pytest.fixture
def copy(dataset, tmp_path, monkeypatch):
    """copy("a"): six images of the dataset in a folder of that name, as a plan finds them; the cache is empty."""
    monkeypatch.setenv("COPL_BENCHMARK_CACHE", str(tmp_path / "cache"))

    def make(folder):
        root = tmp_path / folder
        items = []
        for item in dataset.test[:6]:
            path = root / relative_path(dataset, item)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                shutil.copy2(item.path, path)
            items.append(dataclasses.replace(item, path=str(path)))
        return dataclasses.replace(dataset, test=items, image_root=str(root), version="", digests={})

    return make


def of(dataset):
    return fingerprint((dataset, dataset.test))


def test_fingerprint_is_that_of_a_copy_and_changes_with_one_image_of_the_same_size_and_time(copy):
    first = copy("a")
    assert of(first) == of(copy("b")) == fingerprint((first, first.test[::-1]))
    path = Path(first.test[0].path)
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert of(copy("a")) != of(copy("b"))
    assert of(dataclasses.replace(first, version="1")) == of(dataclasses.replace(copy("b"), version="1"))


def test_second_plan_reads_no_image_and_a_cache_that_fails_is_not_needed(copy, monkeypatch, tmp_path):
    wanted = of(copy("a"))
    with monkeypatch.context() as patch:
        patch.setattr(module, "_digest", lambda path: pytest.fail(f"{path} was read"))
        assert of(copy("a")) == wanted
    (tmp_path / "cache" / module.FILE).write_bytes(b"no database, but long enough to be taken for one" * 100)
    with pytest.warns(UserWarning, match="Delete it"):
        assert of(copy("a")) == wanted


def test_folder_whose_name_is_not_utf8_is_hashed_and_kept(copy, monkeypatch):
    first = of(copy("gr\udcfcn"))
    monkeypatch.setattr(module, "_digest", None)
    assert first == of(copy("gr\udcfcn"))


@pytest.mark.parametrize("damage", [os.unlink, lambda path: shutil.copy(path.replace("_00", "_10"), path)])
def test_image_that_changed_since_the_plan_is_refused_by_name(copy, clip, damage):
    planned = copy("a")
    of(planned)
    changed = planned.test[0]
    damage(changed.path)
    with pytest.raises(DataError, match=f"{os.path.basename(changed.path)}.*[Ss]tart"):
        ImageEncoder(clip).encode(planned, [(changed, TEST_VIEW)], [None])
