"""Measure zero-shot accuracy on the suite and check that no dataset is near chance or solved.

python -m benchmark.data.synthetic.zero_shot
"""

import sys

import numpy as np
import torch
from transformers import CLIPModel, CLIPTokenizer

from benchmark.common.constants import CLIP_MEAN, CLIP_STD
from benchmark.data.synthetic.suite import CHECKPOINT, PER_CLASS, SYNTHETIC, SyntheticDataset, generate_image

MEAN_RANGE = (0.40, 0.80)  # of zero-shot accuracy over the datasets
MOST, TIMES_CHANCE = 0.95, 2.0  # bounds for each dataset


@torch.no_grad()
def accuracy(
    model: CLIPModel, tokenizer: CLIPTokenizer, dataset: SyntheticDataset, *, per_class: int, shifted: bool = True
) -> float:
    """Return the share of test images whose most similar class prompt is their own."""
    model.eval()
    texts = [dataset.template.format(name) for name in dataset.classes]
    ids = tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
    pixels = np.stack(
        [generate_image(dataset, c, "test", i, shifted=shifted) for c in range(len(texts)) for i in range(per_class)]
    )
    values = (torch.from_numpy(pixels).float() / 255 - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    out = model(input_ids=ids, pixel_values=values.permute(0, 3, 1, 2))
    labels = torch.arange(len(texts)).repeat_interleave(per_class)
    return (out.logits_per_image.argmax(-1) == labels).float().mean().item()


def measure() -> dict[str, tuple[float, float]]:
    """Return dataset to (accuracy, chance) of the embedded checkpoint on all test images."""
    model = CLIPModel.from_pretrained(CHECKPOINT, dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(CHECKPOINT)
    return {
        name: (accuracy(model, tokenizer, dataset, per_class=PER_CLASS["test"]), 1 / len(dataset.classes))
        for name, dataset in SYNTHETIC.items()
    }


def main() -> int:
    """Print the accuracies; return 0 if all are within bounds."""
    results = measure()
    for name, (share, chance) in results.items():
        fits = TIMES_CHANCE * chance <= share <= MOST
        sys.stdout.write(
            f"{name:16} {100 * share:5.1f} %   chance {100 * chance:4.1f} %   {'' if fits else 'OUT OF RANGE'}\n"
        )
    mean = float(np.mean([share for share, _ in results.values()]))
    sys.stdout.write(f"{'mean':16} {100 * mean:5.1f} %   wanted {MEAN_RANGE}\n")
    fits = MEAN_RANGE[0] <= mean <= MEAN_RANGE[1]
    return 0 if fits and all(TIMES_CHANCE * c <= s <= MOST for s, c in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
