"""ImageNet, which is not fetched: how it is had, a tree that is linked, class names that are copied, never made up."""

import os

import pytest
from PIL import Image

import run_all
from benchmark.data.catalog import load_dataset
from benchmark.data.download.install import why_incomplete

SYNSETS = ("n01440764", "n01443537")


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def tree(tmp_path):
    """A tree of class folders elsewhere."""
    for part in ("train", "val"):
        for synset in SYNSETS:
            (tmp_path / "elsewhere" / part / synset).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "elsewhere" / part / synset / "a.JPEG")
    return tmp_path / "elsewhere"


@pytest.fixture
def download(data):
    return lambda *words: run_all.main(["--data", str(data), "--download", "imagenet", *map(str, words)])


def put_names(data, folder="imagenet", synsets=SYNSETS):
    (data / folder).mkdir(parents=True, exist_ok=True)
    (data / folder / "classnames.txt").write_text("".join(f"{synset} name of it\n" for synset in synsets))


def test_four_lines_say_how_to_get_it(download, data, capsys):
    assert download() == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "https://image-net.org" in lines[0]
    assert f"{data}/imagenet/images/train/nXXXXXXXX/" in lines[1]
    assert not (data / "imagenet").exists()


def test_tree_is_linked_and_read(download, data, tree, capsys):
    put_names(data)
    assert download("--imagenet", tree) == 0
    assert os.readlink(data / "imagenet" / "images") == str(tree)
    assert len(load_dataset("imagenet", data, check_files=True).train) == 2
    assert download("--imagenet", tree) == 0, "what is linked stays"
    assert "imagenet: is there" in capsys.readouterr().out


def test_train_and_val_may_lie_apart(download, data, tree, tmp_path):
    put_names(data)
    (tree / "val").rename(tmp_path / "validation")
    assert download("--imagenet", f"train={tree / 'train'}", f"val={tmp_path / 'validation'}") == 0
    assert len(load_dataset("imagenet", data, check_files=True).test) == 2


def test_tree_without_class_names_is_linked_and_says_where_they_are_had(download, data, tree, capsys):
    assert download("--imagenet", tree) == 2
    said = capsys.readouterr()
    assert "classnames.txt: is missing" in said.err
    assert "DATASETS.md" in said.err
    assert (data / "imagenet" / "images").is_symlink()


def test_class_names_are_copied_from_a_dataset_that_holds_all_of_them(download, data, tree, capsys):
    put_names(data, "imagenet-adversarial")
    assert download("--imagenet", tree, "--classnames") == 2
    assert "the 1000 names are not part of this program" in capsys.readouterr().err
    assert not (data / "imagenet" / "classnames.txt").exists()
    put_names(data, "imagenetv2", [*SYNSETS, *(f"n{i:08d}" for i in range(998))])
    assert download("--imagenet", tree, "--classnames") == 0
    assert "imagenetv2/classnames.txt" in capsys.readouterr().out
    assert why_incomplete("imagenet", data) is None


def test_class_names_that_are_there_stay(download, data, tree):
    put_names(data)
    before = (data / "imagenet" / "classnames.txt").read_bytes()
    put_names(data, "imagenetv2", [*SYNSETS, *(f"n{i:08d}" for i in range(998))])
    assert download("--imagenet", tree, "--classnames") == 0
    assert (data / "imagenet" / "classnames.txt").read_bytes() == before


def test_what_is_no_tree_of_class_folders_is_refused(download, data, tree, tmp_path, capsys):
    assert download("--imagenet", tmp_path / "nowhere") == 2
    assert "there is no folder" in capsys.readouterr().err
    (tree / "val" / "dogs").mkdir()
    assert download("--imagenet", tree) == 2
    assert "holds dogs/, and folders must be called nXXXXXXXX" in capsys.readouterr().err
    flat = tmp_path / "flat"
    (flat / "train").mkdir(parents=True)
    (flat / "val").mkdir()
    (flat / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"")
    assert download("--imagenet", flat) == 2
    assert f"{flat / 'val'} holds no class folders" in capsys.readouterr().err
    assert download("--imagenet", f"train={tree / 'train'}") == 2
    assert "give a PATH with train/ and val/" in capsys.readouterr().err
    assert not (data / "imagenet").exists()


def test_images_that_are_there_are_not_replaced(download, data, tree, capsys):
    put_names(data)
    (data / "imagenet" / "images").mkdir()
    assert download("--imagenet", tree) == 2
    assert "is there already" in capsys.readouterr().err
    assert not (data / "imagenet" / "images").is_symlink()
