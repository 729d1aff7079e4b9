"""Fixtures of the data tests: a hub on the loopback address, small datasets as its archives, folders of pictures."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from PIL import Image

from benchmark.data import hub as client
from benchmark.data.catalog import load_catalog
from tests.data.hub import Hub, serve, zip_folder

PARTS = ("train", "val", "test")


def make_dataset(folder: Path, name: str) -> Path:
    """A small dataset in a folder, laid out as the catalogue says; three classes where it is listed in a split file."""
    entry = load_catalog()[name]
    split = {part: [[f"{c}/{part}_{i}.jpg", c, f"class {c}"] for c in range(3) for i in range(2)] for part in PARTS}
    for path, _, _ in (each for part in split.values() for each in part):
        (folder / entry.images / path).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((16, 16), 50).save(folder / entry.images / path)  # noise: it does not shrink in a zip
    (folder / entry.split).write_text(json.dumps(split))
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """hub: an empty repository that huggingface_hub takes for the hub; nobody waits for it longer than a moment."""
    repository = Hub()
    server = serve(repository)
    monkeypatch.setattr(constants, "ENDPOINT", repository.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", repository.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(client, "CHUNK", 1000)
    yield repository
    close_session()
    server.shutdown()
    server.server_close()


@pytest.fixture
def archive(tmp_path):
    """archive("dtd", top="dtd/"): the bytes of a zip of a small dataset of that name."""

    def pack(name: str, *, top: str = "", change=lambda folder: None) -> bytes:
        folder = make_dataset(tmp_path / "made" / name, name)
        change(folder)
        return zip_folder(folder, tmp_path / "zips" / f"{name}.zip", top=top)

    return pack


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
