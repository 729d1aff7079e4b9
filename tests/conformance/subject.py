"""Create methods as the harness does, and features of random images, for the checks of the kit."""

import functools
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from benchmark.clip.backbone import Clip, ImageFeatures, Patches, load_clip
from benchmark.common.config import load_suite
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import BenchmarkError
from benchmark.method import Method
from benchmark.plugins.factory import create_method
from benchmark.plugins.importer import method_class, method_error

NAMES = ("circle", "square", "star", "cross", "triangle")
OTHERS = ("dots", "stripes")
TEMPLATE = "a photo of a {}."
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
RATE = 0.05  # learning rate of the kit's few steps; high enough to change logits
SAMPLED = 2  # images per class for a method that reads its training images


@functools.cache
def embedded_clip(dtype: torch.dtype = torch.float32) -> Clip:
    """The CLIP of this repository."""
    return load_clip(CHECKPOINT, dtype=dtype)


def suite_options(name: str) -> dict[str, object]:
    """What the embedded suite sets of a method's options, such as layers that its small CLIP has."""
    known = method_class(name).option_names()
    return {key: value for key, value in load_suite("synthetic").recipes.get(name, {}).items() if key in known}


@functools.cache
def features_of(clip: Clip, count: int, patches: Patches | None, seed: int) -> ImageFeatures:
    """Features of random images; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return clip.encode_images(torch.randn(count, 3, clip.image_size, clip.image_size, generator=generator), patches)


@dataclass(frozen=True)
class Subject:
    """A method to check.

    Attributes:
        config: options other than its recipe's and the embedded suite's.
        clip: the frozen CLIP.
    """

    name: str
    config: Mapping[str, object] = field(default_factory=dict)
    clip: Clip = field(default_factory=embedded_clip)

    @property
    def options(self) -> dict[str, object]:
        """Options other than the recipe's."""
        return {**suite_options(self.name), **self.config}

    def make(
        self,
        *,
        seed: int = 0,
        names: Sequence[str] = NAMES,
        template: str = TEMPLATE,
        clip: Clip | None = None,
        with_sample: bool = True,
    ) -> Method:
        """A new method in evaluation mode, after take_sample if it reads its training images."""
        method = create_method(
            self.name,
            clip=clip or self.clip,
            class_names=names,
            template=template,
            config=self.options,
            seed=seed,
        )
        if with_sample and method.sample_views:
            labels = torch.arange(len(names)).repeat(SAMPLED)
            seeds = range(1000 * (1 + seed), 1000 * (1 + seed) + method.sample_views)  # each seed has another sample
            with torch.no_grad():
                method.take_sample([images_for(method, count=len(labels), seed=s) for s in seeds], labels)
        return method.eval()


def images_for(method: Method, *, count: int = len(LABELS), seed: int = 0) -> ImageFeatures:
    """Features of random images from the method's CLIP, with the patches that it declares."""
    return features_of(method.clip, count, method.needs_patches, seed)


@torch.no_grad()
def logits_of(method: Method) -> Tensor:
    """Logits of the kit's images, as evaluation computes them."""
    return method(images_for(method))


def gradients(method: Method, factor: float = 1.0) -> list[Tensor | None]:
    """Gradients of the scaled loss, in the order of `learnable`."""
    method.zero_grad()
    method.backward(method.loss(images_for(method), LABELS).scaled(factor))
    return [parameter.grad for parameter in method.learnable()]


def train(method: Method, steps: int = 3) -> Method:
    """Take a few steps of SGD if the method learns."""
    if not method.learnable():
        return method
    method.train()
    optimizer = torch.optim.SGD(method.learnable(), lr=RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        method.backward(method.loss(images_for(method), LABELS))
        optimizer.step()
    return method.eval()


def differ(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors differ by more than rounding errors."""
    return one.shape != other.shape or bool((one - other).abs().max() > 1e-5 * max(10.0, one.abs().max().item()))


def refusal(call: Callable[[], object]) -> BenchmarkError | None:
    """The error that a call raises; None if it raises none."""
    try:
        call()
    except BenchmarkError as error:
        return error
    return None


def rule_of(check: Callable[[Subject], None]) -> str:
    """The docstring of a check: the rule and its reason."""
    return " ".join(check.__doc__.split())


def hold(check: Callable[[Subject], None], subject: Subject) -> None:
    """Run a check; a failure states the rule, its reason and what was seen."""
    try:
        check(subject)
    except AssertionError as error:
        seen = str(error)
    except Exception as error:  # raised by the method's code
        message = error if isinstance(error, BenchmarkError) else method_error(subject.name, error)
        seen = f"{message}\n\n{traceback.format_exc()}"
    else:
        return
    pytest.fail(f"{rule_of(check)}\nSeen in {subject.name}: {seen}", pytrace=False)
