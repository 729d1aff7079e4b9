"""The feature store: what is computed once, what is shared, what is streamed."""

import dataclasses
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmark.clip.backbone import ImageFeatures
from benchmark.data.catalog import Dataset, Item, load_dataset
from benchmark.data.images import normalise, open_image, test_view, train_view, view_generator
from benchmark.data.splits import half
from benchmark.features import store as features
from benchmark.features.cache import DiskCache
from benchmark.features.store import FeatureStore, View


@pytest.fixture
def decoded(monkeypatch):
    """Paths of the images that were decoded, in that order."""
    paths = []
    monkeypatch.setattr(features, "open_image", lambda path: paths.append(path) or open_image(path))
    return paths


def test_features(store, dataset, patches=None, batch=64):
    return ImageFeatures.joined(list(store.test(dataset, dataset.test, patches, batch=batch)))


def train_features(store, dataset, view, patches=None, batch=4):
    order = range(len(dataset.train))
    return ImageFeatures.joined(list(store.train(dataset, dataset.train, view, patches, order=order, batch=batch)))


test_features.__test__ = False


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.tensors().values(), other.tensors().values(), strict=True))


def test_test_features_are_those_of_the_test_view(clip, dataset):
    got = test_features(FeatureStore(clip), dataset, "projected")
    view = test_view(open_image(dataset.test[3].path), clip.image_size)
    wanted = clip.encode_images(normalise(torch.from_numpy(view.copy())[None]), "projected")
    assert (got.pooled[3] - wanted.pooled[0]).abs().max() < 1e-5
    assert (got.patches[3] - wanted.patches[0]).abs().max() < 1e-5


@pytest.mark.parametrize("epoch", [0, 5, 13])
@pytest.mark.parametrize("patches", [None, "raw"])
def test_train_features_are_those_of_the_seed_image_and_epoch(clip, dataset, epoch, patches):
    got = train_features(FeatureStore(clip), dataset, View(2, epoch), patches)
    item = dataset.train[4]
    generator = view_generator(2, item.path.removeprefix(dataset.image_root + "/"), epoch)
    view = train_view(open_image(item.path), clip.image_size, generator)
    wanted = clip.encode_images(normalise(torch.from_numpy(view.copy())[None]), patches)
    assert (got.pooled[4] - wanted.pooled[0]).abs().max() < 1e-5
    if patches:
        assert (got.patches[4] - wanted.patches[0]).abs().max() < 2e-5


@pytest.mark.parametrize("limit", [1 << 30, 1])
def test_train_features_come_in_the_order_asked_for(clip, dataset, limit):
    store, order = FeatureStore(clip, limit_bytes=limit), [5, 0, 3, 3]
    plain = train_features(FeatureStore(clip), dataset, View(1, 0), "projected")
    parts = list(store.train(dataset, dataset.train, View(1, 0), "projected", order=order, batch=3))
    assert [len(part) for part in parts] == [3, 1]
    got = ImageFeatures.joined(parts)
    assert (got.pooled - plain.pooled[order]).abs().max() < 1e-5
    assert (got.patches - plain.patches[order]).abs().max() < 2e-5


def test_second_method_decodes_and_encodes_nothing(clip, dataset, decoded):
    store = FeatureStore(clip)
    for _ in range(2):
        test_features(store, dataset)
        for epoch in range(12):
            train_features(store, dataset, View(1, epoch))
    assert len(decoded) == len(dataset.test) + len(dataset.train), "training pictures are decoded once for all epochs"
    assert store.images_encoded == len(dataset.test) + 20 * len(dataset.train), "views of ten epochs at a time"


def test_what_threads_ask_for_at_once_is_made_once():
    held, made = features._Bounded(1 << 20), []

    def slow():
        time.sleep(0.05)
        made.append(1)
        return "picture"

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: held.get("key", slow, len), range(8)))
    assert got == ["picture"] * 8
    assert made == [1]
    assert held.used == len("picture")


def test_what_failed_is_tried_again_by_the_next_who_asks():
    held = features._Bounded(1 << 20)
    with pytest.raises(ZeroDivisionError):
        held.get("key", lambda: 1 / 0, int)
    assert held.get("key", lambda: "picture", len) == "picture"


def test_a_method_with_patches_decodes_no_test_image_again(clip, dataset, decoded):
    store = FeatureStore(clip, ahead=[None, "projected"])
    pooled = test_features(store, dataset)
    local = test_features(store, dataset, "projected")
    assert len(decoded) == store.images_encoded == len(dataset.test)
    assert torch.equal(pooled.pooled, local.pooled)


def test_another_process_reads_from_disk_and_decodes_nothing(clip, dataset, decoded, tmp_path):
    def store():  # with a memory of its own, as another process has
        return FeatureStore(clip, disk=DiskCache(tmp_path), origin="one", ahead=["projected"])

    one, other = store(), store()
    made = (
        test_features(one, dataset),
        test_features(one, dataset, "projected"),
        train_features(one, dataset, View(1, 3)),
    )
    count = len(decoded)
    read = (
        test_features(other, dataset),
        test_features(other, dataset, "projected"),
        train_features(other, dataset, View(1, 3)),
    )
    assert len(decoded) == count
    assert other.images_encoded == 0
    assert all(equal(a, b) for a, b in zip(made, read, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("change", ["origin", "picture", "dtype"])
def test_what_features_follow_from_names_them_on_disk(clip, clip64, embedded, decoded, tmp_path, change):
    shutil.copytree(embedded("synth_actions") / "synth_actions", tmp_path / "images" / "synth_actions")
    own = load_dataset("synth_actions", tmp_path / "images")
    own = dataclasses.replace(own, test=own.test[:6])
    first = FeatureStore(clip, disk=DiskCache(tmp_path / "cache"), origin="one")
    test_features(first, own)
    if change == "picture":
        open_image(own.test[1].path).save(own.test[0].path)
    second = FeatureStore(
        clip64 if change == "dtype" else clip,
        disk=DiskCache(tmp_path / "cache"),
        origin="two" if change == "origin" else "one",
    )
    test_features(second, own)
    assert second.images_encoded == 6, "nothing of the first may be taken for the second"


def test_pictures_of_two_datasets_are_told_apart_though_names_sizes_and_times_are_equal(clip, tmp_path):
    def drawn(colour):
        path = tmp_path / colour / "a" / "0.bmp"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (32, 32), colour).save(path)
        os.utime(path, (0, 0))
        lists = {"train": [], "val": [], "test": [Item(str(path), 0, "a")]}
        return Dataset(name="mine", class_names=("a",), template="a {}.", image_root=str(tmp_path / colour), **lists)

    store = FeatureStore(clip, disk=DiskCache(tmp_path / "cache"))
    red, blue = (test_features(store, drawn(colour)).pooled for colour in ("red", "blue"))
    assert not torch.equal(red, blue)


@pytest.mark.parametrize("what", ["torch.__version__", "PIL.__version__", "benchmark.features.store.VIEWS"])
def test_features_of_another_version_are_not_read(clip, dataset, tmp_path, monkeypatch, what):
    few = dataclasses.replace(dataset, test=dataset.test[:6])
    test_features(FeatureStore(clip, disk=DiskCache(tmp_path)), few)
    monkeypatch.setattr(what, "9.9.9")
    other = FeatureStore(clip, disk=DiskCache(tmp_path))
    test_features(other, few)
    assert other.images_encoded == 6


@pytest.mark.parametrize(
    "content",
    [{}, {"pooled": torch.ones(5, 128)}, {"pooled": torch.ones(6, 127)}, {"pooled": torch.ones(6)},
     {"patches": torch.ones(6, 36, 128)}, {"pooled": torch.ones(6, 128), "patches": torch.ones(6, 9, 128)}],
    ids=lambda content: ",".join(f"{name} {tuple(tensor.shape)}" for name, tensor in content.items()) or "nothing",
)  # fmt: skip
@pytest.mark.parametrize("patches", [None, "raw"])
def test_entry_of_another_shape_is_made_anew(clip, dataset, tmp_path, content, patches):
    few = dataclasses.replace(dataset, test=dataset.test[:6])
    wanted = test_features(FeatureStore(clip, disk=DiskCache(tmp_path)), few, patches)
    (entry,) = tmp_path.glob("*/*.safetensors")
    save_file(content, entry)
    assert equal(test_features(FeatureStore(clip, disk=DiskCache(tmp_path)), few, patches), wanted)
    again = FeatureStore(clip, disk=DiskCache(tmp_path))
    assert equal(test_features(again, few, patches), wanted)
    assert again.images_encoded == 0


def test_large_test_sets_are_kept_block_by_block(clip, dataset, monkeypatch, tmp_path):
    monkeypatch.setattr(features, "BLOCK_BYTES", 16 * FeatureStore(clip).bytes_per_image("projected"))
    monkeypatch.setattr(features, "ENCODE_BATCH", 8)
    store = FeatureStore(clip, disk=DiskCache(tmp_path), limit_bytes=1)
    parts = list(store.test(dataset, dataset.test, "projected", batch=8))
    assert [len(part) for part in parts] == [8] * 5
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 3
    whole = test_features(FeatureStore(clip), dataset, "projected")
    assert (ImageFeatures.joined(parts).patches - whole.patches).abs().max() < 2e-5


def test_store_forgets_what_was_used_longest_ago(clip, dataset):
    size = 10 * len(dataset.train) * FeatureStore(clip).bytes_per_image(None)
    store = FeatureStore(clip, limit_bytes=2 * size)
    for epoch in (0, 10, 1, 20, 2):
        train_features(store, dataset, View(1, epoch))
    assert store.images_encoded == 30 * len(dataset.train), "the first ten epochs were always used lately"
    train_features(store, dataset, View(1, 10))
    assert store.images_encoded == 40 * len(dataset.train)


def test_halves_are_kept_apart(clip, dataset):
    store = FeatureStore(clip)
    base, new = half(dataset, "base"), half(dataset, "new")
    first, second = test_features(store, base), test_features(store, new)
    assert len(first) + len(second) == len(dataset.test)
    assert not torch.equal(first.pooled[0], second.pooled[0])
