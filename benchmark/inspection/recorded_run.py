"""Load the learned tensors, the frozen CLIP and the dataset of a recorded run."""

import hashlib
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor
from transformers.utils import logging

from benchmark.clip.backbone import Clip, dtype_of, load_clip
from benchmark.clip.locate import checkpoint_hash
from benchmark.common.config import RunSpec
from benchmark.common.files import cache_folder
from benchmark.data.catalog import Dataset, load_catalog, load_dataset
from benchmark.data.synthetic.names import generated_names, suite_version
from benchmark.data.synthetic.suite import generate_datasets
from benchmark.errors import ConfigError, RecordError
from benchmark.features.cache import DiskCache
from benchmark.features.store import FeatureStore
from benchmark.planning.inputs import backbone_folder
from benchmark.records.record import RunRecord
from benchmark.training.reuse import LEARNED_SHA256


def learned_by(record: RunRecord, path: Path) -> dict[str, Tensor]:
    """Load the learned tensors of a record, by name.

    Args:
        path: of the record; the tensors are next to it.
    Raises:
        RecordError: they are missing, damaged, or were changed after the run.
    """
    tensors = path.with_suffix(".safetensors")
    advice = f"Delete {path.name} and run the same command again to have them anew."
    if not tensors.is_file():
        raise RecordError(f"{tensors}: is missing; it holds what this run learned. {advice}")
    try:
        content = tensors.read_bytes()
        found = safetensors.torch.load(content)
    except (OSError, SafetensorError) as error:
        raise RecordError(f"{tensors}: cannot be read ({error}). {advice}") from error
    if hashlib.sha256(content).hexdigest() != record.provenance.get(LEARNED_SHA256):
        raise RecordError(f"{tensors}: is not what this run left; it was changed. {advice}")
    return found


def backbone_of(spec: RunSpec) -> Clip:
    """Load the frozen CLIP of a run, on the CPU, in float32 or in the float64 of the run.

    Raises:
        RecordError: the checkpoint differs from the run's.
    """
    folder = backbone_folder(spec.backbone, fetch=True)
    if (found := checkpoint_hash(folder)) != spec.checkpoint:
        raise RecordError(
            f"Backbone '{spec.backbone}' is not what this run had: its files have hash {found}, the record says "
            f"{spec.checkpoint}. The learned values mean nothing to another CLIP; restore the checkpoint, or run again."
        )
    logging.disable_progress_bar()
    return load_clip(folder, dtype=dtype_of(spec.precision))


def dataset_of(spec: RunSpec, data: Path | None = None) -> Dataset:
    """Load the dataset that a run was trained on.

    Args:
        data: folder of the real datasets; None if the run's is generated.
    Raises:
        ConfigError: the dataset is a custom one, or `data` is missing.
        DataError: it cannot be read.
        RecordError: its lists are not the run's.
    """
    name = spec.dataset
    if name not in load_catalog():
        raise ConfigError(f"'{name}' is a custom dataset. Give a record of a dataset that docs/data.md lists.")
    if name in generated_names():
        generate_datasets(root := cache_folder() / f"synthetic-{suite_version()}", [name])
    elif data is None:
        raise ConfigError(f"'{name}' is a real dataset. Give its folder: --data FOLDER.")
    else:
        root = data
    dataset = load_dataset(name, root)
    if not dataset.split_sha256.startswith(spec.split.partition("+")[0]):
        raise RecordError(f"Dataset '{name}' is not what this run had: its lists changed. Restore it, or run again.")
    return dataset


def store_of(spec: RunSpec, clip: Clip) -> FeatureStore:
    """Return the image features of the CLIP of a run, from the cache where a run left them there."""
    return FeatureStore(clip, disk=DiskCache(cache_folder() / "features"), origin=f"{spec.checkpoint} {spec.precision}")
