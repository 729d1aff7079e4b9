"""The feature store: what is computed once, what is shared, what is encoded just ahead."""

import dataclasses
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from benchmark.clip.backbone import ImageFeatures
from benchmark.data.catalog import relative_path
from benchmark.data.images import normalise, open_image, test_view, train_view, view_generator
from benchmark.features import encoder
from benchmark.features import store as features
from benchmark.features.cache import DiskCache
from benchmark.features.encoder import View
from benchmark.features.memory import BoundedMemory
from benchmark.features.store import FeatureStore, epochs_together


@pytest.fixture
def decoded(monkeypatch):
    """The paths of the decoded images, in order."""
    paths = []
    monkeypatch.setattr(encoder, "open_image", lambda path: paths.append(path) or open_image(path))
    return paths


def test_features(store, dataset, patches=None, batch=64):
    return ImageFeatures.joined(list(store.test(dataset, dataset.test, patches, batch=batch)))


def train_features(store, dataset, view, patches=None, batch=4):
    order = range(len(dataset.train))
    return ImageFeatures.joined(list(store.train(dataset, dataset.train, view, patches, order=order, batch=batch)))


test_features.__test__ = False


def assert_close(one, other, tolerance=2e-5):
    for name, tensor in other.tensors().items():
        assert (one.tensors()[name] - tensor).abs().max() <= tolerance


@pytest.mark.parametrize(("epoch", "patches"), [(None, "projected"), (0, None), (13, "raw")])
def test_features_are_those_of_the_view(clip, dataset, epoch, patches):
    if epoch is None:
        got, item = test_features(FeatureStore(clip), dataset, patches), dataset.test[4]
        view = test_view(open_image(item.path), clip.image_size)
    else:
        got, item = train_features(FeatureStore(clip), dataset, View(2, epoch), patches), dataset.train[4]
        generator = view_generator(2, relative_path(dataset, item), epoch)
        view = train_view(open_image(item.path), clip.image_size, generator)
    assert_close(got[4:5], clip.encode_images(normalise(torch.from_numpy(view.copy())[None]), patches))


@pytest.mark.parametrize("limit", [1 << 30, 1])
def test_train_features_come_in_the_requested_order(clip, dataset, limit):
    store, order = FeatureStore(clip, limit_bytes=limit), [5, 0, 3, 3]
    plain = train_features(FeatureStore(clip), dataset, View(1, 0), "projected")
    parts = list(store.train(dataset, dataset.train, View(1, 0), "projected", order=order, batch=3))
    assert [len(part) for part in parts] == [3, 1]
    assert_close(ImageFeatures.joined(parts), plain[torch.tensor(order)])


def test_second_method_decodes_and_encodes_nothing(clip, dataset, decoded):
    store = FeatureStore(clip)
    for _ in range(2):
        test_features(store, dataset)
        for epoch in range(12):
            train_features(store, dataset, View(1, epoch))
    assert len(decoded) == len(dataset.test) + len(dataset.train), "training images are decoded once for all epochs"
    assert store.encoder.images_encoded == len(dataset.test) + 15 * len(dataset.train), "views of five epochs at a time"


def test_large_sample_is_decoded_once_for_the_epochs_that_are_encoded_together(clip, dataset, decoded, monkeypatch):
    plain = [train_features(FeatureStore(clip), dataset, View(1, epoch)) for epoch in range(5)]
    monkeypatch.setattr(features, "AHEAD_IMAGES", 4)
    monkeypatch.setattr(features, "epochs_together", lambda images, device: epochs_together(images, "cuda"))
    monkeypatch.setattr(encoder.os, "cpu_count", lambda: 2)  # threads, each at another image
    decoded.clear()
    image = open_image(dataset.train[0].path)
    store = FeatureStore(clip, limit_bytes=4 * 3 * image.width * image.height)
    for epoch, wanted in enumerate(plain):
        assert_close(train_features(store, dataset, View(1, epoch)), wanted)
    assert len(decoded) == len(dataset.train) > 4
    assert [epochs_together(images, "cpu") for images in (1, 2, 5)] == [2, 2, 1]


def test_memory_makes_a_value_once_for_all_threads_and_again_after_an_error():
    memory, made = BoundedMemory(1 << 20), []

    def slow():
        time.sleep(0.05)
        made.append(1)
        return "value"

    with pytest.raises(ZeroDivisionError):
        memory.get("key", lambda: 1 / 0, int)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: memory.get("key", slow, len), range(8))) == ["value"] * 8
    assert (made, memory.used) == ([1], len("value"))


def test_memory_forgets_the_least_recently_used_value():
    memory = BoundedMemory(2)
    for key in "abac":
        memory.get(key, lambda: "x", len)
    assert ([key in memory for key in "abc"], memory.used) == ([True, False, True], 2)


def test_another_process_reads_from_disk_and_decodes_nothing(clip, dataset, decoded, tmp_path):
    results, counts = [], []
    for _ in range(2):  # with a memory of its own, as another process has
        store = FeatureStore(clip, disk=DiskCache(tmp_path), origin="one", ahead=["projected"])
        results.append([
            test_features(store, dataset),
            test_features(store, dataset, "projected"),
            train_features(store, dataset, View(1, 3)),
        ])  # fmt: skip
        counts.append(len(decoded))
    assert counts[0] == counts[1]
    assert store.encoder.images_encoded == 0
    for made, read in zip(*results, strict=True):
        assert_close(read, made, tolerance=0)


@pytest.mark.parametrize(
    "change, encoded",
    [("folder", 0), ("image", 6), ("origin", 6), ("dtype", 6), ("torch.__version__", 6), ("PIL.__version__", 6),
     ("VIEWS", 6)],
)  # fmt: skip
def test_features_are_read_for_the_same_content_origin_and_versions_only(
    clip, clip64, dataset, tmp_path, monkeypatch, change, encoded
):
    def copy(folder):
        root = shutil.copytree(dataset.image_root, tmp_path / folder)
        test = [dataclasses.replace(item, path=f"{root}/{relative_path(dataset, item)}") for item in dataset.test[:6]]
        return dataclasses.replace(dataset, test=test, image_root=str(root), version="", digests={})

    few = copy("images")
    test_features(FeatureStore(clip, disk=DiskCache(tmp_path / "cache"), origin="one"), few)
    if change == "image":
        open_image(few.test[1].path).save(few.test[0].path)
        few = dataclasses.replace(few, digests={})  # as another plan has it
    elif change == "folder":
        few = copy("others")
    elif change not in ("origin", "dtype"):
        monkeypatch.setattr(change if "." in change else f"benchmark.features.store.{change}", "9.9.9")
    second = FeatureStore(
        clip64 if change == "dtype" else clip,
        disk=DiskCache(tmp_path / "cache"),
        origin="two" if change == "origin" else "one",
    )
    test_features(second, few)
    assert second.encoder.images_encoded == encoded


def test_large_test_sets_are_kept_block_by_block(clip, dataset, monkeypatch, tmp_path):
    monkeypatch.setattr(features, "BLOCK_BYTES", 16 * FeatureStore(clip).bytes_per_image("projected"))
    for module in (features, encoder):
        monkeypatch.setattr(module, "ENCODE_BATCH", 8)
    store = FeatureStore(clip, disk=DiskCache(tmp_path), limit_bytes=1)
    parts = list(store.test(dataset, dataset.test, "projected", batch=8))
    assert [len(part) for part in parts] == [8] * 5
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 3
    assert_close(ImageFeatures.joined(parts), test_features(FeatureStore(clip), dataset, "projected"))


def test_views_of_another_smallest_crop_are_others_and_the_usual_ones_keep_their_place(clip, dataset, tmp_path):
    items = dataclasses.replace(dataset, train=dataset.train[:4])
    store = FeatureStore(clip, disk=DiskCache(tmp_path))
    usual, narrow = (train_features(store, items, view) for view in (View(1, 3), View(1, 3, 0.5)))
    assert (usual.pooled - narrow.pooled).abs().max() > 1e-3
    item, generator = items.train[2], view_generator(1, relative_path(items, items.train[2]), 3)
    view = train_view(open_image(item.path), clip.image_size, generator, 0.5)
    assert_close(narrow[2:3], clip.encode_images(normalise(torch.from_numpy(view.copy())[None])))
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 2
    assert repr(View(1, 3)) == "View(seed=1, epoch=3)", "as in the keys of features that are on disk already"


@pytest.mark.parametrize("views, encoded, more", [(1, 1, 10), (3, 3, 10), (7, 7, 10), (10, 10, 5)])
def test_repeated_views_are_encoded_once_as_in_the_first_epochs(clip, dataset, tmp_path, views, encoded, more):
    few = FeatureStore(clip, disk=DiskCache(tmp_path))
    repeated = [train_features(few, dataset, View(1, epoch % views, views=views)) for epoch in range(12)]
    assert few.encoder.images_encoded == encoded * len(dataset.train)
    fresh = FeatureStore(clip, disk=DiskCache(tmp_path))
    for epoch in range(12):
        assert_close(train_features(fresh, dataset, View(1, epoch % views)), repeated[epoch])
    train_features(fresh, dataset, View(1, 11))
    assert fresh.encoder.images_encoded == more * len(dataset.train), "whole groups of five epochs are shared"


@pytest.mark.parametrize("limit", [1 << 30, 1])
def test_rows_of_a_layer_are_encoded_a_few_at_a_time_and_never_written(clip, dataset, monkeypatch, tmp_path, limit):
    """With a large memory they are kept in it, else nowhere."""
    monkeypatch.setattr(features, "BLOCK_BYTES", 9 * FeatureStore(clip).bytes_per_image(1))
    store = FeatureStore(clip, disk=DiskCache(tmp_path), limit_bytes=limit, ahead=(None, 1, "projected"))
    sizes, encode = [], store.encoder.encode
    monkeypatch.setattr(store.encoder, "encode", lambda *a: sizes.append((len(a[1]), a[2])) or encode(*a))
    test, train = test_features(store, dataset, 1, batch=4), train_features(store, dataset, View(1, 0), 1, batch=4)
    if limit == 1:
        assert {kinds for _, [kinds] in sizes} == {1}
        assert max(count for count, _ in sizes) == 8, "whole batches"
    assert not list(tmp_path.glob("*/*.safetensors"))
    assert (store.memory.used > 0) == (limit > 1)
    for got, view in ((test, test_view(open_image(dataset.test[9].path), clip.image_size)),
                      (train, train_view(open_image(dataset.train[9].path), clip.image_size,
                                         view_generator(1, relative_path(dataset, dataset.train[9]), 0)))):  # fmt: skip
        wanted = clip.encode_images(normalise(torch.from_numpy(view.copy())[None]), 1)
        assert_close(got[9:10], wanted)
        assert (got[9:10].pooled - wanted.pooled).abs().max() < 2e-5


@pytest.mark.parametrize("limit", [1 << 30, 1])
def test_rows_come_with_the_pooled_features_that_other_methods_read(clip, dataset, limit):
    store, order = FeatureStore(clip, limit_bytes=limit), [5, 0, 3, 3]
    how = {"order": order, "batch": 2, "start": 1}
    [both] = store.train(dataset, dataset.train, View(1, 2), 1, pooled=True, **how)
    [known] = store.train(dataset, dataset.train, View(1, 2), None, **how)
    [rows] = store.train(dataset, dataset.train, View(1, 2), 1, **how)
    assert torch.equal(both.pooled, known.pooled)
    assert torch.equal(both.patches, rows.patches)
    assert (rows.pooled - known.pooled).abs().max() < 2e-5
