"""ImageNet: instructions, links to an existing copy, and its class names."""

import os

import pytest
from PIL import Image

from benchmark.data.catalog import load_dataset
from benchmark.data.download.install import why_incomplete

SYNSETS = ("n01440764", "n01443537")
ALL_SYNSETS = (*SYNSETS, *(f"n{number:08d}" for number in range(998)))


@pytest.fixture
def tree(tmp_path):
    """Class folders outside the data folder."""
    for part in ("train", "val"):
        for synset in SYNSETS:
            (tmp_path / "elsewhere" / part / synset).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "elsewhere" / part / synset / "a.JPEG")
    return tmp_path / "elsewhere"


@pytest.fixture
def download(fetch):
    return lambda *words: fetch("imagenet", *words)


def put_names(data, folder="imagenet", synsets=SYNSETS):
    (data / folder).mkdir(parents=True, exist_ok=True)
    (data / folder / "classnames.txt").write_text("\ufeff" + "".join(f"{s} name of it\n" for s in synsets))


def test_four_lines_of_instructions(download, data, capsys):
    assert download() == 2
    lines = capsys.readouterr().out.splitlines()
    assert ["https://image-net.org" in lines[0], f"{data}/imagenet/images/train/" in lines[1]] == [True, True]
    assert not (data / "imagenet").exists()


def test_existing_copy_is_linked_and_read(download, data, tree, capsys):
    put_names(data)
    for words in ([tree], [f"train={tree / 'train'}", f"val={tree / 'val'}"]):
        assert download("--imagenet", *words) == 0
        assert os.readlink(data / "imagenet" / "images") == str(tree)
    assert "imagenet: is there" in capsys.readouterr().out
    assert len(load_dataset("imagenet", data, check_files=True).train) == 2


def test_class_names_are_copied_from_a_dataset_with_all_of_them_and_never_replaced(download, data, tree, capsys):
    assert download("--imagenet", tree) == 2
    error = capsys.readouterr().err
    assert "classnames.txt: is missing" in error
    assert "DATASETS.md" in error
    put_names(data, "imagenet-adversarial")
    assert download("--imagenet", tree, "--classnames") == 2
    assert "the 1000 names are not part of this program" in capsys.readouterr().err
    put_names(data, "imagenetv2", ALL_SYNSETS)
    assert download("--imagenet", tree, "--classnames") == 0
    assert "imagenetv2/classnames.txt" in capsys.readouterr().out
    assert why_incomplete("imagenet", data) is None
    put_names(data)
    before = (data / "imagenet" / "classnames.txt").read_bytes()
    assert download("--imagenet", tree, "--classnames") == 0
    assert (data / "imagenet" / "classnames.txt").read_bytes() == before


def test_other_folders_are_refused_and_existing_images_kept(download, data, tree, tmp_path, capsys):
    (tmp_path / "empty" / "train").mkdir(parents=True)
    (tmp_path / "dogs" / "train" / "dogs").mkdir(parents=True)
    for words, message in (
        ([tmp_path / "nowhere"], "there is no folder"),
        ([tmp_path / "dogs"], "contains dogs/; class folders must be called nXXXXXXXX"),
        ([tmp_path / "empty"], f"{tmp_path / 'empty' / 'train'} contains no class folders"),
        ([f"train={tree / 'train'}", f"val={tree / 'val' / SYNSETS[0]}"], "1 image in no class folder"),
        ([f"train={tree / 'train'}"], "give a PATH with train/ and val/"),
    ):
        assert download("--imagenet", *words) == 2
        assert message in capsys.readouterr().err
        assert not (data / "imagenet").exists()
    put_names(data)
    (data / "imagenet" / "images").mkdir()
    assert download("--imagenet", tree) == 2
    assert "exists already" in capsys.readouterr().err
    assert not (data / "imagenet" / "images").is_symlink()
