"""Fixtures of the download tests: a hub on localhost, and small datasets as archives on it."""

import hashlib
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from PIL import Image

import run_all
from benchmark.data.catalog import load_catalog
from benchmark.data.download import transfer
from benchmark.data.download.install import WORK
from tests.data.conftest import PARTS
from tests.data.download.hub import Hub, serve, tar_folder, zip_folder

SPLIT = load_catalog()["dtd"].split


def make_dataset(folder: Path, name: str) -> Path:
    """A small dataset with a split file, of three classes."""
    entry = load_catalog()[name]
    split = {part: [[f"{c}/{part}_{i}.jpg", c, f"class {c}"] for c in range(3) for i in range(2)] for part in PARTS}
    for path, _, _ in (entry for entries in split.values() for entry in entries):
        (folder / entry.images / path).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((16, 16), 50).save(folder / entry.images / path)  # noise does not compress
    (folder / entry.split).write_text(json.dumps(split))
    return folder


@pytest.fixture
def data(tmp_path):
    """The data folder, which does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def fetch(data):
    """fetch("dtd", "--from", folder): run the command line with the data folder; returns the exit code."""
    return lambda *words: run_all.main(["--data", str(data), "--download", *map(str, words)])


def leftovers(data):
    """What is in the work folder besides its lock."""
    return sorted(path.name for path in (data / WORK).iterdir() if path.name != "lock")


def record_of(data, name="dtd"):
    """The recorded origin of a dataset."""
    return json.loads((data / ".downloads.json").read_text())[name]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty repository that huggingface_hub uses as the hub; waits take no time."""
    repository = Hub()
    server = serve(repository)
    monkeypatch.setattr(constants, "ENDPOINT", repository.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", repository.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(transfer, "CHUNK", 1000)
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
def published(hub, data, tmp_path, monkeypatch):
    """published(): publish the authors' archive of dtd; CoOp's split file is in the data folder if `listed`."""

    def publish(*, listed=False) -> str:
        folder = make_dataset(tmp_path / "made" / "dtd", "dtd")
        shutil.move(folder / SPLIT, tmp_path / SPLIT)
        if listed:
            (data / "dtd").mkdir(parents=True)
            shutil.copy(tmp_path / SPLIT, data / "dtd" / SPLIT)
        content = tar_folder(folder, tmp_path / "theirs" / "dtd-r1.0.1.tar.gz", top="dtd/")
        hub.published["dtd-r1.0.1.tar.gz"] = content
        address = f"{hub.url}/authors/dtd-r1.0.1.tar.gz"
        elsewhere = load_catalog()["dtd"].elsewhere
        for old in list(elsewhere):
            monkeypatch.delitem(elsewhere, old)
        monkeypatch.setitem(elsewhere, address, hashlib.md5(content).hexdigest())
        return address

    return publish


@pytest.fixture
def with_list(published):
    """with_list(): the same, with the split file."""
    return partial(published, listed=True)
