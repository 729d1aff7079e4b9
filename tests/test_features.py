"""The feature store: what is computed once, what is shared, what is streamed."""

import dataclasses

import pytest
import torch

from benchmark import features
from benchmark.data.catalog import load_dataset
from benchmark.data.images import normalise, open_image, test_view, train_view, view_generator
from benchmark.data.splits import few_shot, half
from benchmark.data.synthetic.suite import materialise
from benchmark.features import TEST_VIEW, FeatureStore, View


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A small sample of the embedded actions: 2 shots, 40 test pictures."""
    root = tmp_path_factory.mktemp("suite")
    materialise(root, ["synth_actions"])
    whole = load_dataset("synth_actions", root)
    train, val = few_shot(whole, shots=2, seed=1)
    return dataclasses.replace(whole, train=train, val=val, test=whole.test[::10])


def test_test_features_are_those_of_the_test_view(clip, dataset):
    got = FeatureStore(clip).whole(dataset, dataset.test, TEST_VIEW, "projected")
    view = test_view(open_image(dataset.test[3].path), clip.image_size)
    wanted = clip.encode_images(normalise(torch.from_numpy(view.copy())[None]), "projected")
    assert (got.pooled[3] - wanted.pooled[0]).abs().max() < 1e-5
    assert (got.patches[3] - wanted.patches[0]).abs().max() < 1e-5


def test_train_features_are_those_of_the_seed_image_and_epoch(clip, dataset):
    got = FeatureStore(clip).whole(dataset, dataset.train, View(2, 5), None)
    item = dataset.train[4]
    generator = view_generator(2, item.path.removeprefix(dataset.image_root + "/"), 5)
    view = train_view(open_image(item.path), clip.image_size, generator)
    wanted = clip.encode_images(normalise(torch.from_numpy(view.copy())[None]))
    assert (got.pooled[4] - wanted.pooled[0]).abs().max() < 1e-5


def test_second_method_decodes_and_encodes_nothing(clip, dataset, monkeypatch):
    store, decoded = FeatureStore(clip), []
    monkeypatch.setattr(features, "open_image", lambda path: decoded.append(path) or open_image(path))
    for _ in range(2):
        store.whole(dataset, dataset.test, TEST_VIEW, None)
        store.whole(dataset, dataset.train, View(1, 0), None)
        store.whole(dataset, dataset.train, View(1, 1), None)
    assert len(decoded) == len(dataset.test) + len(dataset.train), "training pictures are decoded once for all epochs"
    assert store.images_encoded == len(dataset.test) + 2 * len(dataset.train)


def test_streamed_features_equal_those_kept_whole(clip, dataset):
    kept, streaming = FeatureStore(clip), FeatureStore(clip, limit_bytes=1)
    assert not streaming.fits(len(dataset.test), "projected")
    parts = list(streaming.stream(dataset, dataset.test, TEST_VIEW, "projected", batch=7))
    assert [len(part) for part in parts] == [7] * 5 + [5]
    whole = kept.whole(dataset, dataset.test, TEST_VIEW, "projected")
    assert (torch.cat([part.patches for part in parts]) - whole.patches).abs().max() < 1e-5


def test_store_forgets_what_was_used_longest_ago(clip, dataset):
    size = len(dataset.train) * FeatureStore(clip).bytes_per_image(None)
    store = FeatureStore(clip, limit_bytes=2 * size)
    for epoch in (0, 1, 0, 2, 0):
        store.whole(dataset, dataset.train, View(1, epoch), None)
    assert store.images_encoded == 3 * len(dataset.train), "epoch 0 was always used lately"
    store.whole(dataset, dataset.train, View(1, 1), None)
    assert store.images_encoded == 4 * len(dataset.train)


def test_halves_are_kept_apart(clip, dataset):
    store = FeatureStore(clip)
    base, new = half(dataset, "base"), half(dataset, "new")
    first = store.whole(base, base.test, TEST_VIEW, None)
    second = store.whole(new, new.test, TEST_VIEW, None)
    assert len(first) + len(second) == len(dataset.test)
    assert not torch.equal(first.pooled[0], second.pooled[0])
