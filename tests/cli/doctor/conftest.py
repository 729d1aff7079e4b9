"""Share a data folder with a small dtd, the doctor's JSON on it, and the options of its commands."""

import io
import json
import os
import shlex

import pytest
import torch
from PIL import Image

import run_all
from benchmark.cli.parser import parse, parse_verb

SIZE = (40, 40)


def image_bytes(kind="JPEG", size=SIZE):
    """The file of an image of noise."""
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(0))
    content = io.BytesIO()
    Image.fromarray(pixels.to(torch.uint8).numpy()).save(content, kind)
    return content.getvalue()


@pytest.fixture
def data(tmp_path):
    """A data folder with dtd: two classes with two images each in train and in test."""
    images = tmp_path / "data" / "dtd" / "images"
    split = {"train": [], "val": [], "test": []}
    for part in ("train", "test"):
        for label, name in enumerate(("dotted", "woven")):
            for number in range(2):
                path = f"{name}/{part}{number}.jpg"
                (images / name).mkdir(parents=True, exist_ok=True)
                (images / path).write_bytes(image_bytes(size=(40, 40 + sum(map(len, split.values())))))
                split[part].append([path, label, name])
    (tmp_path / "data" / "dtd" / "split_zhou_DescribableTextures.json").write_text(json.dumps(split))
    return tmp_path / "data"


@pytest.fixture
def doctor(data, tmp_path, capsys):
    """doctor("--deep"): exit code and JSON for a run on dtd with the embedded backbone."""

    def look(*arguments, backbone="embedded", datasets=("--datasets", "dtd")):
        whole = ["--data", str(data), *datasets, "--backbone", backbone, "--out", str(tmp_path / "out"), *arguments]
        code = run_all.main(["--doctor", "--json", *whole])
        return code, json.loads(capsys.readouterr().out)

    return look


def textures(found):
    return next(dataset for dataset in found["datasets"] if dataset["name"] == "dtd")


def typed(line):
    """The options of each command in a line; fails if a parser refuses one or it is another command."""
    options = []
    for words in map(shlex.split, line.split(" && ")):
        if words[0] == "mv":
            assert os.path.exists(words[1]) and not os.path.exists(words[2])
            continue
        if words[:2] == ["python", "run_all.py"]:
            options.append(parse(words[2:]))
        else:
            assert words[:3] == ["python", "-m", "benchmark"]
            options.append(parse_verb(words[3:]))
    return options


def remove(data):
    (data / "dtd/images/woven/test0.jpg").unlink()


def cut(data):
    path = data / "dtd/images/woven/test0.jpg"
    path.write_bytes(path.read_bytes()[:-200])
