"""The authors' archives, where the hub's repository is gone or lacks a dataset: with CoOp's list in place, or not."""

import hashlib
import json
import shutil

import pytest
from huggingface_hub import constants

import run_all
from benchmark.data.catalog import load_catalog, load_dataset
from benchmark.data.download import install
from benchmark.data.download.install import is_absent, why_incomplete
from tests.data.download.conftest import SPLIT, left_behind, make_dataset
from tests.data.download.hub import tar_folder, zip_folder


def test_list_alone_is_an_absent_dataset_and_anything_beside_it_is_not(data):
    make_dataset(data / "dtd", "dtd")
    shutil.rmtree(data / "dtd" / "images")
    assert is_absent("dtd", data)
    (data / "dtd" / "notes.txt").write_text("a user's own")
    assert not is_absent("dtd", data)
    (data / "eurosat" / load_catalog()["eurosat"].split).mkdir(parents=True)
    assert not is_absent("eurosat", data)


@pytest.mark.parametrize("gone", [404, 410, 401, 500, None])
def test_authors_are_asked_where_the_hub_is_gone_or_lacks_a_dataset(hub, in_place, data, fetch, capsys, gone):
    address = in_place()
    hub.files = {"eurosat.zip": b"another dataset's"}
    hub.broken = {"": gone} if gone else {}
    assert fetch("dtd") == 0
    dataset = load_dataset("dtd", data, check_files=True)
    assert (len(dataset.train), len(dataset.test)) == (6, 6)
    assert sorted(path.name for path in (data / "dtd").iterdir()) == ["images", SPLIT]
    record = json.loads((data / install.RECORD).read_text())["dtd"]
    content = hub.published["dtd-r1.0.1.tar.gz"]
    assert (record["address"], record["size"]) == (address, len(content))
    assert record["md5"] == hashlib.md5(content).hexdigest()
    assert "date" in record
    assert left_behind(data) == []
    said = capsys.readouterr()
    assert (str(gone) if gone else "holds no archive of it") in said.err
    assert "The authors' archives are taken instead: dtd." in said.err
    assert "From the datasets' authors, as a fall-back:" in said.out
    assert said.out.index(address) < said.out.index("are free")
    assert run_all.main(["--data", str(data), "--datasets", "dtd", "--backbone", "embedded", "--plan"]) == 0


def test_nobody_but_the_hub_is_shown_the_token(hub, in_place, fetch, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    in_place()
    assert fetch("dtd") == 0
    assert hub.tokens == ["Bearer hf_x", None, None]


def test_address_that_leads_on_to_another_is_followed(hub, in_place, data, fetch, monkeypatch):
    address = in_place()
    elsewhere = load_catalog()["dtd"].elsewhere
    monkeypatch.setitem(elsewhere, address.replace("/dtd-", "/moved-dtd-"), elsewhere[address])
    monkeypatch.delitem(elsewhere, address)
    assert fetch("dtd") == 0


def test_missing_lists_are_one_message_before_a_byte_is_fetched(hub, pictures, data, fetch, tmp_path, capsys):
    pictures()
    hub.broken = {"": 404}
    assert fetch("dtd", "food101") == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert said.startswith("error: dtd, food101: ")
    assert f"{data / 'dtd' / SPLIT} is missing" in said
    assert f"{data / 'food-101' / load_catalog()['food101'].split} is missing" in said
    assert "CoOp's DATASETS.md (https://" in said
    assert "give the same command again" in said
    assert hub.fetched() == []
    (data / "dtd").mkdir()
    shutil.copy(tmp_path / SPLIT, data / "dtd")
    assert fetch("dtd") == 0, "the advice was good"


def test_web_page_saved_as_a_list_is_told_before_a_byte_is_fetched(hub, in_place, data, fetch, capsys):
    in_place()
    (data / "dtd" / SPLIT).write_text("<html>Google Drive: sign in</html>")
    assert fetch("dtd") == 2
    said = capsys.readouterr().err
    assert f"{data / 'dtd' / SPLIT}: is not JSON" in said
    assert hub.fetched() == []


def test_dataset_of_which_no_other_source_is_known_says_so(hub, fetch, capsys):
    hub.broken = {"": 404}
    assert fetch("ucf101", "stanford_cars") == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert said.startswith("error: ucf101, stanford_cars: ")
    assert "No other source is known." in said


@pytest.mark.parametrize("harm", ["gone", "damaged", "no dataset"])
def test_authors_are_asked_where_the_hubs_archive_is_no_good(hub, archive, in_place, data, fetch, capsys, harm):
    in_place()
    hub.files = {"dtd.zip": archive("dtd"), "oxford_pets.zip": archive("oxford_pets")}
    if harm == "gone":
        hub.broken = {"dtd.zip": 404}
    elif harm == "damaged":
        hub.damaged = {"dtd.zip"}
    else:
        hub.files["dtd.zip"] = hub.files["oxford_pets.zip"]
    assert fetch("dtd", "oxford_pets") == 0
    assert why_incomplete("dtd", data) is None
    assert "address" in json.loads((data / install.RECORD).read_text())["dtd"]
    assert "The authors' archives are taken instead: dtd." in capsys.readouterr().err


def test_half_fetched_archive_of_the_hub_is_gone_on_with_not_given_up(hub, archive, in_place, data, fetch, monkeypatch):
    in_place()
    hub.files = {"dtd.zip": archive("dtd")}
    hub.cut_after = {"dtd.zip": 3000}
    with monkeypatch.context() as patch:
        patch.setattr("benchmark.data.download.transfer.TRIES", 1)
        assert fetch("dtd") == 2
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == ("dtd.zip", "bytes=3000-")


def test_whole_archive_of_the_hub_fills_a_place_that_holds_its_list(hub, archive, data, fetch, tmp_path, capsys):
    hub.files = {"dtd.zip": archive("dtd")}
    (data / "dtd").mkdir(parents=True)
    (data / "dtd" / SPLIT).write_text("{}")
    assert fetch("dtd") == 2
    assert "is another list than the archive's" in capsys.readouterr().err
    assert (data / "dtd" / SPLIT).read_text() == "{}"
    shutil.copy(tmp_path / "made" / "dtd" / SPLIT, data / "dtd" / SPLIT)
    assert fetch("dtd") == 0
    assert hub.fetched() == [("dtd.zip", None)], "what was fetched is taken up"


def test_wrong_md5_is_refused_and_told(hub, in_place, data, fetch, capsys):
    in_place(md5="0" * 32)
    assert fetch("dtd") == 2
    assert "dtd-r1.0.1.tar.gz is damaged or another file: md5" in capsys.readouterr().err
    assert is_absent("dtd", data)
    assert (data / "dtd" / SPLIT).is_file()
    assert left_behind(data) == []


@pytest.mark.parametrize("no_ranges", [False, True])
def test_fetching_from_authors_goes_on_where_it_was_cut_off(hub, in_place, data, fetch, no_ranges):
    in_place()
    hub.cut_after, hub.no_ranges = {"dtd-r1.0.1.tar.gz": 3000}, no_ranges
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == ("dtd-r1.0.1.tar.gz", "bytes=3000-")
    assert why_incomplete("dtd", data) is None


def test_fetching_from_authors_goes_on_from_what_an_ended_call_left(hub, in_place, data, fetch, monkeypatch, capsys):
    in_place()
    hub.cut_after = {"dtd-r1.0.1.tar.gz": 3000}
    with monkeypatch.context() as patch:
        patch.setattr("benchmark.data.download.transfer.TRIES", 1)
        assert fetch("dtd") == 2
    assert "goes on from what is there" in capsys.readouterr().err
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == ("dtd-r1.0.1.tar.gz", "bytes=3000-")


def test_server_of_the_authors_that_holds_back_is_waited_for_as_told(hub, in_place, fetch, monkeypatch):
    slept = []
    monkeypatch.setattr("benchmark.data.download.transfer.time.sleep", slept.append)
    in_place()
    hub.broken, hub.headers, hub.patience = {"dtd-r1.0.1.tar.gz": 503}, {"Retry-After": "7"}, 1
    assert fetch("dtd") == 0
    assert sum(slept) == 7


def test_authors_that_cannot_be_reached_either_are_one_message(hub, in_place, fetch, capsys):
    in_place(at="http://127.0.0.1:9")
    hub.broken = {"": 404}
    assert fetch("dtd") == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert said.count("trying again") == 1
    assert "Nor can its authors' archive be had: http://127.0.0.1:9/" in said


def test_offline_mode_asks_no_authors(hub, archive, in_place, fetch, monkeypatch, tmp_path, capsys):
    in_place()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch("dtd", "--from", tmp_path) == 2
    assert "so no other source is asked" in capsys.readouterr().err
    assert hub.requests == []


def test_disk_is_looked_at_before_authors_send_anything(hub, in_place, fetch, monkeypatch, capsys, tmp_path):
    in_place()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert fetch("dtd") == 2
    assert "nothing was fetched" in capsys.readouterr().err
    assert len(hub.fetched()) == 1


def test_plan_shows_the_fall_back_and_writes_nothing(in_place, data, fetch, capsys):
    address = in_place()
    assert fetch("dtd", "--plan") == 0
    assert address in capsys.readouterr().out
    assert [path.name for path in data.rglob("*")] == ["dtd", SPLIT]


def test_list_that_names_other_pictures_leaves_the_archive_for_the_next_call(hub, in_place, data, fetch, capsys):
    in_place()
    split = json.loads((data / "dtd" / SPLIT).read_text())
    split["test"].append(["0/never_was.jpg", 0, "class 0"])
    (data / "dtd" / SPLIT).write_text(json.dumps(split))
    assert fetch("dtd") == 2
    said = capsys.readouterr().err
    assert f"{data / 'dtd' / 'images' / '0' / 'never_was.jpg'} first" in said
    assert f"Look at {data / 'dtd' / SPLIT}" in said
    split["test"].pop()
    (data / "dtd" / SPLIT).write_text(json.dumps(split))
    before = len(hub.fetched())
    assert fetch("dtd") == 0
    assert len(hub.fetched()) == before + 1, "only its size was asked for again"


@pytest.mark.golden
@pytest.mark.slow
def test_real_photographs_of_the_nested_archive_of_caltech_run(shared, hub, authors, data, fetch, tmp_path):
    """The authors' zip holds a tar of the pictures; CoOp's list is put beside."""
    source = shared / "data" / "caltech-101"
    outer = tmp_path / "caltech-101"
    tar_folder(source / "101_ObjectCategories", outer / "101_ObjectCategories.tar.gz", top="101_ObjectCategories/")
    (outer / "Annotations.tar").write_bytes(b"of no use here")
    authors("caltech101", "caltech-101.zip", zip_folder(outer, tmp_path / "caltech-101.zip", top="caltech-101/"))
    split = load_catalog()["caltech101"].split
    (data / "caltech-101").mkdir(parents=True)
    (data / "caltech-101" / split).write_bytes((source / split).read_bytes())
    hub.cut_after = {"caltech-101.zip": 5_000_000}
    assert fetch("caltech101") == 0
    before, after = (load_dataset("caltech101", root, check_files=True) for root in (shared / "data", data))
    assert [item.label for item in before.test] == [item.label for item in after.test]
    words = ["--datasets", "caltech101", "--backbone", "embedded", "--methods", "zero_shot", "--seeds", "1"]
    assert run_all.main(["--data", str(data), *words, "--out", str(tmp_path / "out")]) == 0
