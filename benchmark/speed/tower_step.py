"""Compare training steps of methods that learn inside the towers: python -m benchmark.speed.tower_step [--json F].

The plain side does what the authors' trainers do in a step: all prompts of 77 tokens and the images of the batch pass
through the whole towers, forward and backward, and the learned values are updated. Ours computes the rows that enter
the first edited image layer in the step, as they are not kept; pooled features (all that TCP reads, and PromptSRC's
teacher) come from the store. TCP's plain side gets them too, PromptSRC's encodes them, as its authors do.
"""

import torch
from torch import Tensor

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.clip.layer import unit
from benchmark.common.constants import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY
from benchmark.costs.operations import Tower, image_layers, rows_operations, text_layers
from benchmark.costs.passes import image_passes, text_pass
from benchmark.plugins.factory import create_method
from benchmark.speed.geometry import class_names, random_clip
from benchmark.speed.measure import compare, gemm_peak, make_parser, report
from benchmark.speed.plain.towers import make_plain_towers, plain_images
from benchmark.towers import TowerMethod

TEMPLATE = "a photo of a {}."
CASES = (  # method, classes, images
    *(("maple", classes, 4) for classes in (10, 50, 100)),
    *(("promptsrc", classes, 4) for classes in (10, 50, 100)),
    ("tcp", 50, 32),
    ("mma", 50, 16),
)


class TowerWork:
    """A training step of one method, for both sides with the same images and start."""

    def __init__(self, clip: Clip, name: str, classes: int, batch: int):
        self.clip, self.batch = clip, batch
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randn((batch, 3, clip.image_size, clip.image_size), generator=generator).to(clip.device)
        self.labels = torch.randint(classes, (batch,), generator=generator).to(clip.device)
        names = class_names("imagenet", classes)
        self.method, self.plain_method = (
            create_method(name, clip=clip, class_names=names, template=TEMPLATE, seed=1) for _ in range(2)
        )
        make_plain_towers(self.plain_method, name, TEMPLATE)
        self.pooled = clip.encode_images(self.pixels).pooled
        self._optimizers = {
            method: torch.optim.SGD(method.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
            for method in (self.method, self.plain_method)
        }

    def ours(self) -> Tensor:
        """Compute a step as the harness does; return the total loss."""
        images = ImageFeatures(self.pooled)
        if self.method.needs_patches is not None:
            images = self.clip.encode_images(self.pixels, self.method.needs_patches)
            if self.method.needs_pooled:
                images = ImageFeatures(self.pooled, images.patches)
        return self._step(self.method, images)

    def plain(self) -> Tensor:
        """Compute a step as the authors do."""
        given = self.method.needs_patches is None
        images = ImageFeatures(self.pooled) if given else plain_images(self.clip, self.pixels)
        return self._step(self.plain_method, images)

    def _step(self, method: TowerMethod, images: ImageFeatures) -> Tensor:
        optimizer = self._optimizers[method]
        optimizer.zero_grad()
        losses = method.loss(images, self.labels)
        method.backward(losses)
        optimizer.step()
        return losses.total.detach()

    def operations(self) -> int:
        """Return the operations of ours in both towers, forward and backward."""
        text, image = (make(self.clip.model.config) for make in (Tower.text, Tower.vision))
        found = text_pass(self.method, text.layers)
        counts = text_layers(text, self.method.text_plan, found.added, self.method.apart_from)[0]
        whole = sum(counts) + sum(counts[found.learned :])
        for found in image_passes(self.method, training=True):
            counts = image_layers(image, found.first, found.added, found.read)
            each = rows_operations(image, found.first) + sum(counts) + sum(counts[found.learned - found.first :])
            whole += self.batch * each
        return whole


def measure(clip: Clip, name: str, classes: int, batch: int, *, rounds: int, peak: float) -> dict[str, object]:
    """Return one row of the table."""
    both = TowerWork(clip, name, classes, batch)
    row = {"case": f"{name}-step", "names": "imagenet", "classes": classes, "batch": batch}
    row |= compare(both.plain, both.ours, clip.device, rounds)
    gflop = 1e-9 * both.operations()
    return row | {"our_gflop": gflop, "peak_share": gflop / row["our_seconds"] / peak}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds per case (default: %(default)s)")
    parser.add_argument("--classes", type=int, nargs="+", help="only these numbers of classes")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="only these")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    clip, peak = random_clip(options.device), gemm_peak(options.device)
    # hand-written prompts are encoded before the training, and their values do not matter here
    clip.encode_texts = lambda texts, **_: unit(torch.randn(len(texts), clip.joint_width, device=clip.device))
    rows = [
        measure(clip, name, classes, batch, rounds=options.rounds, peak=peak)
        for name, classes, batch in CASES
        if name in (options.methods or [name]) and classes in (options.classes or [classes])
    ]
    title = "Training steps inside the towers: the authors' computation against ours"
    title += f" (ViT-B/16's shape, random weights, float32; GEMM peak {peak:.0f} GFLOP/s)"
    report(rows, title=title, device=options.device, path=options.json)


if __name__ == "__main__":
    main()
