"""Compare transformers' image tower with ours: python -m benchmark.speed.image_tower [--json FILE].

Without patches only the class token is read, of which ours computes nothing else in the last layer; with projected
patches all rows are read. The peak of the matrix product is measured in every round, next to what it is compared with.
"""

import statistics

import torch
from torch import Tensor

from benchmark.clip.backbone import Clip
from benchmark.clip.layer import unit
from benchmark.costs.operations import Tower, image_operations
from benchmark.speed.geometry import random_clip
from benchmark.speed.measure import gemm_peak, make_parser, report, seconds

BATCHES = (1, 8, 32)


@torch.no_grad()
def theirs(clip: Clip, pixels: Tensor, patches: str | None) -> tuple[Tensor, Tensor | None]:
    """Return pooled features (B, D) and projected patches (B, P, D), unit length, by transformers' own forward."""
    out = clip.model.get_image_features(pixel_values=pixels)
    if patches is None:
        return unit(out.pooler_output), None
    normed = clip.model.vision_model.post_layernorm(out.last_hidden_state[:, 1:])
    return unit(out.pooler_output), unit(clip.model.visual_projection(normed))


def measure(clip: Clip, patches: str | None, batch: int, *, rounds: int) -> dict[str, object]:
    """Return one row of the table."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn((batch, 3, clip.image_size, clip.image_size), generator=generator).to(clip.device)
    sides = {"plain": lambda: theirs(clip, pixels, patches), "our": lambda: clip.encode_images(pixels, patches)}
    for side in sides.values():
        side()
    times = {name: [] for name in sides}
    peaks = []
    for _ in range(rounds):
        for name, side in sides.items():
            times[name].append(seconds(side))
        peaks.append(gemm_peak(clip.device, rounds=2))
    ratios, peak = [slow / fast for slow, fast in zip(times["plain"], times["our"], strict=True)], max(peaks)
    row = {"case": f"image-{patches or 'class'}", "batch": batch, "ratio": statistics.median(ratios)}
    row |= {"ratio_min": min(ratios), "ratio_max": max(ratios), "peak": peak}
    tower = Tower.vision(clip.model.config)
    for name, own in times.items():
        whole = image_operations(tower, class_only=patches is None and name == "our")
        rate = 1e-9 * batch * whole / statistics.median(own)
        row |= {f"{name}_seconds": statistics.median(own) / batch, f"{name}_gflops": rate}
        row[f"{name}_peak_share"] = rate / peak
    return row


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds per case (default: %(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="images (default: 1 8 32)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    clip = random_clip(options.device)
    rows = [
        measure(clip, patches, batch, rounds=options.rounds)
        for patches in (None, "projected")
        for batch in options.batches
    ]
    title = "The image tower: transformers' against ours (ViT-B/16's shape, random weights, float32; seconds an image)"
    report(rows, title=title, device=options.device, path=options.json)


if __name__ == "__main__":
    main()
