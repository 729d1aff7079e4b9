"""Stores for time estimates: the same counts as the real store, features of the same shape."""

import pytest

from benchmark.features.cache import DiskCache
from benchmark.features.counting_store import CountingStore
from benchmark.features.encoder import View
from benchmark.features.store import FeatureStore


def read(store, dataset, *, patches=None, epochs=(0, 1), batch=4):
    """Read what a run reads: train views of some epochs, then the test images."""
    for epoch in epochs:
        order = range(len(dataset.train))
        how = {"order": order, "batch": batch, "pooled": patches == 1}
        list(store.train(dataset, dataset.train, View(1, epoch), patches, **how))
    list(store.test(dataset, dataset.test, patches, batch=batch))


@pytest.mark.parametrize("limit", [1 << 30, 1 << 12], ids=["all is kept", "hardly anything is kept"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_counts_equal_what_a_real_store_encodes(clip, dataset, tmp_path, limit, on_disk):
    disk = DiskCache(tmp_path) if on_disk else None
    if on_disk:  # one of the two kinds of features
        list(FeatureStore(clip, disk=disk).test(dataset, dataset.test, None, batch=8))
    real = FeatureStore(clip, disk=disk, limit_bytes=limit, ahead=(None, "projected"))
    counting = CountingStore(real)
    for patches in ("projected", None, "projected", 1, 1):
        for store in (counting, real):
            read(store, dataset, patches=patches, epochs=() if on_disk else (0, 1))
    assert sum(counting.encoded.values()) == real.encoder.images_encoded > 0


def test_features_that_memory_drops_are_counted_once_if_they_would_be_on_disk(clip, dataset, tmp_path):
    real = FeatureStore(clip, disk=DiskCache(tmp_path), limit_bytes=1 << 12, ahead=(None, "projected"))
    counting = CountingStore(real)
    for store in (counting, real):
        for patches in (None, "projected", None):
            read(store, dataset, patches=patches, epochs=(0, 5, 0))
    assert sum(counting.encoded.values()) == real.encoder.images_encoded
    assert counting.found == 0


def test_features_on_disk_are_found_and_nothing_is_written(clip, dataset, tmp_path):
    list(FeatureStore(clip, disk=DiskCache(tmp_path)).test(dataset, dataset.test, None, batch=8))
    files = sorted(tmp_path.rglob("*"))
    store = CountingStore(FeatureStore(clip, disk=DiskCache(tmp_path)))
    read(store, dataset, epochs=(0,), batch=8)
    assert (store.found, sum(store.encoded.values())) == (len(dataset.test), 5 * len(dataset.train))
    assert sorted(tmp_path.rglob("*")) == files
