"""Name the generated datasets, their version and the embedded checkpoint, without importing the renderer."""

from functools import cache
from pathlib import Path

from benchmark.common.config import read_yaml

HERE = Path(__file__).resolve().parent
CATALOG = HERE / "catalog.yaml"
CHECKPOINT = HERE / "checkpoint"
SUITE_VERSION = "adc3f210"  # of the image bytes: change it whenever an image changes (a test compares their hash)


@cache
def generated_names() -> tuple[str, ...]:
    """Return the names of the generated datasets, the shifted ones last."""
    return tuple(read_yaml(CATALOG))


def suite_version() -> str:
    """Return the version of the generated images, which is part of the cache folder's name."""
    return SUITE_VERSION
