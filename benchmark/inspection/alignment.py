"""Compute the weight of each prompt token for each image patch with the method of a recorded run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmark.clip.backbone import Clip
from benchmark.common.config import RunSpec
from benchmark.data.images import normalise, open_image, test_view
from benchmark.errors import ConfigError, RecordError
from benchmark.inspection.recorded_run import backbone_of, learned_by
from benchmark.method import Method
from benchmark.plugins.discovery import method_names
from benchmark.plugins.factory import create_method
from benchmark.plugins.importer import code_of, method_class
from benchmark.records.record import RunRecord

# Weights depend on images and learned values, not on class names, so any name will do and no dataset is needed.
ANY_CLASS = ("thing",)


@dataclass(frozen=True)
class Alignment:
    """The weights of prompt tokens for image patches.

    Attributes:
        views: (B, S, S, 3) uint8, the views that were encoded.
        weights: (B, P, M), of each context vector for each patch, patches row by row; over M they sum to one.
    """

    views: np.ndarray
    weights: np.ndarray


def alignment_of(record: RunRecord, path: Path, images: Sequence[Path]) -> Alignment:
    """Compute the weights of a recorded run on the test views of image files, on the CPU.

    Args:
        path: of the record; its learned tensors are next to it.
    Raises:
        ConfigError: the method has no alignment, or the run used no patches.
        RecordError: the learned tensors or the checkpoint are missing, damaged, or not the run's.
        DataError: an image cannot be read.
    """
    check_method(record.spec)
    opened = [open_image(str(image)) for image in images]
    method, clip = trained_method(record, path)
    if method.needs_patches is None:
        raise ConfigError(
            f"{path}: this run of '{record.spec.method}' used each image as a single patch (local: false), so there "
            "are no weights to show. Give a record of a run with local: true."
        )
    views = np.stack([test_view(image, clip.image_size) for image in opened])
    return Alignment(views, weights_of(method, clip, views))


def trained_method(record: RunRecord, path: Path) -> tuple[Method, Clip]:
    """Return the method of a record with its learned values, and its CLIP; errors as in alignment_of."""
    state = learned_by(record, path)
    method, clip = untrained_method(record.spec, ANY_CLASS)
    method.load_learned_state(state)
    return method, clip


def untrained_method(spec: RunSpec, class_names: Sequence[str]) -> tuple[Method, Clip]:
    """Return the method of a run as it starts its training, and its CLIP.

    Raises:
        RecordError: the checkpoint is not the run's.
    """
    clip = backbone_of(spec)
    options = {"template": spec.template, "config": dict(spec.options), "seed": spec.seed}
    return create_method(spec.method, clip=clip, class_names=class_names, **options), clip


@torch.no_grad()
def weights_of(method: Method, clip: Clip, views: np.ndarray) -> np.ndarray:
    """Return `method.alignment` of views (B, S, S, 3): (B, P, M)."""
    pixels = normalise(torch.from_numpy(views), clip.mean, clip.std, clip.dtype)
    return method.eval().alignment(clip.encode_images(pixels, method.needs_patches)).cpu().numpy()


def check_method(spec: RunSpec) -> None:
    """Refuse a method without alignment, and name the methods that have one."""
    if spec.method not in method_names() and spec.plugin:
        raise ConfigError(
            f"'{spec.method}' is not a method of this repository. Give its file: --plugin {spec.method}.py."
        )
    if code_of(spec.method) != spec.plugin:
        raise RecordError(f"The file of '{spec.method}' is not what this run had; restore it, or run again.")
    if hasattr(method_class(spec.method), "alignment"):
        return
    able = [name for name in method_names() if hasattr(method_class(name), "alignment")]
    raise ConfigError(
        f"'{spec.method}' does not weight prompt tokens by patches. Give a record of a method that has an alignment: "
        f"{', '.join(able)}."
    )
