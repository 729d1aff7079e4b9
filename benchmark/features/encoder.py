"""Decode images, cut their views and encode them with the frozen image tower."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.clip.backbone import Clip, ImageFeatures, Patches
from benchmark.clip.text import free_memory, ran_out_of_memory
from benchmark.clip.vision import CPU_ROWS
from benchmark.common import shutdown
from benchmark.common.constants import CROP_SCALE
from benchmark.data.catalog import Dataset, Item, relative_path
from benchmark.data.images import normalise, open_image, test_view, train_view, view_generator
from benchmark.features.fingerprint import check_unchanged
from benchmark.features.memory import BoundedMemory

ENCODE_BATCH = 256  # images that are encoded together
STORE_BYTES = 1 << 30  # memory for features, and as much again for decoded images


@dataclass(frozen=True)
class View:
    """A view of an image: the test view, or the random train view of a (seed, epoch).

    Attributes:
        smallest_crop: smallest share of the image's area that a train view shows.
        views: number of views that the epochs of a training take in turn, above `epoch`; None if each has its own.
    """

    seed: int | None = None
    epoch: int | None = None
    smallest_crop: float = field(default=CROP_SCALE[0], repr=False)  # the repr is in the keys of cached features
    views: int | None = field(default=None, repr=False, compare=False)  # it does not change what is seen


TEST_VIEW = View()
ImageView = tuple[Item, View]


class ImageEncoder:
    """Encodes views of images.

    Args:
        clip: the frozen backbone.
        autocast: makes the context in which the tower runs (Accelerate's autocast).
        limit_bytes: memory for decoded training images.

    Attributes:
        images_encoded: number of views encoded so far.
        tower_batch: images per pass.
        halved: whether a pass did not fit in memory, so that `tower_batch` was halved.
    """

    def __init__(
        self,
        clip: Clip,
        *,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        limit_bytes: int = STORE_BYTES,
    ):
        self.clip, self.autocast = clip, autocast
        rows = clip.patch_count + 1
        self.images_encoded, self.halved = 0, False
        self.tower_batch = max(1, CPU_ROWS // rows) if clip.device.type == "cpu" else ENCODE_BATCH
        self._decoded = BoundedMemory(limit_bytes)

    def fresh(self) -> "ImageEncoder":
        """Return an encoder with the same settings and no decoded images."""
        return ImageEncoder(self.clip, autocast=self.autocast, limit_bytes=self._decoded.limit_bytes)

    def encode(
        self, dataset: Dataset, views: Sequence[ImageView], kinds: Sequence[Patches | None]
    ) -> list[ImageFeatures]:
        """Encode views once for each kind of patch features; threads decode ahead of the tower."""
        parts: list[list[ImageFeatures]] = [[] for _ in kinds]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            batches = [views[i : i + ENCODE_BATCH] for i in range(0, len(views), ENCODE_BATCH)]
            pending = None
            for batch in [*batches, None]:
                shutdown.check()
                submitted = None if batch is None else [pool.submit(self._pixels, dataset, *view) for view in batch]
                if pending is not None:
                    pixels = self._normalised(np.stack([future.result() for future in pending]))
                    for kind, part in zip(kinds, parts, strict=True):
                        part.append(self._through_the_tower(pixels, kind))
                pending = submitted
        self.images_encoded += len(views)
        return [ImageFeatures.joined(part) for part in parts]

    def _through_the_tower(self, pixels: Tensor, kind: Patches | None) -> ImageFeatures:
        """Run Clip.encode_images; if it does not fit in memory, halve the batch from then on."""
        while True:
            try:
                with self.autocast():
                    parts = [self.clip.encode_images(part, kind) for part in pixels.split(self.tower_batch)]
                return parts[0] if len(parts) == 1 else ImageFeatures.joined(parts)
            except RuntimeError as error:
                if not ran_out_of_memory(error) or self.tower_batch == 1:
                    raise
            self.tower_batch, self.halved = (min(self.tower_batch, len(pixels)) + 1) // 2, True
            free_memory()

    def _normalised(self, pixels: np.ndarray) -> Tensor:
        """Convert (B, S, S, 3) uint8 to normalised (B, 3, S, S) on the backbone's device."""
        tensor = torch.from_numpy(pixels)
        if self.clip.device.type == "cuda":
            tensor = tensor.pin_memory().to(self.clip.device, non_blocking=True)
        return normalise(tensor, self.clip.mean, self.clip.std, self.clip.dtype)

    def _pixels(self, dataset: Dataset, item: Item, view: View) -> np.ndarray:
        """Return a view, (S, S, 3) uint8; decoded training images are kept, since every epoch needs them again."""

        def read() -> Image.Image:
            check_unchanged(dataset, item)
            return open_image(item.path)

        if view == TEST_VIEW:
            return test_view(read(), self.clip.image_size)
        image = self._decoded.get(item.path, read, lambda i: 3 * i.width * i.height)
        generator = view_generator(view.seed, relative_path(dataset, item), view.epoch)
        return train_view(image, self.clip.image_size, generator, view.smallest_crop)
