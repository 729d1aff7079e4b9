"""Fetching datasets from a hub on the loopback address: whole, cut off, damaged, refused, held back, on a full disk."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

import run_all
from benchmark import stopping
from benchmark.data import download
from benchmark.data.catalog import load_catalog, load_dataset
from benchmark.data.download import choose, match, why_incomplete
from benchmark.data.hub import Archive, Source
from benchmark.errors import ConfigError
from tests.data.conftest import make_dataset
from tests.data.hub import REVISION, zip_folder
from tests.faults import full_disk

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def fetch(data):
    """fetch("dtd", "--from", folder): the command line with the data folder; the exit code."""
    return lambda *words: run_all.main(["--data", str(data), "--download", *map(str, words)])


def left_behind(data):
    """What lies in the work folder beside its lock."""
    return sorted(path.name for path in (data / download.WORK).iterdir() if path.name != "lock")


def test_datasets_are_fetched_unpacked_and_recorded_with_the_revision_seen(hub, archive, fetch, data, capsys):
    hub.files = {"dtd.zip": archive("dtd", top="dtd/"), "oxford_pets.zip": archive("oxford_pets")}
    assert fetch("dtd", "oxford_pets") == 0
    for name in ("dtd", "oxford_pets"):
        assert len(load_dataset(name, data, check_files=True).test) == 6
    record = json.loads((data / download.RECORD).read_text())
    assert set(record) == {"dtd", "oxford_pets"}
    assert {key: record["dtd"][key] for key in ("repository", "revision", "file", "size")} == {
        "repository": download.REPOSITORY, "revision": REVISION, "file": "dtd.zip", "size": len(hub.files["dtd.zip"]),
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


def test_line_that_goes_dead_is_taken_up_where_it_ended(hub, archive, data, fetch):
    hub.files = {"dtd.zip": archive("dtd")}
    hub.cut_after = {"dtd.zip": 3000}
    assert fetch("dtd") == 0
    assert hub.fetched() == [("dtd.zip", None), ("dtd.zip", "bytes=3000-")]


def test_fetching_goes_on_from_what_an_ended_call_left(hub, archive, data, fetch, monkeypatch, capsys):
    hub.files = {"dtd.zip": archive("dtd")}
    hub.cut_after = {"dtd.zip": 3000}
    with monkeypatch.context() as patch:
        patch.setattr("benchmark.data.hub.TRIES", 1)
        assert fetch("dtd") == 2
    assert "goes on from what is there" in capsys.readouterr().err
    assert not (data / "dtd").exists()
    [partial] = (data / download.WORK).glob("*/dtd.zip")
    assert partial.stat().st_size == 3000
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == ("dtd.zip", "bytes=3000-")
    assert left_behind(data) == []


def test_request_to_end_keeps_what_came(hub, archive, data, fetch, monkeypatch, capsys):
    hub.files = {"dtd.zip": archive("dtd")}
    looks = iter([False, True])

    def check():
        if next(looks, True):
            raise stopping.Terminated

    with monkeypatch.context() as patch:
        patch.setattr(stopping, "check", check)
        assert fetch("dtd") == stopping.EXIT_CODE
    assert "what was fetched is kept" in capsys.readouterr().err
    assert len(left_behind(data)) == 1
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == ("dtd.zip", "bytes=1000-")


def test_part_of_an_older_content_is_thrown_away(hub, archive, data, fetch):
    hub.files = {"dtd.zip": archive("dtd")}
    old = Archive(name="dtd.zip", size=20, content="0123456789abcdef").growing(data / download.WORK)
    old.parent.mkdir(parents=True)
    old.write_bytes(b"something else")
    assert fetch("dtd") == 0
    assert hub.fetched() == [("dtd.zip", None)]
    assert not old.exists()


def test_server_that_knows_no_ranges_sends_all_again(hub, archive, data, fetch):
    hub.files = {"dtd.zip": archive("dtd")}
    hub.cut_after, hub.no_ranges = {"dtd.zip": 3000}, True
    assert fetch("dtd") == 0


def test_line_that_never_gets_further_is_given_up(hub, archive, data, fetch, monkeypatch, capsys):
    class Always(dict):
        def pop(self, name, default=None):
            return self[name]

    hub.files = {"dtd.zip": archive("dtd")}
    hub.cut_after, hub.no_ranges = Always({"dtd.zip": 3000}), True
    assert fetch("dtd") == 2
    assert len(hub.fetched()) < 10
    assert "Its pictures are also at https://www.robots.ox.ac.uk" in capsys.readouterr().err


def test_damaged_archive_is_deleted_named_and_fetched_anew(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd"), "oxford_pets.zip": archive("oxford_pets")}
    hub.damaged = {"dtd.zip"}
    assert fetch("dtd", "oxford_pets") == 1
    assert "dtd.zip is damaged: sha256" in capsys.readouterr().err
    assert not (data / "dtd").exists()
    assert left_behind(data) == []
    hub.damaged = set()
    assert fetch("dtd", "oxford_pets") == 0


@pytest.mark.parametrize(
    ("status", "told"),
    [(404, "is not there"), (401, "HF_TOKEN"), (403, "is refused"), (500, "is answered with an error")],
)
@pytest.mark.parametrize("what", ["", "dtd.zip"])
def test_refusals_are_one_message_each(hub, archive, data, fetch, capsys, status, told, what):
    hub.files = {"dtd.zip": archive("dtd")}
    hub.broken = {what: status}
    assert fetch("dtd") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert told in errors[0]
    assert str(status) in errors[0]


def test_other_datasets_go_on_after_one_that_is_not_there(hub, archive, data, fetch):
    hub.files = {"dtd.zip": archive("dtd"), "oxford_pets.zip": archive("oxford_pets")}
    hub.broken = {"dtd.zip": 404}
    assert fetch("dtd", "oxford_pets") == 1
    assert why_incomplete("oxford_pets", data) is None


@pytest.mark.parametrize("headers", [{"Retry-After": "7"}, {"RateLimit": '"api";r=0;t=7'}])
@pytest.mark.parametrize("what", ["", "dtd.zip"])
def test_too_many_requests_are_waited_for_as_told(hub, archive, data, fetch, capsys, monkeypatch, headers, what):
    slept = []
    monkeypatch.setattr("benchmark.data.hub.time.sleep", slept.append)
    hub.files = {"dtd.zip": archive("dtd")}
    hub.broken, hub.headers, hub.patience = {what: 429}, headers, 1
    assert fetch("dtd") == 0
    assert sum(slept) == 7
    assert "too many requests (429); trying again in 7 s" in capsys.readouterr().err


def test_wait_of_an_hour_is_told_not_waited(hub, archive, data, fetch, capsys, monkeypatch):
    monkeypatch.setattr("benchmark.data.hub.time.sleep", lambda seconds: pytest.fail("waited"))
    hub.files = {"dtd.zip": archive("dtd")}
    hub.broken, hub.headers = {"": 429}, {"Retry-After": "3600"}
    assert fetch("dtd") == 2
    assert "3600 s are to be waited" in capsys.readouterr().err


def test_hub_that_cannot_be_reached_is_one_message(data, fetch, capsys, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("benchmark.data.hub.time.sleep", lambda seconds: None)
    assert fetch("dtd") == 2
    assert "set HF_ENDPOINT to a mirror" in capsys.readouterr().err.splitlines()[-1]


def test_answer_that_is_no_list_is_one_message(hub, data, fetch, capsys):
    hub.broken = {"": 200}
    assert fetch("dtd") == 2
    assert "Is it a hub?" in capsys.readouterr().err


def test_offline_mode_takes_the_cache_of_the_hub_or_says_so(hub, archive, data, fetch, capsys, monkeypatch):
    hub.files = {"dtd.zip": archive("dtd")}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch("dtd") == 2
    assert "Offline mode (HF_HUB_OFFLINE) is on" in capsys.readouterr().err
    snapshot = Path(constants.HF_HUB_CACHE) / f"models--{download.REPOSITORY.replace('/', '--')}"
    (snapshot / "snapshots" / REVISION).mkdir(parents=True)
    (snapshot / "refs").mkdir()
    (snapshot / "refs" / "main").write_text(REVISION)
    cached = snapshot / "snapshots" / REVISION / "dtd.zip"
    cached.write_bytes(hub.files["dtd.zip"])
    assert fetch("dtd") == 0
    assert json.loads((data / download.RECORD).read_text())["dtd"]["revision"] == REVISION
    assert cached.is_file()
    assert hub.requests == []


def test_token_is_shown_to_the_hub(hub, archive, data, fetch, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    hub.files = {"dtd.zip": archive("dtd")}
    assert fetch("dtd") == 0
    assert hub.tokens == ["Bearer hf_x"] * 2


def test_too_small_a_disk_is_told_before_anything_is_fetched(hub, archive, data, fetch, capsys, monkeypatch):
    usage = shutil.disk_usage(data.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    hub.files = {"dtd.zip": archive("dtd")}
    assert fetch("dtd") == 2
    assert "nothing was fetched" in capsys.readouterr().err
    assert hub.fetched() == []


def test_disk_that_fills_while_fetching_keeps_what_came(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd")}
    with full_disk(4000):
        assert fetch("dtd") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == ("dtd.zip", "bytes=4000-")


def test_archive_that_does_not_become_a_dataset_leaves_nothing(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd", change=lambda folder: (folder / "images" / "0" / "test_1.jpg").unlink())}
    assert fetch("dtd") == 2
    said = capsys.readouterr().err
    assert "dtd.zip is no whole dataset" in said
    assert f"{data / 'dtd' / 'images' / '0' / 'test_1.jpg'} first" in said
    assert not (data / "dtd").exists()
    assert left_behind(data) == []


def test_dataset_without_an_archive_is_told_which_there_are(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd"), "eurosat.zip": b""}
    assert fetch("ucf101") == 2
    assert "holds no archive of it. It holds dtd.zip, eurosat.zip." in capsys.readouterr().err


def test_plan_shows_sizes_and_writes_nothing(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd")}
    assert fetch("dtd", "--plan") == 0
    assert "0.0 MB  dtd.zip" in capsys.readouterr().out
    assert hub.fetched() == []
    assert not data.exists()


def test_archives_of_a_folder_are_taken_and_stay(archive, data, fetch, tmp_path):
    archive("dtd", top="DTD-full/")
    kept = tmp_path / "zips" / "dtd.zip"
    assert fetch("dtd", "--from", kept.parent) == 0
    assert kept.is_file()
    record = json.loads((data / download.RECORD).read_text())["dtd"]
    assert (record["folder"], record["revision"]) == (str(kept.parent), None)


def test_folder_without_archives_is_refused(data, fetch, tmp_path, capsys):
    assert fetch("dtd", "--from", tmp_path) == 2
    assert "holds no .zip file" in capsys.readouterr().err


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
    (data / download.WORK).mkdir(parents=True)
    with FileLock(data / download.WORK / "lock"):
        assert fetch("dtd") == 2
    assert "another --download is under way" in capsys.readouterr().err
    assert fetch("dtd") == 0


def test_unreadable_record_is_refused_before_anything_is_fetched(hub, archive, data, fetch, capsys):
    data.mkdir()
    (data / download.RECORD).write_text("{")
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


def test_archives_are_known_by_folder_name_or_alias_whatever_their_spelling():
    names = ("caltech-101.zip", "DTD.ZIP", "food101.zip", "flowers_102.zip", "imagenet-adversarial.zip",
             "imagenetv2.zip", "ImageNet-Sketch.zip", "fgvc_aircraft.zip")  # fmt: skip
    source = Source(name="x", revision="y", archives=tuple(Archive(name=name, size=1) for name in names))
    found, problems = match(choose(["all"]), source)
    assert {name: archive.name for name, archive in found.items()} == {
        "caltech101": "caltech-101.zip", "dtd": "DTD.ZIP", "food101": "food101.zip",
        "oxford_flowers": "flowers_102.zip",
        "imagenet_a": "imagenet-adversarial.zip", "imagenetv2": "imagenetv2.zip",
        "imagenet_sketch": "ImageNet-Sketch.zip", "fgvc_aircraft": "fgvc_aircraft.zip",
    }  # fmt: skip
    assert set(problems) == set(choose(["all"])) - set(found)
    twice = Source(name="x", revision="y", archives=(Archive(name="dtd.zip", size=1), Archive(name="Dtd.zip", size=1)))
    assert "several archives" in match(["dtd"], twice)[1]["dtd"]


def test_names_and_aliases_of_the_catalogue_are_no_two_datasets():
    plain = [
        {download._plain(each) for each in (name, entry.folder, *entry.aliases)}
        for name, entry in load_catalog().items()
    ]
    assert sum(map(len, plain)) == len(set().union(*plain))


def test_disk_need_is_what_is_unpacked_and_the_largest_archive_at_its_time(tmp_path):
    first, second = (Archive(name=f"{size}.zip", size=size, content=f"{size}") for size in (100, 30))
    assert download.need([first, second], tmp_path) == download.Need(fetched=130, peak=200)
    first.growing(tmp_path).parent.mkdir()
    first.growing(tmp_path).write_bytes(b"x" * 60)
    assert download.need([first, second], tmp_path) == download.Need(fetched=70, peak=140)
    here = Archive(name="here.zip", size=50, path=tmp_path)
    assert download.need([here], tmp_path) == download.Need(fetched=0, peak=50)


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
