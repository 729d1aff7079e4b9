"""Downloading datasets from the hub into a data folder: completely or not at all, and recorded."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

import run_all
from benchmark.data.catalog import load_dataset
from benchmark.data.download import install
from benchmark.data.download.hub import REPOSITORY
from benchmark.data.download.install import choose, why_incomplete
from tests.data.download.conftest import leftovers, make_dataset, record_of
from tests.data.download.hub import REVISION

ROOT = Path(__file__).resolve().parents[3]


def test_datasets_are_downloaded_unpacked_and_recorded_with_the_revision(hub, archive, fetch, data, capsys):
    hub.files = {"dtd.zip": archive("dtd", top="dtd/"), "oxford_pets.zip": archive("oxford_pets")}
    (data / "oxford_pets").mkdir(parents=True)  # an empty folder is filled
    assert fetch("dtd", "oxford_pets") == 0
    for name in ("dtd", "oxford_pets"):
        assert len(load_dataset(name, data, check_files=True).test) == 6
        record = record_of(data, name)
        assert (record["repository"], record["revision"], record["file"]) == (REPOSITORY, REVISION, f"{name}.zip")
        assert (len(record["sha256"]), record["size"]) == (64, len(hub.files[f"{name}.zip"]))
    assert leftovers(data) == []
    assert all(REVISION in path for _, path, _ in hub.requests[1:])
    output = capsys.readouterr().out
    assert output.index("are free") < output.index("[1/2] dtd: is in")


def test_complete_datasets_are_skipped_and_incomplete_ones_left_alone(hub, archive, data, fetch, capsys):
    make_dataset(data / "dtd", "dtd")
    assert fetch("dtd") == 0
    assert hub.requests == []
    gone = data / "dtd" / "images" / "1" / "val_0.jpg"
    gone.unlink()
    hub.files = {"oxford_pets.zip": archive("oxford_pets")}
    assert fetch("dtd", "oxford_pets") == 1
    assert "1 of 18 listed images are missing" in capsys.readouterr().err
    assert not gone.exists()
    assert why_incomplete("oxford_pets", data) is None


def test_archive_that_is_not_a_dataset_leaves_nothing(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd", change=lambda folder: (folder / "images" / "0" / "test_1.jpg").unlink())}
    assert fetch("dtd") == 2
    error = capsys.readouterr().err
    assert "dtd.zip is not a complete dataset" in error
    assert f"the first is {data / 'dtd' / 'images' / '0' / 'test_1.jpg'}" in error
    assert not (data / "dtd").exists()
    assert leftovers(data) == []


def test_plan_and_a_full_disk_download_nothing(hub, archive, data, fetch, capsys, monkeypatch):
    hub.files = {"dtd.zip": archive("dtd")}
    assert fetch("dtd", "--plan") == 0
    assert "0.0 MB  dtd.zip" in capsys.readouterr().out
    assert not data.exists()
    usage = shutil.disk_usage(data.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert fetch("dtd") == 2
    assert "nothing was fetched" in capsys.readouterr().err
    assert hub.fetched() == []


def test_lock_and_unreadable_record_are_found_before_anything_is_downloaded(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd")}
    (data / install.WORK).mkdir(parents=True)
    with FileLock(data / install.WORK / "lock"):
        assert fetch("dtd") == 2
    assert "another download into it is running" in capsys.readouterr().err
    (data / install.RECORD).write_text("{")
    assert fetch("dtd") == 2
    assert "Move it away" in capsys.readouterr().err
    assert hub.requests == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--download", "dtd"], "--data FOLDER is needed"),
        (["--data", "x", "--download", "dtdd"], "Did you mean 'dtd'"),
        (["--data", "x", "--download", "synth_pets"], "is a generated dataset, which needs no download"),
        (["--data", "x", "--download", "dtd", "--classnames"], "belong to `download imagenet`"),
        (["--from", "x"], "belong to `python -m benchmark download NAME`"),
    ],
)
def test_wrong_requests_are_one_message(words, message, capsys):
    assert run_all.main(words) == 2
    assert message in capsys.readouterr().err


def test_all_means_every_real_dataset_but_imagenet():
    names = choose(["dtd", "all"])
    assert (len(names), names[0], "imagenet" in names) == (14, "dtd", False)
