"""Frozen image features: computed once, kept within bounds in memory and on disk, shared by methods, seeds, processes.

The image tower never trains, so features are only ever a function of the picture. The test view of an image is one
picture. Its train view is another one for every (seed, epoch): the random crop and flip are drawn from a generator
seeded by (seed, image, epoch), which makes the views of a run computable ahead of the run, in large batches, and the
same for every method.
"""

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import PIL
import torch
from torch import Tensor

from benchmark.clip.backbone import Clip, ImageFeatures, Patches
from benchmark.clip.memory import free_memory, ran_out_of_memory
from benchmark.common import shutdown
from benchmark.data.catalog import Dataset, Item, relative_path
from benchmark.data.images import VIEWS, normalise, open_image, test_view, train_view, view_generator
from benchmark.features.cache import DiskCache, key_of

ENCODE_BATCH = 256  # images through the tower at once
STORE_BYTES = 1 << 30  # features and decoded pictures kept in memory, each
BLOCK_BYTES = 1 << 27  # features of test images that are one entry
AHEAD_IMAGES = 2048  # train views encoded at once: as many whole epochs as hold no more images than this
AHEAD_EPOCHS = 10  # and no more than these, which divide the epochs of every recipe


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
        self._making: dict[object, threading.Lock] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get(self, key: object, make: Callable[[], object], size: Callable[[object], int]) -> object:
        """The value of a key, made now if it is not there; who asks for it meanwhile waits for it."""
        with self._lock:
            if key in self._values:
                return self._used_now(key)
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._used_now(key)
            try:
                value = make()
                with self._lock:
                    self._keep(key, value, size(value))
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def _used_now(self, key: object) -> object:
        self._values.move_to_end(key)
        return self._values[key][0]

    def _keep(self, key: object, value: object, size: int) -> None:
        self._values[key] = (value, size)
        self.used += size
        while self.used > self.limit and len(self._values) > 1:
            self.used -= self._values.popitem(last=False)[1][1]


class FeatureStore:
    """Features of one backbone.

    Test features are computed block by block, and a block is kept; so are the pooled features of train views. Patch
    features of train views are kept in memory where those of an epoch fit there, and else encoded just ahead of the
    steps that read them.

    Args:
        clip: the frozen backbone.
        autocast: makes the context in which the tower runs (Accelerate's autocast).
        limit_bytes: memory for features; as much again may hold decoded training pictures.
        disk: where features outlive the process; None keeps them in memory alone.
        origin: what features are a function of besides the picture: the checkpoint's hash, the precision.
        ahead: the patch features that somebody will ask for, so that no test image is decoded twice.
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
    ):
        self.clip, self._autocast, self._limit, self._disk = clip, autocast, limit_bytes, disk
        made_by = f"torch {torch.__version__}, pillow {PIL.__version__}, views {VIEWS}"
        self._origin = f"{origin} {clip.dtype} {clip.device.type} {made_by}"
        self._ahead = tuple(dict.fromkeys(ahead))
        self._features, self._pictures = _Bounded(limit_bytes), _Bounded(limit_bytes)
        self._digests: dict[tuple[str, ...], str] = {}
        self.images_encoded = 0
        self.tower_batch = ENCODE_BATCH  # less once that did not fit in memory

    def bytes_per_image(self, patches: Patches | None) -> int:
        """Memory that the features of one image take."""
        return 4 * sum(map(math.prod, self._shapes(1, patches).values()))

    def _shapes(self, count: int, patches: Patches | None) -> dict[str, tuple[int, ...]]:
        """Of the features of some images, by name."""
        width = {"projected": self.clip.joint_width, "raw": self.clip.vision_width}.get(patches)
        local = {} if width is None else {"patches": (count, self.clip.patch_count, width)}
        return {"pooled": (count, self.clip.joint_width)} | local

    def test(
        self, dataset: Dataset, items: Sequence[Item], patches: Patches | None, *, batch: int
    ) -> Iterator[ImageFeatures]:
        """Features of the test views, batch by batch in the order of the items, on the backbone's device."""
        widest = max(self.bytes_per_image(kind) for kind in (patches, *self._ahead))
        # whole batches of the tower: which images are encoded together must not depend on who else reads them
        block = max(1, BLOCK_BYTES // (widest * ENCODE_BATCH)) * ENCODE_BATCH
        for first in range(0, len(items), block):
            features = self._test_block(dataset, items[first : first + block], patches)
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
    ) -> Iterator[ImageFeatures]:
        """Features of the train views of items[order[0]], items[order[1]], ..., batch by batch, on the device.

        The first `start` batches are left out; the others are what they would be with them, byte by byte.
        """
        if patches is None or len(items) * self.bytes_per_image(patches) <= self._limit // 2:
            features = self._epoch(dataset, items, view, patches)
            index = torch.tensor(order, device=features.pooled.device)
            yield from (features[part] for part in index.split(batch)[start:])
            return
        chosen = [items[i] for i in order]
        ahead = max(1, ENCODE_BATCH // batch) * batch
        skipped = start * batch // ahead * ahead  # whole stretches: what is encoded together decides the last digits
        for first in range(skipped, len(chosen), ahead):
            features = self._encode(dataset, [(item, view) for item in chosen[first : first + ahead]], [patches])[0]
            left_out = max(0, start * batch - first)
            yield from (features[i : i + batch] for i in range(left_out, len(features), batch))

    def _test_block(self, dataset: Dataset, items: Sequence[Item], patches: Patches | None) -> ImageFeatures:
        """Features of some test images; whatever else will be asked of these images is computed with them."""
        kinds = list(dict.fromkeys((patches, *self._ahead)))
        made: dict[Patches | None, ImageFeatures] = {}

        def make(kind: Patches | None) -> ImageFeatures:
            if kind not in made:
                missing = [k for k in kinds if k == kind or not self._is_kept(dataset, items, k)]
                encoded = self._encode(dataset, [(item, TEST_VIEW) for item in items], missing)
                made.update(zip(missing, encoded, strict=True))
            return made[kind]

        features = self._kept(dataset, items, TEST_VIEW, 1, patches, lambda: make(patches))
        for kind in list(made):  # what came along is kept too
            self._kept(dataset, items, TEST_VIEW, 1, kind, lambda kind=kind: made[kind])
        return features

    def _epoch(self, dataset: Dataset, items: Sequence[Item], view: View, patches: Patches | None) -> ImageFeatures:
        """Train views of all items in one epoch, in their order; those of the epochs around it are computed along."""
        count = 1
        if patches is None:
            count = max(n for n in (1, 2, 5, AHEAD_EPOCHS) if n == 1 or n * len(items) <= AHEAD_IMAGES)
        first = view.epoch // count * count
        pictures = [(item, View(view.seed, epoch)) for epoch in range(first, first + count) for item in items]
        several = self._kept(
            dataset,
            items,
            View(view.seed, first),
            count,
            patches,
            lambda: self._encode(dataset, pictures, [patches])[0],
        )
        start = (view.epoch - first) * len(items)
        return several[start : start + len(items)]

    def _key(self, dataset: Dataset, items: Sequence[Item], view: View, epochs: int, patches: Patches | None) -> str:
        """Names features by all that they follow from; a picture stands for itself by path, size and time of change.

        The image folder counts too: pictures of two own datasets may have equal names, sizes and times. And the view
        of a picture depends on its path below that folder.
        """
        paths = (dataset.image_root, *(item.path for item in items))
        if paths not in self._digests:
            about = [(relative_path(dataset, item), os.stat(item.path)) for item in items]
            lines = (f"{path} {status.st_size} {status.st_mtime_ns}" for path, status in about)
            self._digests[paths] = key_of({"root": dataset.image_root, "files": "\n".join(lines)})
        return key_of(
            {"origin": self._origin, "files": self._digests[paths], "view": view, "epochs": epochs, "patches": patches}
        )

    def _kept(
        self,
        dataset: Dataset,
        items: Sequence[Item],
        view: View,
        epochs: int,
        patches: Patches | None,
        make: Callable[[], ImageFeatures],
    ) -> ImageFeatures:
        """From memory, else from disk, else made. Patches of train views serve one method and never go to disk."""
        key = self._key(dataset, items, view, epochs, patches)

        def read() -> ImageFeatures:
            if self._disk is None or (patches is not None and view != TEST_VIEW):
                return make()
            shapes = self._shapes(len(items) * epochs, patches)
            tensors = self._disk.get(
                key, lambda: make().tensors(), lambda found: {name: t.shape for name, t in found.items()} == shapes
            )
            return ImageFeatures(tensors["pooled"], tensors.get("patches")).to(self.clip.device)

        size = len(items) * epochs * self.bytes_per_image(patches)
        return self._features.get(key, read, lambda _: size)

    def _is_kept(self, dataset: Dataset, items: Sequence[Item], patches: Patches | None) -> bool:
        key = self._key(dataset, items, TEST_VIEW, 1, patches)
        return key in self._features or (self._disk is not None and self._disk.has(key))

    def _encode(
        self, dataset: Dataset, pictures: Sequence[tuple[Item, View]], kinds: Sequence[Patches | None]
    ) -> list[ImageFeatures]:
        """Decode, crop and encode, once for each kind of features; decoding runs in threads ahead of the tower."""
        parts: list[list[ImageFeatures]] = [[] for _ in kinds]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            batches = [pictures[i : i + ENCODE_BATCH] for i in range(0, len(pictures), ENCODE_BATCH)]
            pending = None
            for batch in [*batches, None]:
                shutdown.check()
                submitted = None if batch is None else [pool.submit(self._picture, dataset, *pair) for pair in batch]
                if pending is not None:
                    pixels = self._normalised(np.stack([future.result() for future in pending]))
                    for kind, part in zip(kinds, parts, strict=True):
                        part.append(self._through_the_tower(pixels, kind))
                pending = submitted
        self.images_encoded += len(pictures)
        return [ImageFeatures.joined(part) for part in parts]

    def _through_the_tower(self, pixels: Tensor, kind: Patches | None) -> ImageFeatures:
        """As Clip.encode_images; where it does not fit in memory, in parts of half the size from then on."""
        while True:
            try:
                with self._autocast():
                    parts = [self.clip.encode_images(part, kind) for part in pixels.split(self.tower_batch)]
                return parts[0] if len(parts) == 1 else ImageFeatures.joined(parts)
            except RuntimeError as error:
                if not ran_out_of_memory(error) or self.tower_batch == 1:
                    raise
            self.tower_batch = (min(self.tower_batch, len(pixels)) + 1) // 2
            free_memory()

    def _normalised(self, pixels: np.ndarray) -> Tensor:
        """(B, S, S, 3) uint8 to (B, 3, S, S) on the backbone's device."""
        tensor = torch.from_numpy(pixels)
        if self.clip.device.type == "cuda":
            tensor = tensor.pin_memory().to(self.clip.device, non_blocking=True)
        return normalise(tensor, self.clip.mean, self.clip.std)

    def _picture(self, dataset: Dataset, item: Item, view: View) -> np.ndarray:
        """The view of one item, (S, S, 3) uint8; decoded training pictures are kept, for they come back each epoch."""
        if view == TEST_VIEW:
            return test_view(open_image(item.path), self.clip.image_size)
        image = self._pictures.get(item.path, lambda: open_image(item.path), lambda i: 3 * i.width * i.height)
        generator = view_generator(view.seed, relative_path(dataset, item), view.epoch)
        return train_view(image, self.clip.image_size, generator)
