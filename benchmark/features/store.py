"""Provide frozen image features, computed once and shared by methods, seeds and processes.

The image tower never trains, so the features of a view never change. An image has one test view, and a train view for
every (seed, epoch): the generator of its random crop and flip is seeded by (seed, image, epoch). So the train views
of a run can be encoded ahead of the run, in large batches, and are the same for every method. A training with fewer
views than epochs repeats those of the first epochs.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import PIL
import torch

from benchmark.clip.backbone import Clip, ImageFeatures, Patches
from benchmark.data.catalog import Dataset, Item
from benchmark.data.images import VIEWS
from benchmark.features.cache import DiskCache, key_of
from benchmark.features.encoder import ENCODE_BATCH, STORE_BYTES, TEST_VIEW, ImageEncoder, ImageView, View
from benchmark.features.fingerprint import contents
from benchmark.features.memory import BoundedMemory

BLOCK_BYTES = 1 << 27  # features of test images in one cache entry, or rows of a layer encoded at once
AHEAD_EPOCHS = 5  # of train views are encoded at once, at most; they divide the epochs of the recipes
AHEAD_IMAGES = 2048  # and on a CPU whole epochs of at most so many views


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """Which features of which images: items of a dataset in one view, or in the views of several epochs.

    Attributes:
        view: of the first epoch.
        epochs: number of epochs.
        patches: kind of patch features, or None for pooled features only.
    """

    dataset: Dataset
    items: Sequence[Item]
    view: View = TEST_VIEW
    epochs: int = 1
    patches: Patches | None = None

    @property
    def count(self) -> int:
        """Number of views."""
        return len(self.items) * self.epochs

    def views(self) -> list[ImageView]:
        """Return the views, epoch by epoch."""
        if self.view == TEST_VIEW:
            return [(item, TEST_VIEW) for item in self.items]
        epochs = range(self.view.epoch, self.view.epoch + self.epochs)
        return [(item, replace(self.view, epoch=epoch)) for epoch in epochs for item in self.items]


def epochs_together(images: int, device: str) -> int:
    """Return how many epochs of the train views of a sample are encoded at once, on a "cpu" or another device.

    A CPU would take hours to encode five epochs of a large sample before the first step. Another device takes seconds,
    and decoding the images once for five epochs saves more.
    """
    if device != "cpu":
        return AHEAD_EPOCHS
    return max(n for n in (1, 2, AHEAD_EPOCHS) if n == 1 or n * images <= AHEAD_IMAGES)


class FeatureStore:
    """Features of one backbone.

    Test features are computed and kept in blocks, pooled features of train views in groups of epochs. Patch features
    of train views, and rows of a layer, are kept in memory if those of an epoch or of a test list fit there, and are
    otherwise encoded just before they are needed.

    Args:
        clip: the frozen backbone.
        autocast: makes the context in which the tower runs (Accelerate's autocast).
        limit_bytes: memory for features, and as much again for decoded training images.
        disk: keeps features after the process ends; None: memory only.
        origin: what features depend on besides the image: the checkpoint's hash, the precision.
        ahead: kinds of patch features that will be needed, so that each test image is decoded once. Rows of a layer are
            not made ahead: they are too large to keep.
        encoder: computes the features; None: an ImageEncoder of `clip`.
    """

    def __init__(
        self,
        clip: Clip,
        *,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        limit_bytes: int = STORE_BYTES,
        disk: DiskCache | None = None,
        origin: str = "",
        ahead: Collection[Patches | None] = (),
        encoder: ImageEncoder | None = None,
    ):
        self.clip, self.disk, self.origin = clip, disk, origin
        self.ahead = tuple(kind for kind in dict.fromkeys(ahead) if not isinstance(kind, int))
        self.encoder = encoder or ImageEncoder(clip, autocast=autocast, limit_bytes=limit_bytes)
        self.memory = BoundedMemory(limit_bytes)
        versions = f"torch {torch.__version__}, pillow {PIL.__version__}, views {VIEWS}"
        self._made_by = f"{origin} {clip.dtype} {clip.device.type} {versions}"
        self._digests: dict[tuple[str, ...], str] = {}

    def bytes_per_image(self, patches: Patches | None) -> int:
        """Return the memory that the features of one image take."""
        return self.clip.learnable_dtype.itemsize * sum(map(math.prod, self.clip.feature_shapes(1, patches).values()))

    def test(
        self, dataset: Dataset, items: Sequence[Item], patches: Patches | None, *, batch: int
    ) -> Iterator[ImageFeatures]:
        """Yield the features of test views, batch by batch in the order of the items, on the backbone's device."""
        if isinstance(patches, int) and not self._fits(len(items), patches):
            yield from self._just_ahead(dataset, [(item, TEST_VIEW) for item in items], patches, batch)
            return
        widest = max(map(self.bytes_per_image, self._along(patches)))
        # whole batches of the tower, so that which images are encoded together does not depend on other readers
        block = max(1, BLOCK_BYTES // (widest * ENCODE_BATCH)) * ENCODE_BATCH
        for first in range(0, len(items), block):
            selection = Selection(dataset=dataset, items=items[first : first + block], patches=patches)
            features = self._test_block(selection)
            yield from (features[i : i + batch] for i in range(0, len(features), batch))

    def train(
        self,
        dataset: Dataset,
        items: Sequence[Item],
        view: View,
        patches: Patches | None,
        *,
        order: Sequence[int],
        batch: int,
        start: int = 0,
        pooled: bool = False,
    ) -> Iterator[ImageFeatures]:
        """Yield the features of train views of items[order[0]], items[order[1]], ..., batch by batch, on the device.

        The first `start` batches are skipped; the others are the same bytes as without skipping. With `pooled`, rows of
        a layer come with the pooled features that are kept for all methods.
        """
        if pooled and isinstance(patches, int):
            how = {"order": order, "batch": batch, "start": start}
            both = (self.train(dataset, items, view, kind, **how) for kind in (None, patches))
            yield from (ImageFeatures(kept.pooled, own.patches) for kept, own in zip(*both, strict=True))
            return
        if patches is None or self._fits(len(items), patches):
            features = self._epoch(Selection(dataset=dataset, items=items, view=view, patches=patches))
            index = torch.tensor(order, device=self.clip.device)
            yield from (features[part] for part in index.split(batch)[start:])
            return
        yield from self._just_ahead(dataset, [(items[i], view) for i in order], patches, batch, start)

    def _fits(self, count: int, patches: Patches) -> bool:
        """Whether the features of so many images may stay in memory."""
        return count * self.bytes_per_image(patches) <= self.memory.limit_bytes // 2

    def _just_ahead(
        self, dataset: Dataset, views: Sequence[ImageView], patches: Patches, batch: int, start: int = 0
    ) -> Iterator[ImageFeatures]:
        """Encode a few batches at a time and keep none; the first `start` batches are skipped."""
        images = ENCODE_BATCH
        if isinstance(patches, int):
            images = min(images, BLOCK_BYTES // self.bytes_per_image(patches))
        ahead = max(1, images // batch) * batch
        skipped = start * batch // ahead * ahead  # whole groups: what is encoded together affects the last digits
        for first in range(skipped, len(views), ahead):
            features = self.encoder.encode(dataset, views[first : first + ahead], [patches])[0]
            left_out = max(0, start * batch - first)
            yield from (features[i : i + batch] for i in range(left_out, len(features), batch))

    def _along(self, patches: Patches | None) -> list[Patches | None]:
        """The kinds of features that are computed along with one kind: none with rows, as the others' blocks differ."""
        return [patches] if isinstance(patches, int) else list(dict.fromkeys((patches, *self.ahead)))

    def _test_block(self, block: Selection) -> ImageFeatures:
        """Return the features of some test images; other kinds that will be needed are computed along with them."""
        kinds = self._along(block.patches)
        made: dict[Patches | None, ImageFeatures] = {}

        def make(kind: Patches | None) -> ImageFeatures:
            if kind not in made:
                missing = [k for k in kinds if k == kind or not self._is_kept(replace(block, patches=k))]
                made.update(zip(missing, self._encode(block, missing), strict=True))
            return made[kind]

        features = self._get(block, lambda: make(block.patches))
        for kind in list(made):
            self._get(replace(block, patches=kind), lambda kind=kind: made[kind])
        return features

    def _epoch(self, selection: Selection) -> ImageFeatures:
        """Return the train views of one epoch in the order of the items; neighboring epochs are computed with them."""
        size = len(selection.items)
        count = epochs_together(size, self.clip.device.type) if selection.patches is None else 1
        first = selection.view.epoch // count * count
        if selection.view.views is not None:
            count = min(count, selection.view.views - first)  # views that no epoch takes are not encoded
        group = replace(selection, view=replace(selection.view, epoch=first), epochs=count)
        features = self._get(group, lambda: self._encode(group, [group.patches])[0])
        start = (selection.view.epoch - first) * size
        return features[start : start + size]

    def _encode(self, selection: Selection, kinds: Sequence[Patches | None]) -> list[ImageFeatures]:
        """Encode views; those of a large sample image by image, so that each is decoded once for its epochs."""
        views, images = selection.views(), len(selection.items)
        if selection.epochs == 1 or len(views) <= AHEAD_IMAGES:
            return self.encoder.encode(selection.dataset, views, kinds)
        made = self.encoder.encode(selection.dataset, [view for i in range(images) for view in views[i::images]], kinds)
        places = torch.arange(len(views), device=self.clip.device).view(images, -1).T.flatten()
        return [features[places] for features in made]

    def _key(self, selection: Selection) -> str:
        """Return the cache key: a hash of all that the features depend on.

        An image is identified by its content and by its path in the dataset, which seeds its views.
        """
        dataset, items = selection.dataset, selection.items
        paths = (dataset.image_root, *(item.path for item in items))
        if paths not in self._digests:
            self._digests[paths] = key_of({"name": dataset.name, "images": contents(dataset, items)})
        view = selection.view
        crop = {} if view.smallest_crop == View.smallest_crop else {"smallest_crop": view.smallest_crop}
        return key_of(
            {
                "origin": self._made_by,
                "images": self._digests[paths],
                "view": view,
                "epochs": selection.epochs,
                "patches": selection.patches,
                **crop,
            }
        )

    def _get(self, selection: Selection, make: Callable[[], ImageFeatures]) -> ImageFeatures:
        """Return features from memory, else from disk, else made.

        Patches of train views and rows of a layer never go to disk.
        """
        key, patches = self._key(selection), selection.patches
        in_memory_only = isinstance(patches, int) or (patches is not None and selection.view != TEST_VIEW)

        def read() -> ImageFeatures:
            if self.disk is None or in_memory_only:
                return make()
            tensors = self.disk.get(key, lambda: make().tensors(), self.clip.feature_shapes(selection.count, patches))
            return ImageFeatures(tensors["pooled"], tensors.get("patches")).to(self.clip.device)

        return self.memory.get(key, read, lambda _: selection.count * self.bytes_per_image(patches))

    def _is_kept(self, selection: Selection) -> bool:
        key = self._key(selection)
        return key in self.memory or (self.disk is not None and self.disk.has(key))
