"""Which prompt token each patch of a picture leans on: a recorded run's method, rebuilt and asked for its alignment."""

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

# Weights are a function of images and learned values, not of class names: one name makes the method without a dataset.
ANY_CLASS = ("thing",)


@dataclass(frozen=True)
class Alignment:
    """What a run's method makes of some pictures.

    Attributes:
        pictures: (B, S, S, 3) uint8, the views that were encoded.
        weights: (B, P, M), of each context vector for each patch, patches row by row; over M they sum to one.
    """

    pictures: np.ndarray
    weights: np.ndarray


def alignment_of(record: RunRecord, path: Path, images: Sequence[Path]) -> Alignment:
    """The weights of a recorded run on the test views of image files, in float32 on the CPU.

    Args:
        path: the record's own; its learned tensors lie beside it.
    Raises:
        ConfigError: a method without alignment, or a run whose method sees a picture as one patch.
        RecordError: the learned tensors or the checkpoint are missing, damaged, or not the run's.
        DataError: an image that cannot be read.
    """
    _check_method(record.spec)
    opened = [open_image(str(image)) for image in images]
    state = learned_by(record, path)
    clip = backbone_of(record.spec)
    method = create_method(
        record.spec.method,
        clip=clip,
        class_names=ANY_CLASS,
        template=record.spec.template,
        config=dict(record.spec.options),
    )
    if method.needs_patches is None:
        raise ConfigError(
            f"{path}: this run of '{record.spec.method}' saw each picture as a single patch (local: false), so there "
            "is nothing to tint. Give a record of a run with local: true."
        )
    method.load_learned_state(state)
    pictures = np.stack([test_view(image, clip.image_size) for image in opened])
    return Alignment(pictures, weights_of(method, clip, pictures))


@torch.no_grad()
def weights_of(method: Method, clip: Clip, pictures: np.ndarray) -> np.ndarray:
    """`method.alignment` of pictures (B, S, S, 3): (B, P, M)."""
    pixels = normalise(torch.from_numpy(pictures), clip.mean, clip.std)
    return method.eval().alignment(clip.encode_images(pixels, method.needs_patches)).cpu().numpy()


def _check_method(spec: RunSpec) -> None:
    """Refuse a method that has no weights to show, and name those that have."""
    if spec.method not in method_names() and spec.plugin:
        raise ConfigError(f"'{spec.method}' is no method of this repository. Give its file: --plugin {spec.method}.py.")
    if code_of(spec.method) != spec.plugin:
        raise RecordError(f"The file of '{spec.method}' is not what this run had; restore it, or run again.")
    if hasattr(method_class(spec.method), "alignment"):
        return
    able = [name for name in method_names() if hasattr(method_class(name), "alignment")]
    raise ConfigError(
        f"'{spec.method}' does not weight prompt tokens by patches. Give a record of a method that has an alignment: "
        f"{', '.join(able)}."
    )
