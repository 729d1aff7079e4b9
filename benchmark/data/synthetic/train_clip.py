"""Train the embedded checkpoint, a small CLIP, on captioned generated images.

python -m benchmark.data.synthetic.train_clip --out benchmark/data/synthetic/checkpoint --steps 9000
"""

import argparse
import csv
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from benchmark.common.command import path_option
from benchmark.common.constants import CLIP_MEAN, CLIP_STD
from benchmark.data.synthetic.canvas import SIZE, Style
from benchmark.data.synthetic.captions import WEIGHTS, describe, facts_of, sample_attributes
from benchmark.data.synthetic.renderer import render
from benchmark.data.synthetic.suite import SYNTHETIC
from benchmark.data.synthetic.tokenizer import make_tokenizer
from benchmark.data.synthetic.zero_shot import accuracy

EASY_SHARE = 0.15  # of the training, at its start: plain, large, centered objects
LOG_EVERY = 250  # steps


class Pairs(IterableDataset):
    """Endless batches of (pixels, token ids, which captions are also true of other images)."""

    def __init__(self, tokenizer: CLIPTokenizer, *, seed: int, batch: int, easy_batches: int):
        self.tokenizer, self.seed, self.batch, self.easy_batches = tokenizer, seed, batch, easy_batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        rng = np.random.default_rng(self.seed)
        kinds, weights = list(WEIGHTS), np.array(list(WEIGHTS.values()), dtype=float)
        number = 0
        while True:
            easy = number < self.easy_batches
            pixels, texts, captioned, shown = [], [], [], []
            for kind in rng.choice(kinds, size=self.batch, p=weights / weights.sum()):
                attributes = sample_attributes(kind, rng, easy=easy)
                caption = describe(kind, attributes, rng)
                pixels.append(render(kind, attributes, rng, Style() if easy else training_style(rng)))
                texts.append(caption.text)
                captioned.append(caption.facts)
                shown.append(facts_of(kind, attributes))
            ids = self.tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
            also_true = torch.tensor(
                [[i != j and captioned[j] <= shown[i] for j in range(self.batch)] for i in range(self.batch)]
            )
            yield torch.from_numpy(np.stack(pixels)), ids, also_true
            number += 1


def training_style(rng: np.random.Generator) -> Style:
    """Return a mild random style, much weaker than the datasets' shifts."""
    return Style(
        hue=rng.uniform(-0.02, 0.02),
        light=rng.uniform(0.85, 1.1),
        wash=rng.uniform(0, 0.15),
        turn=rng.uniform(-0.15, 0.15),
        shear=rng.uniform(-0.1, 0.1),
        zoom=rng.uniform(0.85, 1.2),
        clutter=int(rng.integers(0, 4)) if rng.random() < 0.3 else 0,
        line_drawing=rng.random() < 0.05,
        blur=rng.uniform(0, 0.5) if rng.random() < 0.3 else 0.0,
        noise=rng.uniform(0, 0.03),
    )


def make_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Return a very small model of OpenAI's architecture."""
    shared = {"hidden_act": "quick_gelu", "hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2,
              "projection_dim": 128}  # fmt: skip
    text = shared | {
        "num_hidden_layers": 3,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }
    vision = shared | {"num_hidden_layers": 4, "image_size": SIZE, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def normalise(pixels: Tensor) -> Tensor:
    """Convert (B, S, S, 3) uint8 to normalised (B, 3, S, S)."""
    mean, std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    return ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def contrastive_loss(model: CLIPModel, pixels: Tensor, ids: Tensor, also_true: Tensor) -> Tensor:
    """Return CLIP's symmetric loss; a caption that is also true of another image is not a negative for it."""
    out = model(input_ids=ids, pixel_values=normalise(pixels))
    logits = out.logits_per_image.masked_fill(also_true, -torch.inf)
    labels = torch.arange(len(logits))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def learning_rate(share: float, peak: float) -> float:
    """Warm up over 2 % of the training, then a half cosine to a hundredth of the peak."""
    return peak * min(share / 0.02, 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))


def save(model: CLIPModel, tokenizer: CLIPTokenizer, out: Path) -> None:
    """Write a Hugging Face folder with weights in half precision."""
    half = CLIPModel(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    tokenizer.backend_tokenizer.model.save(str(out))
    side = {"height": SIZE, "width": SIZE}
    CLIPImageProcessor(
        size={"shortest_edge": SIZE}, crop_size=side, image_mean=list(CLIP_MEAN), image_std=list(CLIP_STD)
    ).save_pretrained(out)


def train(options: argparse.Namespace) -> None:
    """Train, and write a log row and a usable checkpoint every LOG_EVERY steps."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    tokenizer = make_tokenizer(options.out)
    model = make_model(tokenizer)
    optimizer = make_optimizer(model)
    pairs = Pairs(tokenizer, seed=options.seed, batch=options.batch, easy_batches=int(EASY_SHARE * options.steps))
    loader = iter(DataLoader(pairs, batch_size=None, num_workers=1, prefetch_factor=8))
    started, running, rows = time.perf_counter(), 0.0, []
    for step in range(1, options.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step / options.steps, options.learning_rate)
        loss = contrastive_loss(model, *next(loader))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        running += loss.item()
        if step % LOG_EVERY == 0:
            scale = model.logit_scale.exp().item()
            row = {"step": step, "seconds": round(time.perf_counter() - started), "loss": running / LOG_EVERY}
            rows.append(row | {"logit_scale": scale} | shares(model, tokenizer))
            write_log(rows, options.out)
            save(model, tokenizer, options.out)
            model.train()
            running = 0.0


def make_optimizer(model: CLIPModel) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def shares(model: CLIPModel, tokenizer: CLIPTokenizer) -> dict[str, float]:
    """Return zero-shot accuracy on ten images per class of each dataset, without its shift and with it."""
    return {
        f"{name}{'_shifted' * shifted}": accuracy(model, tokenizer, dataset, per_class=10, shifted=shifted)
        for shifted in (False, True)
        for name, dataset in SYNTHETIC.items()
    }


def write_log(rows: list[dict[str, float]], out: Path) -> None:
    """Write all rows so far and print a summary of the last one."""
    with open(out / "training_log.csv", "w", newline="", encoding="utf-8") as file:
        log = csv.DictWriter(file, fieldnames=list(rows[0]))
        log.writeheader()
        log.writerows({key: round(value, 4) for key, value in row.items()} for row in rows)
    last = rows[-1]
    plain, shifted = (np.mean([last[f"{name}{tail}"] for name in SYNTHETIC]) for tail in ("", "_shifted"))
    sys.stdout.write(
        f"step {last['step']}, {last['seconds']} s: loss {last['loss']:.3f}, zero-shot {plain:.3f}, "
        f"under shift {shifted:.3f}\n"
    )
    sys.stdout.flush()


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=path_option, required=True, help="folder of the checkpoint")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--batch", type=int, default=64, help="pairs per step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="peak (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=1, help="for the model; one more process generates images (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    train(options)


if __name__ == "__main__":
    main()
