"""Time the decoding and encoding of images of a dataset."""

import math
from collections.abc import Mapping, Sequence

from benchmark.clip.backbone import Patches
from benchmark.costs.forecast import Work
from benchmark.costs.stopwatch import Stopwatch
from benchmark.data.catalog import Dataset
from benchmark.data.images import open_image
from benchmark.features.counting_store import SIZES, CountingStore
from benchmark.features.encoder import TEST_VIEW, ImageView, View
from benchmark.features.store import FeatureStore

SHORTEST_IMAGES = 0.4  # seconds; longer than other timings, since images take much of the time of a grid
TINY = 1e-12  # seconds; avoids a division by 0

Kinds = tuple[Patches | None, ...]


class ImageTimer:
    """Times images with the store that the runs use; `datasets` are those of the runs, by name."""

    def __init__(self, store: FeatureStore, datasets: Mapping[str, Dataset], stopwatch: Stopwatch):
        self.store, self.datasets, self.stopwatch = store, datasets, stopwatch

    def work(self, name: str, view: str, kinds: Kinds, size: int, count: int, *, forgets: bool) -> Work:
        """The work to decode and encode `count` images of a dataset.

        Args:
            view, kinds, size: as in CountingStore.encoded.
            forgets: the memory is too small to keep decoded images for the next epoch.
        """
        view, dataset = "new" if view == "seen" and forgets else view, self.datasets[name]
        return Work(
            count, self.stopwatch.once((name, view, kinds, size), lambda: self._seconds(dataset, view, kinds, size))
        )

    def bytes_per_image(self, name: str) -> int:
        """Mean size in memory of a decoded training image."""
        images = [open_image(item.path) for item in self.datasets[name].train[: SIZES[0]]]
        return sum(3 * image.width * image.height for image in images) // len(images)

    def _seconds(self, dataset: Dataset, view: str, kinds: Kinds, most: int) -> float:
        """Seconds for one image in a batch of `most`, or of fewer if a smaller batch lasts long enough."""
        for size in SIZES[: SIZES.index(most) + 1]:
            images = _images(dataset, view, size)
            seconds = self._encode(dataset, view, kinds, images)
            if seconds >= SHORTEST_IMAGES:
                return seconds / size
        rounds = math.ceil(SHORTEST_IMAGES / max(seconds, TINY))
        return sum(self._encode(dataset, view, kinds, images) for _ in range(rounds)) / (rounds * size)

    def _encode(self, dataset: Dataset, view: str, kinds: Kinds, images: Sequence[ImageView]) -> float:
        """Seconds for some images."""
        store = CountingStore(self.store)
        if view == "seen":
            store.encode(dataset, images, kinds[:1])
        started = self.stopwatch.now()
        store.encode(dataset, images, kinds)
        return self.stopwatch.now() - started


def _images(dataset: Dataset, view: str, count: int) -> list[ImageView]:
    """Images of a dataset, from several epochs if it has fewer than `count`."""
    items = dataset.test if view == "test" else dataset.train
    return [(items[i % len(items)], TEST_VIEW if view == "test" else View(0, i // len(items))) for i in range(count)]
