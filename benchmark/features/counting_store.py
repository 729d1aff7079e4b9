"""Feature stores for measuring: one hands out features of nothing, one keeps account of what would be encoded."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import torch

from benchmark.clip.backbone import ImageFeatures, Patches
from benchmark.data.catalog import Dataset, Item
from benchmark.features.store import TEST_VIEW, FeatureStore, View

Picture = tuple[Item, View]
SIZES = (4, 16, 64, 256, 1024)  # pictures encoded in one call: few of them take longer each


class StandInStore(FeatureStore):
    """A store whose pictures all look alike: training and scoring read them as real ones, and wait for none."""

    def _encode(
        self, dataset: Dataset, pictures: Sequence[Picture], kinds: Sequence[Patches | None]
    ) -> list[ImageFeatures]:
        return [self._alike(len(pictures), kind) for kind in kinds]

    def _alike(self, count: int, kind: Patches | None) -> ImageFeatures:
        widths = {"projected": self.clip.joint_width, "raw": self.clip.vision_width}

        def unit_rows(*shape: int) -> torch.Tensor:
            return torch.full(shape, 1 / math.sqrt(shape[-1]), device=self.clip.device)

        patches = None if kind is None else unit_rows(count, self.clip.patch_count, widths[kind])
        return ImageFeatures(unit_rows(count, self.clip.joint_width), patches)


class CountingStore(FeatureStore):
    """A store that encodes nothing: asked for what runs read, it knows which pictures another one would encode.

    It remembers and forgets as the other one, looks at what lies on disk, and neither reads nor writes there.

    Args:
        other: the store that the runs will use.

    Attributes:
        encoded: (dataset, view, kinds of features, size) to pictures; the view is "test", or "new" for a training
            picture whose file is opened first, or "seen"; the size is that of SIZES which their batch came up to.
        found: pictures whose features lie on disk.
        opened: files of training pictures.
    """

    def __init__(self, other: FeatureStore):
        super().__init__(other.clip, autocast=other._autocast, limit_bytes=other._limit, ahead=other._ahead)
        self._origin, self._shelf = other._origin, other._disk
        self.encoded: Counter[tuple[str, str, tuple[Patches | None, ...], int]] = Counter()
        self.found, self.opened = 0, set()

    @property
    def features_bytes(self) -> int:
        """Memory that the features it keeps would take."""
        return self._features.used

    def encode(
        self, dataset: Dataset, pictures: Sequence[Picture], kinds: Sequence[Patches | None]
    ) -> list[ImageFeatures]:
        """What the other store does with these pictures, really."""
        return super()._encode(dataset, pictures, kinds)

    def _encode(
        self, dataset: Dataset, pictures: Sequence[Picture], kinds: Sequence[Patches | None]
    ) -> list[ImageFeatures]:
        size = max(size for size in SIZES if size <= max(len(pictures), SIZES[0]))
        for item, view in pictures:
            name = "test" if view == TEST_VIEW else "seen" if item.path in self.opened else "new"
            self.encoded[dataset.name, name, tuple(kinds), size] += 1
            if name == "new":
                self.opened.add(item.path)
        return [self._blank(len(pictures)) for _ in kinds]

    def _kept(
        self,
        dataset: Dataset,
        items: Sequence[Item],
        view: View,
        epochs: int,
        patches: Patches | None,
        make: Callable[[], ImageFeatures],
    ) -> ImageFeatures:
        key, count = self._key(dataset, items, view, epochs, patches), len(items) * epochs

        def find() -> ImageFeatures:
            if self._shelf is None or not self._shelf.has(key):
                return make()
            self.found += count
            return self._blank(count)

        return super()._kept(dataset, items, view, epochs, patches, find)

    def _is_kept(self, dataset: Dataset, items: Sequence[Item], patches: Patches | None) -> bool:
        key = self._key(dataset, items, TEST_VIEW, 1, patches)
        return super()._is_kept(dataset, items, patches) or (self._shelf is not None and self._shelf.has(key))

    def _blank(self, count: int) -> ImageFeatures:
        return ImageFeatures(torch.zeros(count, 1, device=self.clip.device))
