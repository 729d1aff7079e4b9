"""Compare the least memory that runs need with what there is, before anything is computed.

Counted is only what no smaller chunk of prompts or images avoids, so that a run which is refused surely cannot be done.
What it needs in fact is more: two to five times as much where prompts or a table of training images dominate.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

from benchmark.clip.backbone import Clip, ImageFeatures, dtype_of
from benchmark.clip.config import ClipConfig, TextConfig, VisionConfig, read_config
from benchmark.clip.outline import Outline
from benchmark.common.config import RunSpec
from benchmark.common.memory import with_swap
from benchmark.data.catalog import Dataset
from benchmark.features.encoder import ENCODE_BATCH
from benchmark.method import Method
from benchmark.planning.planned_run import PlannedRun
from benchmark.plugins.factory import create_method
from benchmark.prompts import PromptMethod
from benchmark.training.evaluate import score_batch

TIGHT = 1 / 4  # of the memory: above it there is a note


class Part(NamedTuple):
    """Something that must be in memory: its bytes, a name for messages, and what a user can do about it."""

    size: int
    what: str
    remedy: str


class MemoryCheck:
    """Decides which runs fit, and collects what there is to say.

    Args:
        folder: of the backbone; None if it is not downloaded yet, then its sizes are unknown and all runs fit.
    Attributes:
        least: bytes that the largest of the fitting runs needs at least.
        notes: about fitting runs for which memory is tight.
    """

    def __init__(self, folder: Path | None, *, device: str, precision: str):
        self._device = device
        self._config = None if folder is None else read_config(folder, str(folder))
        self._bytes = dtype_of(precision).itemsize
        self._total = memory_of(device)
        self._known: dict[RunSpec, list[Part]] = {}
        self._refused: Counter[tuple[str, str]] = Counter()  # what does not fit and what to do, to number of runs
        self._few: dict[tuple, dict[tuple[int, int], int]] = {}  # see _kept
        self._wide: Clip | None = None  # in the widths of the backbone, without values
        self.least = 0
        self.notes: list[str] = []

    @property
    def side_by_side(self) -> int:
        """Processes whose runs may fit into the memory together, one at least."""
        return max(1, self._total // max(1, self.least))

    def look_at(self, run: PlannedRun, method: Method) -> None:
        """Count what a run needs; `method` is an instance of its method, for any classes."""
        if self._config is not None and (key := run.alike) not in self._known:
            self._known[key] = self._parts(run, method)

    def fits(self, run: PlannedRun) -> bool:
        """Whether a run that was looked at is not known to need more memory than there is."""
        if not (parts := self._known.get(run.alike)):
            return True
        least, most = sum(part.size for part in parts), max(parts)
        spec, where = run.spec, self._device if self._device.startswith("cuda") else "this machine"
        needs = (
            f"{spec.method} on {spec.dataset} needs {_gigabytes(least)} or more in {spec.protocol}, most of it for "
            f"{most.what}, and {where} has {_gigabytes(self._total)}"
        )
        if least > self._total:
            self._refused[needs, most.remedy] += 1
            return False
        if least > TIGHT * self._total:
            self.notes.append(f"{needs}: it may not fit. {most.remedy}.")
        self.least = max(self.least, least)
        return True

    def refused(self) -> list[str]:
        """What does not fit, with the number of runs and what to do."""
        return [
            f"{needs}: its {'run is' if count == 1 else f'{count} runs are'} left out. {remedy}."
            for (needs, remedy), count in self._refused.items()
        ]

    def _parts(self, run: PlannedRun, method: Method) -> list[Part]:
        """What a run holds at one time: the backbone, what the method keeps, and the largest phase."""
        training_set = run.training_set()
        weights = Part(self._bytes * _weights(self._config), "the weights of the backbone", "Take a smaller --backbone")
        phases = [self._scoring(dataset, method) for dataset in (scored.dataset for scored, _ in run.scored_sets())]
        if run.spec.training is not None and not run.file:
            phases.append(self._step(run, training_set, method))
        if method.sample_views and not run.file:
            views, images = method.sample_views, len(training_set.train)
            size = views * images * self._image(method)
            what = f"{views} views of {images} training images"
            phases.append(Part(size, what, "Take fewer --shots"))
        return [weights, self._kept(run, training_set, method), max(phases)]

    def _image(self, method: Method) -> int:
        """Bytes of the features of one image."""
        vision, joint = self._config.vision_config, self._config.projection_dim
        width = {"projected": joint, "raw": vision.hidden_size}.get(method.needs_patches, 0)
        return self._bytes * (joint + (vision.image_size // vision.patch_size) ** 2 * width)

    def _prompts(self, images: int, classes: int, method: Method) -> int:
        """Bytes of the class prompts for a batch of images: the end rows twice, normed, and the features."""
        width, joint = self._config.text_config.hidden_size, self._config.projection_dim
        if not isinstance(method, PromptMethod):
            return self._bytes * classes * joint
        if not method.stands_in_front:  # all tokens of all classes are embedded before the first is encoded
            return self._bytes * classes * (method.ctx.shape[-2] + 3) * width
        return self._bytes * (images if method.conditional else 1) * classes * (3 * width + joint)

    def _scoring(self, dataset: Dataset, method: Method) -> Part:
        classes, images = len(dataset.class_names), len(dataset.test)
        at_once = min(images, score_batch(method, classes))
        size = self._prompts(at_once, classes, method) + min(images, ENCODE_BATCH) * self._image(method)
        return Part(
            size,
            f"scoring {classes} classes",
            "Take a dataset of fewer classes, or leave the method out with --methods",
        )

    def _step(self, run: PlannedRun, training_set: Dataset, method: Method) -> Part:
        classes, images = len(training_set.class_names), len(training_set.train)
        batch = min(run.spec.training.batch_size, images)
        read = batch if method.needs_patches else images  # pooled features of a whole epoch
        size = self._prompts(batch, classes, method) + read * self._image(method)
        prompts = f"{classes} prompts of each of" if getattr(method, "conditional", False) else f"{classes} prompts and"
        return Part(
            size,
            f"a training step of {prompts} {batch} image{'s' * (batch != 1)}",
            f"Take a smaller --set {run.spec.method}.batch_size, fewer --shots or fewer classes",
        )

    def _kept(self, run: PlannedRun, training_set: Dataset, method: Method) -> Part:
        """What the method learns, with gradient and momentum, and keeps of its images.

        Shapes are products of the numbers of classes and images: those with two and three of each give the rest.
        """
        classes, images = len(training_set.class_names), len(training_set.train)
        key = (run.spec.method, run.spec.options)
        if key not in self._few:
            self._few[key] = {(c, n): self._kept_of_few(run, method, c, n) for c in (2, 3) for n in (2, 3)}
        few = self._few[key]
        per_class, per_image = few[3, 2] - few[2, 2], few[2, 3] - few[2, 2]
        per_pair = few[3, 3] - few[3, 2] - per_image
        size = few[2, 2] + (classes - 2) * per_class + (images - 2) * (per_image + (classes - 2) * per_pair)
        return Part(size, f"what it keeps of {images} images and {classes} classes", "Take fewer --shots or classes")

    def _kept_of_few(self, run: PlannedRun, method: Method, classes: int, images: int) -> int:
        """Bytes that a method keeps in the widths of the backbone, of images that are all alike."""
        options, names = dict(run.spec.options), ("a", "b", "c")[:classes]
        clip = self._wide = self._wide or Clip(
            Outline(self._config, narrow=False), method.clip.tokenizer, method.clip.name
        )
        try:
            made = create_method(
                run.spec.method, clip=clip, class_names=names, template=run.spec.template, config=options
            )
            if made.sample_views and not run.file:
                width = {"projected": clip.joint_width, "raw": clip.vision_width}.get(made.needs_patches)
                local = None if width is None else torch.ones(images, clip.patch_count, width)
                view = ImageFeatures(torch.ones(images, clip.joint_width), local)
                made.take_sample([view] * made.sample_views, torch.zeros(images, dtype=torch.long))
        except Exception:  # a method outside the repository need not work with such images: nothing is known of it
            return 0
        copies = 3 if run.spec.training is not None else 1
        learned = sum(value.numel() for value in made.learnable())
        return copies * self._bytes * learned + sum(value.nbytes for value in made.buffers())


def memory_of(device: str) -> int:
    """Bytes that a process on a device can have at most."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_properties(torch.device(device)).total_memory
    return with_swap()


def _weights(config: ClipConfig) -> int:
    """Number of weights in memory: those of both towers, and the copies of the text tower's that it computes with."""
    text, vision, joint = config.text_config, config.vision_config, config.projection_dim
    embedded = (text.vocab_size + text.max_position_embeddings) * text.hidden_size
    patches = 3 * vision.patch_size**2 * vision.hidden_size
    joints = joint * (text.hidden_size + vision.hidden_size)
    copies = 3 * text.num_hidden_layers * text.hidden_size**2
    return embedded + patches + joints + _layers(text) + _layers(vision) + copies


def _layers(tower: TextConfig | VisionConfig) -> int:
    width = tower.hidden_size
    return tower.num_hidden_layers * (4 * width**2 + 2 * width * tower.intermediate_size)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
