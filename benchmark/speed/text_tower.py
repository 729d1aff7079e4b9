"""Compare the plain text tower with ours: python -m benchmark.speed.text_tower [--json FILE] [--growth].

CoCoOp's training step and scoring are measured with given image features, CoOp's training step as a whole: there the
plain side encodes the images of the batch as the authors do, and ours reads their features from the store.
"""

from dataclasses import dataclass

import torch

from benchmark.clip.backbone import Clip
from benchmark.speed.geometry import class_names, random_clip
from benchmark.speed.measure import compare, gemm_peak, make_parser, peak_bytes, report, seconds
from benchmark.speed.work import Work


@dataclass(frozen=True)
class Case:
    """One row: the computation, its class names and its number of images."""

    case: str
    names: str
    classes: int
    batch: int


CASES = (
    *(Case("cocoop-train", "imagenet", classes, 1) for classes in (10, 50, 100)),
    Case("cocoop-train", "cars", 98, 1),
    *(Case("cocoop-eval", "imagenet", classes, 8) for classes in (10, 50)),
    Case("cocoop-eval", "cars", 98, 8),
    Case("coop-train", "imagenet", 10, 8),
    Case("coop-train", "imagenet", 50, 32),
)
GROWTH = (
    *(Case("cocoop-train", "imagenet", classes, 1) for classes in (10, 30, 100, 300, 1000)),
    *(Case("cocoop-train", "imagenet", 10, batch) for batch in (2, 4, 8, 16)),
    *(Case("cocoop-eval", "imagenet", 50, batch) for batch in (1, 8, 64)),
)


def work(clip: Clip, case: Case) -> Work:
    """Return the computation of a case; for CoOp a whole step, in which the plain side encodes the images.

    The plain side scores image by image, so that two of them are enough to time it.
    """
    name, kind = case.case.split("-")
    scoring, whole = kind == "eval", name == "coop"
    what = "scoring" if scoring else "step" if whole else "gradients"
    plain_images = min(2, case.batch) if scoring else None
    names = class_names(case.names, case.classes)
    return Work(clip, name, names, case.batch, what=what, encode=whole, plain_images=plain_images)


def measure(clip: Clip, case: Case, *, rounds: int, peak: float) -> dict[str, object]:
    """Return one row of the table."""
    both = work(clip, case)
    part = both.plain_images / both.batch
    row = vars(case) | compare(both.plain, both.ours, clip.device, rounds, part=part)
    return row | {"peak_share": 1e-9 * both.operations() / row["our_seconds"] / peak}


def grow(clip: Clip, case: Case, *, peak: float) -> dict[str, object]:
    """Return one row of the growth table, for ours only: the plain way needs tens of gigabytes at 1000 classes."""
    both = work(clip, case)
    spent = min(seconds(both.ours) for _ in range(4))
    return {
        **vars(case),
        "our_seconds": spent,
        "our_megabytes": peak_bytes(both.ours, clip.device) / 1e6,
        "peak_share": 1e-9 * both.operations() / spent / peak,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="most paired rounds of a case (default: %(default)s)")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="only these: cocoop-train, cocoop-eval, coop-train")
    parser.add_argument("--growth", action="store_true", help="measure instead how ours grows with classes and images")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    clip, peak = random_clip(options.device), gemm_peak(options.device)
    cases = [case for case in (GROWTH if options.growth else CASES) if not options.cases or case.case in options.cases]
    if options.growth:
        rows, title = [grow(clip, case, peak=peak) for case in cases], "The text tower: growth"
    else:
        rows = [measure(clip, case, rounds=options.rounds, peak=peak) for case in cases]
        title = "The text tower: the authors' computation against ours"
    title += f" (ViT-B/16's shape, random weights, float32; GEMM peak {peak:.0f} GFLOP/s)"
    report(rows, title=title, device=options.device, path=options.json)


if __name__ == "__main__":
    main()
