"""Provide folders of images for the tests of custom datasets."""

import pytest
from PIL import Image


@pytest.fixture
def tree(tmp_path):
    """tree("train/dog/0.png", ...): a folder with these pictures in it; a name that is no picture's is a text."""

    def make(*paths, below="pets"):
        for path in paths:
            file = tmp_path / below / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix.lower() in (".png", ".jpg", ".bmp"):
                Image.new("RGB", (8, 8)).save(file)
            else:
                file.write_text("no picture")
        return tmp_path / below

    return make
