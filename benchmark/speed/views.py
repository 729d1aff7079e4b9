"""Measure what the views of images cost on a CPU core: python -m benchmark.speed.views [--json FILE].

Generated JPEGs of the sizes that are usual in each of the paper's datasets are read, cut and normalised by the
functions of the harness; the threads of a run do so while the image tower works. A row has the milliseconds of each
part, how many train views a core draws in a second, how many cores keep a GPU busy, and the core hours of the
base-to-new table with all six methods: every test image once; for each seed, the train views of the method with most
epochs, which the others share, and those of CoPL, which keeps none.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmark.common.config import load_suite
from benchmark.common.constants import CROP_SCALE
from benchmark.common.provenance import sha256_file
from benchmark.data.catalog import load_catalog
from benchmark.data.images import mirrored, normalise, open_image, random_part, test_view, view_generator
from benchmark.features.encoder import STORE_BYTES
from benchmark.features.store import epochs_together
from benchmark.plugins.recipes import resolve_recipe
from benchmark.speed.grid import generated_jpeg
from benchmark.speed.measure import make_parser, report, seconds

SIZES = {  # dataset -> usual width and height
    "imagenet": (500, 375),
    "caltech101": (300, 200),
    "oxford_pets": (500, 375),
    "stanford_cars": (700, 480),
    "oxford_flowers": (600, 500),
    "food101": (512, 512),
    "fgvc_aircraft": (1024, 700),
    "sun397": (1000, 750),
    "dtd": (500, 450),
    "eurosat": (64, 64),
    "ucf101": (320, 240),
}
SEEDS, SHOTS, CORES = 3, 16, 16  # of the table, and of the machine that computes it
VIEW = 224  # pixels of ViT-B/16
GPU_VIEWS = 0.40 * 790e12 / 35e9  # views a second: 35 GFLOP each, at 40 % of 790 TFLOP/s


def milliseconds(work: Callable[[], object], repeats: int, rounds: int = 3) -> float:
    """Return the milliseconds of a call: the best mean of some rounds."""
    work()
    return 1e3 * min(seconds(work, repeats) for _ in range(rounds))


def generators() -> Iterator[torch.Generator]:
    """Yield the generators of the train views of one image."""
    return (view_generator(1, "image.jpg", epoch) for epoch in itertools.count())


def parts_of(jpeg: bytes, *, views: int, device: torch.device) -> dict[str, float]:
    """Return the milliseconds of each part of a view of an image.

    Args:
        views: train views to cut, each at random.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.jpg"
        path.write_bytes(jpeg)
        decode = milliseconds(lambda: (sha256_file(path), open_image(str(path))), max(1, views // 4))
        image = open_image(str(path))
    drawn, ends = generators(), generators()
    crop = milliseconds(lambda: random_part(image, VIEW, next(drawn), CROP_SCALE[0]), views)
    part = random_part(image, VIEW, next(drawn), CROP_SCALE[0])
    mirror = milliseconds(lambda: mirrored(part, next(ends)), views)
    batch = [mirrored(part, next(ends)) for _ in range(views)]
    stack = milliseconds(lambda: np.stack(batch), 1) / views
    pixels = torch.from_numpy(np.stack(batch))
    there = pixels.to(device)
    return {
        "decode": decode,
        "crop, resize": crop,
        "mirror": mirror,
        "stack": stack,
        "upload": 0.0 if device.type == "cpu" else milliseconds(lambda: pixels.pin_memory().to(device), 1) / views,
        "normalise": milliseconds(lambda: normalise(there), 1) / views,
        "test view": milliseconds(lambda: test_view(image, VIEW), max(1, views // 4)),
    }


def counts_of(dataset: str, size: tuple[int, int]) -> dict[str, int]:
    """Return the train views, test views and decoded images of the table for one dataset, on a GPU."""
    entry = load_catalog()[dataset]
    images = SHOTS * -(-entry.classes // 2)
    recipes = {
        name: resolve_recipe(name, template=entry.template, protocol="base2new", dataset=dataset, shots=SHOTS)
        for name in load_suite("paper").methods
    }
    epochs = {name: recipe.training.epochs for name, recipe in recipes.items() if recipe.training}
    own = epochs.pop("copl")
    shared, tests = max(epochs.values()), entry.counts["test"]
    if SEEDS * images * 3 * size[0] * size[1] <= STORE_BYTES:  # all samples stay decoded
        decoded = images
    else:
        decoded = images * own + images * shared // epochs_together(images, "cuda")
    return {"views": SEEDS * images * (shared + own), "tests": tests, "decoded": SEEDS * decoded + tests}


def measure(dataset: str, *, views: int, device: torch.device) -> dict[str, object]:
    """Return the row of a dataset."""
    size = SIZES[dataset]
    parts, counts = parts_of(generated_jpeg(size), views=views, device=device), counts_of(dataset, size)
    view = parts["crop, resize"] + parts["mirror"] + parts["stack"]
    spent = counts["decoded"] * parts["decode"] + counts["views"] * view + counts["tests"] * parts["test view"]
    return {
        "dataset": dataset,
        "size": f"{size[0]} x {size[1]}",
        **parts,
        "views a second": 1e3 / view,
        "cores": GPU_VIEWS * view / 1e3,
        "cores, decoding": GPU_VIEWS * (view + parts["decode"]) / 1e3,
        **{name: count / 1e3 for name, count in counts.items()},
        "core hours": spent / 3.6e6,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, threads="of the computations on the device")
    parser.add_argument("--datasets", nargs="+", metavar="NAME", choices=SIZES, default=list(SIZES), help="only these")
    parser.add_argument("--views", type=int, default=128, help="train views in a measurement (default: %(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    rows = [measure(dataset, views=options.views, device=device) for dataset in options.datasets]
    whole = sum(row["core hours"] for row in rows)
    total = dict.fromkeys(rows[0]) | {name: sum(row[name] for row in rows) for name in ("views", "tests", "decoded")}
    rows.append(total | {"dataset": "all", "core hours": whole})
    title = f"""Views of {VIEW} pixels: milliseconds of each part; thousands of views, test images and decoded images.
A GPU encodes {GPU_VIEWS:.0f} views a second (35 GFLOP each, 40 % of 790 TFLOP/s).
The table takes {whole / CORES:.2f} hours of {CORES} cores."""
    report(rows, title=title, device=options.device, path=options.json)


if __name__ == "__main__":
    main()
