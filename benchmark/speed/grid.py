"""Estimate the hours of the paper's whole base-to-new table: python -m benchmark.speed.grid [--json FILE].

Eleven datasets with their real numbers of classes and test images, every method with its recipe, three seeds, 16 shots.
Measured: a step and a scored image of each (dataset, method), and decoding and encoding of one image, with ViT-B/16's
shape, random weights and generated JPEGs; multiplied by their numbers. The plain side is measured at 10 and 50 classes
and extrapolated linearly (at 500 it needs tens of gigabytes); it decodes and encodes every image each time.
"""

import io

import numpy as np
import torch
from PIL import Image

from benchmark.clip.backbone import Clip
from benchmark.common.config import Training, load_suite
from benchmark.data.catalog import load_catalog
from benchmark.data.images import normalise, test_view
from benchmark.plugins.recipes import resolve_recipe
from benchmark.speed.geometry import class_names, random_clip
from benchmark.speed.measure import gemm_peak, make_parser, report, seconds
from benchmark.speed.work import Work
from benchmark.training.schedule import batches_per_epoch

SIDE = (500, 375)  # pixels of a generated photograph
IMAGES = 16  # encoded at once, to measure one


def generated_jpeg(size: tuple[int, int] = SIDE, seed: int = 0) -> bytes:
    """Return smooth noise as a JPEG of quality 90, with the roughness of a photograph; `size` is (width, height)."""
    coarse = np.random.default_rng(seed).integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def image_seconds(clip: Clip) -> tuple[float, float]:
    """Return the seconds to decode one image on one core, and to encode one."""
    jpeg = generated_jpeg()

    def decode() -> np.ndarray:
        return test_view(Image.open(io.BytesIO(jpeg), formats=("JPEG",)).convert("RGB"), clip.image_size)

    pixels = normalise(torch.from_numpy(np.stack([decode()] * IMAGES)).to(clip.device))
    return seconds(decode, 8), min(seconds(lambda: clip.encode_images(pixels, "projected")) for _ in range(2)) / IMAGES


def plain_seconds(clip: Clip, what: str) -> np.polynomial.Polynomial:
    """Measure the plain text tower for one context, without images, as a linear function of the number of classes.

    It costs the same for CoOp and CoCoOp.
    """
    counts, times = (10, 50), []
    for classes in counts:
        work = Work(clip, "cocoop", class_names("imagenet", classes), 1, what=what, encode=False)
        times.append(min(seconds(work.plain) for _ in range(2)))
    return np.polynomial.Polynomial.fit(counts, times, deg=1)


class Table:
    """The measurements of the grid, dataset by dataset."""

    def __init__(self, clip: Clip, *, seeds: int, shots: int, workers: int):
        self.clip, self.seeds, self.shots = clip, seeds, shots
        decode, encode = image_seconds(clip)
        self.image = max(decode / workers, encode)  # decoding runs ahead of the tower
        self.plain_step, self.plain_scoring = plain_seconds(clip, "gradients"), plain_seconds(clip, "scoring")

    def row(self, dataset: str, method: str, *, first: bool) -> dict[str, object]:
        """Return the row of a (dataset, method), for all seeds; `first`: count the test images for this method."""
        entry = load_catalog()[dataset]
        classes, tests = entry.classes, entry.counts["test"]
        base = -(-classes // 2)
        names = class_names("cars" if dataset == "stanford_cars" else "imagenet", base)
        training = resolve_recipe(method, [], template=entry.template, protocol="base2new", dataset=dataset,
                                  shots=self.shots).training  # fmt: skip
        row = {"case": "grid", "dataset": dataset, "method": method, "classes": base, "steps": 0}
        views = self._views(training, base)
        ours, plain = tests * self.image * first, self.seeds * tests * self.image
        if training is None:
            return row | self._hours(ours, plain)
        work = Work(self.clip, method, names, 1, what="step", encode=False)
        row["steps"] = self.seeds * training.epochs * batches_per_epoch(self.shots * base, training.batch_size)
        row["our_ms_a_step"] = 1e3 * min(seconds(work.ours) for _ in range(2))
        backward = 1.5 if work.method.edits_gradients else 1  # ProGrad differentiates twice
        row["plain_ms_a_step"] = 1e3 * (self.plain_step(base) * backward + training.batch_size * self.image)
        # only CoPL's views have patches; the others share theirs, counted for CoOp, which has the most
        own_views = views if work.method.needs_patches is not None or method == "coop" else 0
        ours += 1e-3 * row["steps"] * row["our_ms_a_step"] + own_views * self.image
        plain += 1e-3 * row["steps"] * row["plain_ms_a_step"]
        if work.method.conditional:
            scoring = Work(self.clip, method, names, 4, what="scoring", encode=False)
            ours += self.seeds * tests * min(seconds(scoring.ours) for _ in range(2)) / 4
            plain += self.seeds * tests * self.plain_scoring(base)
        return row | self._hours(ours, plain)

    def _views(self, training: Training | None, classes: int) -> int:
        return 0 if training is None else self.seeds * training.epochs * self.shots * classes

    def _hours(self, ours: float, plain: float) -> dict[str, float]:
        return {"our_hours": ours / 3600, "plain_hours": plain / 3600, "ratio": plain / max(ours, 1e-9)}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, threads="CPU threads, and decoding cores")
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help="only these (default: the paper's eleven)")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="only these (default: the paper's six)")
    parser.add_argument("--seeds", type=int, default=3, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    clip = random_clip(options.device)
    table = Table(clip, seeds=options.seeds, shots=16, workers=options.threads)
    methods = options.methods or load_suite("paper").methods
    rows = []
    for dataset in options.datasets or load_suite("paper").datasets:
        rows += [table.row(dataset, method, first=i == 0) for i, method in enumerate(methods)]
    ours, plain = (sum(row[key] for row in rows) for key in ("our_hours", "plain_hours"))
    steps = sum(row["steps"] for row in rows)
    total = {"case": "grid", "dataset": "total", "method": "all", "classes": None, "steps": steps}
    rows.append(total | {"our_hours": ours, "plain_hours": plain, "ratio": plain / ours})
    peak = gemm_peak(options.device)
    title = f"The whole base-to-new table, hours extrapolated from what is measured; GEMM peak {peak:.0f} GFLOP/s"
    report(rows, title=title, device=options.device, path=options.json)


if __name__ == "__main__":
    main()
