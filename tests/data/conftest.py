"""A small dataset in CoOp's layout, and the errors with which it is refused."""

import json

import pytest
from PIL import Image

from benchmark.data.catalog import load_dataset
from benchmark.errors import DataError

PARTS = ("train", "val", "test")


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((8, 8), 80).convert("RGB").save(path)


def split_of(*paths):
    """A split file's content: two classes with an image in each list, and more paths in class 0's training list."""
    split = {part: [[f"{c}/{part}.jpg", c, f"class {c}"] for c in range(2)] for part in PARTS}
    split["train"] += [[path, 0, "class 0"] for path in paths]
    return split


def write_split(root, split):
    content = split if isinstance(split, bytes) else json.dumps(split).encode()
    (root / "oxford_pets" / "split_zhou_OxfordPets.json").write_bytes(content)


def write_pets(root):
    """A data folder with a complete oxford_pets."""
    for entries in split_of().values():
        for path, _, _ in entries:
            write_image(root / "oxford_pets" / "images" / path)
    write_split(root, split_of())
    return root


def problems_of(root, name="oxford_pets", *, check_files=True):
    """The message with which a dataset is refused."""
    with pytest.raises(DataError) as caught:
        load_dataset(name, root, check_files=check_files)
    return str(caught.value)


@pytest.fixture
def pets(tmp_path):
    return write_pets(tmp_path / "data")


@pytest.fixture
def imagenet(tmp_path):
    """ImageNet as CoOp's preparation says: images/train and images/val are links to an existing copy."""
    folder = tmp_path / "data" / "imagenet"
    (folder / "images").mkdir(parents=True)
    (folder / "classnames.txt").write_text("n01 crane\nn02 crane\nn03 white wolf\n")
    for part in ("train", "val"):
        for synset in ("n01", "n02", "n03"):
            write_image(tmp_path / "mounted" / part / synset / "a.JPEG")
        (folder / "images" / part).symlink_to(tmp_path / "mounted" / part)
    return tmp_path / "data"
