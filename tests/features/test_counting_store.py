"""Stores for measuring against the real one: the same account, features of the same shape."""

import pytest

from benchmark.features.cache import DiskCache
from benchmark.features.counting_store import CountingStore, StandInStore
from benchmark.features.store import FeatureStore, View


def ask(store, dataset, *, patches=None, epochs=(0, 1), batch=4):
    """What a run asks for: train views of some epochs, then the test images."""
    for epoch in epochs:
        order = range(len(dataset.train))
        list(store.train(dataset, dataset.train, View(1, epoch), patches, order=order, batch=batch))
    return list(store.test(dataset, dataset.test, patches, batch=batch))


@pytest.mark.parametrize("limit", [1 << 30, 1 << 12], ids=["all is kept", "hardly anything is kept"])
def test_account_equals_what_a_real_store_encodes(clip, dataset, limit):
    real = FeatureStore(clip, limit_bytes=limit, ahead=("projected",))
    counting = CountingStore(real)
    for patches in ("projected", None, "projected"):
        for store in (real, counting):
            ask(store, dataset, patches=patches)
        assert sum(counting.encoded.values()) == real.images_encoded > 0


def test_account_tells_pictures_opened_first_from_those_seen_and_from_test_images(clip, dataset):
    store = CountingStore(FeatureStore(clip))
    ask(store, dataset, epochs=(0, 10))
    assert store.encoded == {
        (dataset.name, "new", (None,), 64): len(dataset.train),
        (dataset.name, "seen", (None,), 64): 19 * len(dataset.train),  # ten epochs at a time
        (dataset.name, "test", (None,), 16): len(dataset.test),
    }
    assert len(store.opened) == len(dataset.train)


def test_kind_of_features_that_is_kept_is_not_encoded_again_with_another(clip, dataset):
    store = CountingStore(FeatureStore(clip, ahead=("projected",)))
    for patches in ("projected", None):
        ask(store, dataset, patches=patches, epochs=())
    assert store.encoded == {(dataset.name, "test", (kind,), 16): len(dataset.test) for kind in ("projected", None)}


def test_features_on_disk_are_found_and_nothing_is_written(clip, dataset, tmp_path):
    real = FeatureStore(clip, disk=DiskCache(tmp_path / "full"))
    list(real.test(dataset, dataset.test, None, batch=8))
    files = sorted((tmp_path / "full").rglob("*"))
    store = CountingStore(FeatureStore(clip, disk=DiskCache(tmp_path / "full")))
    ask(store, dataset, epochs=(0,), batch=8)
    assert store.found == len(dataset.test)
    assert sum(store.encoded.values()) == 10 * len(dataset.train)
    assert sorted((tmp_path / "full").rglob("*")) == files
    empty = CountingStore(FeatureStore(clip, disk=DiskCache(tmp_path / "empty")))
    ask(empty, dataset, epochs=(0,))
    assert (empty.found, (tmp_path / "empty").exists()) == (0, False)


def test_account_equals_a_real_store_where_one_kind_of_features_is_on_disk(clip, dataset, tmp_path):
    disk = DiskCache(tmp_path)
    list(FeatureStore(clip, disk=disk).test(dataset, dataset.test, None, batch=8))
    real = FeatureStore(clip, disk=disk, ahead=(None, "projected"))
    counting = CountingStore(real)
    for store in (counting, real):
        for patches in ("projected", None):
            ask(store, dataset, patches=patches, epochs=(), batch=8)
    assert counting.encoded == {(dataset.name, "test", ("projected",), 16): real.images_encoded}


@pytest.mark.parametrize("patches", [None, "projected", "raw"])
def test_stand_ins_have_the_shape_and_length_of_real_features(clip, dataset, patches):
    real, other = (
        next(s.test(dataset, dataset.test[:3], patches, batch=3)) for s in (FeatureStore(clip), StandInStore(clip))
    )
    assert other.tensors().keys() == real.tensors().keys()
    for name, tensor in other.tensors().items():
        assert tensor.shape == real.tensors()[name].shape
        assert (tensor.norm(dim=-1) - 1).abs().max() < 1e-5
