"""Frozen image features: computed once, kept in memory within a bound, shared by the methods and seeds of a grid.

The image tower never trains, so features are only ever a function of the picture. The test view of an image is one
picture. Its train view is another one for every (seed, epoch): the random crop and flip are drawn from a generator
seeded by (seed, image, epoch), which makes the views of a run computable ahead of the run, in large batches, and the
same for every method.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.clip.backbone import Clip, ImageFeatures, Patches
from benchmark.data.catalog import Dataset, Item, relative_path
from benchmark.data.images import normalise, open_image, test_view, train_view, view_generator

ENCODE_BATCH = 256  # images through the tower at once
STORE_BYTES = 1 << 30  # features and decoded pictures kept in memory, each


@dataclass(frozen=True)
class View:
    """Which picture of an image: the test view, or the random view of a (seed, epoch)."""

    seed: int | None = None
    epoch: int | None = None


TEST_VIEW = View()


class _Bounded:
    """A mapping that forgets what was used longest ago once its values pass a number of bytes."""

    def __init__(self, limit: int):
        self.limit, self.used = limit, 0
        self._values: OrderedDict[object, tuple[object, int]] = OrderedDict()
        self._lock = threading.Lock()  # decoding threads share the pictures

    def get(self, key: object, make: Callable[[], object], size: Callable[[object], int]) -> object:
        """The value of a key, made now if it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
        value = make()
        with self._lock:
            if key not in self._values:
                self._values[key] = (value, size(value))
                self.used += size(value)
            while self.used > self.limit and len(self._values) > 1:
                self.used -= self._values.popitem(last=False)[1][1]
        return value


class FeatureStore:
    """Features of one backbone. Whole views of an item list are kept; what is too large for that is streamed.

    Args:
        clip: the frozen backbone.
        autocast: makes the context in which the tower runs (Accelerate's autocast).
        limit_bytes: memory for features; as much again may hold decoded training pictures.
    """

    def __init__(
        self,
        clip: Clip,
        *,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        limit_bytes: int = STORE_BYTES,
    ):
        self.clip, self._autocast, self._limit = clip, autocast, limit_bytes
        self._features, self._pictures = _Bounded(limit_bytes), _Bounded(limit_bytes)
        self.images_encoded = 0

    def bytes_per_image(self, patches: Patches | None) -> int:
        """Memory that the features of one image take."""
        width = {None: 0, "projected": self.clip.joint_width, "raw": self.clip.vision_width}[patches]
        return 4 * (self.clip.joint_width + self.clip.patch_count * width)

    def fits(self, count: int, patches: Patches | None) -> bool:
        """Whether this many images can be kept as a whole and leave room for a second view."""
        return count * self.bytes_per_image(patches) <= self._limit // 2

    def whole(self, dataset: Dataset, items: Sequence[Item], view: View, patches: Patches | None) -> ImageFeatures:
        """Features of all items in their order, on the backbone's device; kept for the next who asks."""
        key = (dataset.image_root, tuple(item.path for item in items), view, patches)
        return self._features.get(
            key,
            lambda: self._encode(dataset, items, view, patches),
            lambda _: len(items) * self.bytes_per_image(patches),
        )

    def stream(
        self, dataset: Dataset, items: Sequence[Item], view: View, patches: Patches | None, *, batch: int
    ) -> Iterator[ImageFeatures]:
        """Features of the items batch by batch, in their order; from memory where the whole fits there."""
        if self.fits(len(items), patches):
            features = self.whole(dataset, items, view, patches)
            yield from (features[i : i + batch] for i in range(0, len(items), batch))
            return
        ahead = max(1, ENCODE_BATCH // batch) * batch
        for first in range(0, len(items), ahead):
            features = self._encode(dataset, items[first : first + ahead], view, patches)
            yield from (features[i : i + batch] for i in range(0, len(features), batch))

    def _encode(self, dataset: Dataset, items: Sequence[Item], view: View, patches: Patches | None) -> ImageFeatures:
        """Decode, crop and encode; decoding runs in threads ahead of the tower."""
        parts = []
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            batches = [items[i : i + ENCODE_BATCH] for i in range(0, len(items), ENCODE_BATCH)]
            pending = None
            for batch in [*batches, None]:
                submitted = None if batch is None else [pool.submit(self._picture, dataset, i, view) for i in batch]
                if pending is not None:
                    pixels = torch.from_numpy(np.stack([future.result() for future in pending]))
                    with self._autocast():
                        parts.append(self.clip.encode_images(self._normalised(pixels), patches))
                pending = submitted
        self.images_encoded += len(items)
        local = None if patches is None else torch.cat([part.patches for part in parts])
        return ImageFeatures(torch.cat([part.pooled for part in parts]), local)

    def _normalised(self, pixels: Tensor) -> Tensor:
        """(B, S, S, 3) uint8 to (B, 3, S, S) on the backbone's device."""
        return normalise(pixels.to(self.clip.device, non_blocking=True), self.clip.mean, self.clip.std)

    def _picture(self, dataset: Dataset, item: Item, view: View) -> np.ndarray:
        """The view of one item, (S, S, 3) uint8; decoded training pictures are kept, for they come back each epoch."""
        if view == TEST_VIEW:
            return test_view(open_image(item.path), self.clip.image_size)
        image = self._pictures.get(item.path, lambda: open_image(item.path), lambda i: 3 * i.width * i.height)
        generator = view_generator(view.seed, relative_path(dataset, item), view.epoch)
        return train_view(image, self.clip.image_size, generator)
