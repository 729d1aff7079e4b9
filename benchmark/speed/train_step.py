"""Compare whole training steps of every learned method with ours: python -m benchmark.speed.train_step [--json F].

The plain side does what the authors' trainers do in a step: it encodes the images of the batch and all class prompts,
differentiates and updates. Ours reads the images' features from the store. CoPL has no authors' code; its plain side is
our method with the plain text tower. Batches are smaller than the recipes' if the plain side would take minutes per
step.
"""

import torch

from benchmark.clip.backbone import Clip
from benchmark.speed.geometry import class_names, random_clip
from benchmark.speed.measure import compare, gemm_peak, make_parser, report
from benchmark.speed.work import Work

BATCHES = {"coop": 8, "cocoop": 1, "kgcoop": 8, "prograd": 8, "copl": 1}


def measure(clip: Clip, method: str, classes: int, batch: int, *, rounds: int) -> dict[str, object]:
    """Return one row of the table."""
    both = Work(clip, method, class_names("imagenet", classes), batch, what="step", encode=True)
    row = {"case": f"{method}-step", "names": "imagenet", "classes": classes, "batch": batch}
    return row | compare(both.plain, both.ours, clip.device, rounds)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds per row (default: %(default)s)")
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 50], help="(default: %(default)s)")
    parser.add_argument("--methods", nargs="+", default=list(BATCHES), help="(default: all that learn)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    clip = random_clip(options.device)
    rows = [
        measure(clip, method, classes, BATCHES.get(method, 1), rounds=options.rounds)
        for classes in options.classes
        for method in options.methods
    ]
    peak = gemm_peak(options.device)
    title = f"Whole training steps (ViT-B/16's shape, random weights, float32; GEMM peak {peak:.0f} GFLOP/s)"
    report(rows, title=title, device=options.device, path=options.json)


if __name__ == "__main__":
    main()
