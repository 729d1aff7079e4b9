"""Folders of images, and the errors with which custom datasets are refused."""

import os

import pytest
from PIL import Image

from benchmark.data.custom.dataset import load_custom
from benchmark.errors import DataError


@pytest.fixture
def tree(tmp_path):
    """tree("train/dog/0.png", ...): a folder with these images; names without a suffix of Pillow are text files."""

    def make(*paths, folder="pets"):
        for path in paths:
            file = tmp_path / folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if kind := Image.registered_extensions().get(file.suffix.lower()):
                Image.effect_noise((8, 8), 50).convert("RGB").save(file, kind)
            else:
                file.write_text("not an image")
        return tmp_path / folder

    return make


def relative(items, folder):
    return [os.path.relpath(item.path, folder) for item in items]


def problems_of(path, error=DataError):
    """The message with which a custom dataset is refused."""
    with pytest.raises(error) as caught:
        load_custom("pets", path, check_files=True)
    return str(caught.value)
