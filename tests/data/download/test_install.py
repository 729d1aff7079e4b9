"""Fetching datasets from a hub on the loopback address into a data folder: whole or not at all, and recorded."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import run_all
from benchmark.data.catalog import load_dataset
from benchmark.data.download import install
from benchmark.data.download.hub import REPOSITORY
from benchmark.data.download.install import choose, why_incomplete
from benchmark.data.download.transfer import Archive
from benchmark.errors import ConfigError
from tests.data.download.conftest import left_behind, make_dataset
from tests.data.download.hub import REVISION, zip_folder

ROOT = Path(__file__).resolve().parents[3]


def test_datasets_are_fetched_unpacked_and_recorded_with_the_revision_seen(hub, archive, fetch, data, capsys):
    hub.files = {"dtd.zip": archive("dtd", top="dtd/"), "oxford_pets.zip": archive("oxford_pets")}
    assert fetch("dtd", "oxford_pets") == 0
    for name in ("dtd", "oxford_pets"):
        assert len(load_dataset(name, data, check_files=True).test) == 6
    record = json.loads((data / install.RECORD).read_text())
    assert set(record) == {"dtd", "oxford_pets"}
    assert {key: record["dtd"][key] for key in ("repository", "revision", "file", "size")} == {
        "repository": REPOSITORY, "revision": REVISION, "file": "dtd.zip", "size": len(hub.files["dtd.zip"]),
    }  # fmt: skip
    assert len(record["dtd"]["sha256"]) == 64
    assert left_behind(data) == []
    assert all(REVISION in path for _, path, _ in hub.requests[1:])
    said = capsys.readouterr().out
    assert said.index("are free") < said.index("[1/2] dtd: is in")


def test_what_is_whole_is_skipped_without_asking_the_hub(hub, data, fetch, capsys):
    make_dataset(data / "dtd", "dtd")
    assert fetch("dtd") == 0
    assert hub.requests == []
    assert "dtd: is there" in capsys.readouterr().out


def test_what_is_there_and_not_whole_is_left_alone_and_the_others_are_fetched(hub, archive, data, fetch, capsys):
    make_dataset(data / "dtd", "dtd")
    gone = data / "dtd" / "images" / "1" / "val_0.jpg"
    gone.unlink()
    hub.files = {"oxford_pets.zip": archive("oxford_pets")}
    assert fetch("dtd", "oxford_pets") == 1
    assert "1 of 18 listed pictures are missing" in capsys.readouterr().err
    assert not gone.exists()
    assert why_incomplete("oxford_pets", data) is None


def test_empty_folder_in_the_place_is_filled(hub, archive, data, fetch):
    (data / "dtd").mkdir(parents=True)
    hub.files = {"dtd.zip": archive("dtd")}
    assert fetch("dtd") == 0


def test_dangling_link_in_the_place_is_refused(hub, archive, data, fetch, capsys):
    data.mkdir()
    (data / "dtd").symlink_to(data / "nowhere")
    hub.files = {"dtd.zip": archive("dtd")}
    assert fetch("dtd") == 2
    assert f"move {data / 'dtd'} away" in capsys.readouterr().err


def test_too_small_a_disk_is_told_before_anything_is_fetched(hub, archive, data, fetch, capsys, monkeypatch):
    usage = shutil.disk_usage(data.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    hub.files = {"dtd.zip": archive("dtd")}
    assert fetch("dtd") == 2
    assert "nothing was fetched" in capsys.readouterr().err
    assert hub.fetched() == []


def test_archive_that_does_not_become_a_dataset_leaves_nothing(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd", change=lambda folder: (folder / "images" / "0" / "test_1.jpg").unlink())}
    assert fetch("dtd") == 2
    said = capsys.readouterr().err
    assert "dtd.zip is no whole dataset" in said
    assert f"{data / 'dtd' / 'images' / '0' / 'test_1.jpg'} first" in said
    assert not (data / "dtd").exists()
    assert left_behind(data) == []


def test_plan_shows_sizes_and_writes_nothing(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd")}
    assert fetch("dtd", "--plan") == 0
    assert "0.0 MB  dtd.zip" in capsys.readouterr().out
    assert hub.fetched() == []
    assert not data.exists()


def test_shifted_version_takes_class_names_from_imagenet(hub, data, fetch, tmp_path, capsys):
    source = tmp_path / "made"
    (source / "imagenet-a" / "n01440764").mkdir(parents=True)
    (source / "imagenet-a" / "n01440764" / "a.jpg").write_bytes(os.urandom(500))
    hub.files = {"imagenet-adversarial.zip": zip_folder(source, tmp_path / "zips" / "a.zip")}
    assert fetch("imagenet_a") == 2
    assert "classnames.txt: is missing" in capsys.readouterr().err
    (data / "imagenet").mkdir()
    (data / "imagenet" / "classnames.txt").write_text("n01440764 tench\n")
    before = len(hub.fetched())
    assert fetch("imagenet_a") == 0
    assert len(hub.fetched()) == before, "what was fetched is taken up"
    assert load_dataset("imagenet_a", data).class_names == ("tench",)


def test_second_download_into_the_same_folder_is_refused(hub, archive, data, fetch, capsys):
    from filelock import FileLock

    hub.files = {"dtd.zip": archive("dtd")}
    (data / install.WORK).mkdir(parents=True)
    with FileLock(data / install.WORK / "lock"):
        assert fetch("dtd") == 2
    assert "another --download is under way" in capsys.readouterr().err
    assert fetch("dtd") == 0


def test_unreadable_record_is_refused_before_anything_is_fetched(hub, archive, data, fetch, capsys):
    data.mkdir()
    (data / install.RECORD).write_text("{")
    hub.files = {"dtd.zip": archive("dtd")}
    assert fetch("dtd") == 2
    assert "Move it away" in capsys.readouterr().err
    assert hub.requests == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--download", "dtd"], "--data FOLDER is needed"),
        (["--data", "x", "--download", "dtdd"], "Did you mean 'dtd'"),
        (["--data", "x", "--download", "synth_pets"], "is drawn where it is needed"),
        (["--data", "x", "--download", "dtd", "--classnames"], "go with --download imagenet"),
        (["--from", "x"], "go with --download NAME"),
    ],
)
def test_wrong_requests_are_one_message(words, told, capsys):
    assert run_all.main(words) == 2
    assert told in capsys.readouterr().err


def test_all_is_every_real_dataset_but_imagenet():
    assert len(choose(["all"])) == 14
    assert "imagenet" not in choose(["all"])
    assert choose(["dtd", "all"])[0] == "dtd"
    with pytest.raises(ConfigError):
        choose(["al"])


def test_disk_need_is_what_is_unpacked_and_the_largest_archive_at_its_time(tmp_path):
    first, second = (Archive(name=f"{size}.zip", size=size, content=f"{size}") for size in (100, 30))
    assert install.need([first, second], tmp_path) == install.Need(fetched=130, peak=200)
    first.growing(tmp_path).parent.mkdir()
    first.growing(tmp_path).write_bytes(b"x" * 60)
    assert install.need([first, second], tmp_path) == install.Need(fetched=70, peak=140)
    here = Archive(name="here.zip", size=50, path=tmp_path)
    assert install.need([here], tmp_path) == install.Need(fetched=0, peak=50)


@pytest.mark.golden
@pytest.mark.slow
def test_real_photographs_come_out_of_their_archive_as_they_went_in(shared, hub, data, fetch, tmp_path):
    source = shared / "data" / "caltech-101"
    hub.files = {"caltech-101.zip": zip_folder(source, tmp_path / "c.zip", top="caltech-101/")}
    hub.cut_after = {"caltech-101.zip": 5_000_000}
    assert fetch("caltech101") == 0
    before, after = (load_dataset("caltech101", root, check_files=True) for root in (shared / "data", data))
    assert before.split_sha256 == after.split_sha256
    for one, other in zip(before.test, after.test, strict=True):
        assert Path(one.path).read_bytes() == Path(other.path).read_bytes()


@pytest.mark.slow
def test_command_line_honours_the_endpoint_of_the_environment(hub, archive, data, tmp_path):
    hub.files = {"dtd.zip": archive("dtd")}
    command = [sys.executable, str(ROOT / "run_all.py"), "--download", "dtd", "--data", str(data)]
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_x"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "dtd: is in" in done.stdout
    assert done.stderr == ""
