"""Feature stores for time estimates: one returns constant features, one counts what would be encoded."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch

from benchmark.clip.backbone import Clip, ImageFeatures, Patches
from benchmark.data.catalog import Dataset
from benchmark.features.cache import DiskCache, Tensors
from benchmark.features.encoder import STORE_BYTES, TEST_VIEW, ImageEncoder, ImageView
from benchmark.features.store import FeatureStore

SIZES = (4, 16, 64, 256, 1024)  # images encoded in one call; a small call takes longer per image


class _ConstantEncoder(ImageEncoder):
    """Returns the same unit vector for every view."""

    def encode(
        self, dataset: Dataset, views: Sequence[ImageView], kinds: Sequence[Patches | None]
    ) -> list[ImageFeatures]:
        return [self._constant(len(views), kind) for kind in kinds]

    def _constant(self, count: int, kind: Patches | None) -> ImageFeatures:
        shapes = self.clip.feature_shapes(count, kind)
        like = {"device": self.clip.device, "dtype": self.clip.learnable_dtype}
        tensors = {name: torch.full(shape, 1 / math.sqrt(shape[-1]), **like) for name, shape in shapes.items()}
        if isinstance(kind, int):
            return self.clip.layer_features(tensors["patches"], kind)
        return ImageFeatures(**tensors)


class StandInStore(FeatureStore):
    """A store of constant features, for timing training and scoring without encoding images."""

    def __init__(self, clip: Clip, *, limit_bytes: int = STORE_BYTES):
        super().__init__(clip, limit_bytes=limit_bytes, encoder=_ConstantEncoder(clip))


class _CountingEncoder(ImageEncoder):
    """Counts views by (dataset, view, kinds, size), and returns features without values."""

    def __init__(self, clip: Clip):
        super().__init__(clip)
        self.encoded: Counter[tuple[str, str, tuple[Patches | None, ...], int]] = Counter()
        self.opened: set[str] = set()

    def encode(
        self, dataset: Dataset, views: Sequence[ImageView], kinds: Sequence[Patches | None]
    ) -> list[ImageFeatures]:
        size = max(size for size in SIZES if size <= max(len(views), SIZES[0]))
        for item, view in views:
            name = "test" if view == TEST_VIEW else "seen" if item.path in self.opened else "new"
            self.encoded[dataset.name, name, tuple(kinds), size] += 1
            if name == "new":
                self.opened.add(item.path)
        return [ImageFeatures(torch.zeros(len(views), 1, device=self.clip.device)) for _ in kinds]


class _CountingDisk:
    """Counts the images whose features are in a disk cache, without reading or writing there."""

    def __init__(self, disk: DiskCache):
        self.disk, self.found = disk, 0
        self._made: set[str] = set()  # what the other store would write

    def has(self, key: str) -> bool:
        return key in self._made or self.disk.has(key)

    def get(self, key: str, make: Callable[[], Tensors], shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
        if not self.has(key):
            self._made.add(key)
            return make()
        count = shapes["pooled"][0]
        self.found += count * (key not in self._made)
        return {"pooled": torch.zeros(count, 1)}


class CountingStore(FeatureStore):
    """A store that counts what another store would encode for the same requests.

    It keeps and drops entries as the other store would.

    Args:
        other: the store that the runs will use.

    Attributes:
        encoded: (dataset, view, kinds of features, size) to number of views. The view is "test", "new" for a training
            image that must be decoded first, or "seen"; the size is the largest of SIZES that the call reached.
        opened: files of training images.
    """

    def __init__(self, other: FeatureStore):
        counting, disk = _CountingEncoder(other.clip), other.disk and _CountingDisk(other.disk)
        super().__init__(
            other.clip,
            limit_bytes=other.memory.limit_bytes,
            disk=disk,
            origin=other.origin,
            ahead=other.ahead,
            encoder=counting,
        )
        self.encoded, self.opened = counting.encoded, counting.opened
        self._real = other.encoder.fresh()

    @property
    def found(self) -> int:
        """Number of views whose features are on disk."""
        return self.disk.found if self.disk else 0

    @property
    def features_bytes(self) -> int:
        """Memory that the kept features would take."""
        return self.memory.used

    def encode(
        self, dataset: Dataset, views: Sequence[ImageView], kinds: Sequence[Patches | None]
    ) -> list[ImageFeatures]:
        """Encode views as the other store does."""
        return self._real.encode(dataset, views, kinds)
