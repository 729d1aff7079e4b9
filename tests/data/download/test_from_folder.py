"""--from FOLDER: its lists for the authors' archives, and the authors' archives that lie there."""

import hashlib
import json
import shutil

import pytest

from benchmark.data.catalog import load_catalog
from benchmark.data.download import install
from benchmark.data.download.install import is_absent, why_incomplete
from tests.data.download.conftest import SPLIT
from tests.data.download.hub import zip_folder


@pytest.mark.parametrize("inside", ["", "dtd"])
def test_list_is_taken_from_the_folder_that_is_named(hub, pictures, data, fetch, tmp_path, inside):
    pictures()
    (tmp_path / "lists" / inside).mkdir(parents=True)
    kept = shutil.copy(tmp_path / SPLIT, tmp_path / "lists" / inside / SPLIT)
    assert fetch("dtd", "--from", tmp_path / "lists") == 0
    assert why_incomplete("dtd", data) is None
    assert (data / "dtd" / SPLIT).read_bytes() == (tmp_path / SPLIT).read_bytes()
    assert kept.is_file()
    assert [path for _, path, _ in hub.requests if "/api/" in path] == [], "the hub is not asked"


def test_folders_archive_of_the_authors_is_taken_and_stays(hub, in_place, data, fetch, tmp_path):
    in_place()
    kept = tmp_path / "theirs" / "dtd-r1.0.1.tar.gz"
    assert fetch("dtd", "--from", kept.parent) == 0
    assert kept.is_file()
    assert hub.requests == []
    record = json.loads((data / install.RECORD).read_text())["dtd"]
    assert (record["folder"], record["file"]) == (str(kept.parent), kept.name)
    assert record["md5"] == hashlib.md5(kept.read_bytes()).hexdigest()


def test_folders_archive_of_the_authors_with_a_wrong_md5_is_refused_and_stays(in_place, data, fetch, tmp_path, capsys):
    in_place()
    kept = tmp_path / "theirs" / "dtd-r1.0.1.tar.gz"
    kept.write_bytes(kept.read_bytes()[:-1])
    assert fetch("dtd", "--from", kept.parent) == 2
    assert f"Put another copy in the place of {kept}." in capsys.readouterr().err
    assert kept.is_file()
    assert is_absent("dtd", data)


def test_folders_archive_of_the_authors_without_its_list_is_told(hub, pictures, fetch, tmp_path, capsys):
    pictures()
    assert fetch("dtd", "--from", tmp_path / "theirs") == 2
    said = capsys.readouterr().err
    assert "theirs holds dtd-r1.0.1.tar.gz. The authors' archives can be taken once" in said
    assert f"{SPLIT} is missing" in said
    assert hub.requests == []


def test_zip_called_as_the_authors_is_whole_unless_it_has_their_md5(authors, archive, data, fetch, tmp_path):
    """The hub's zip and the authors' of Caltech101 and EuroSAT have the same name."""
    whole = archive("eurosat")
    split = load_catalog()["eurosat"].split
    folder = tmp_path / "made" / "eurosat"
    theirs = zip_folder(folder / "2750", tmp_path / "theirs" / "EuroSAT.zip", top="2750/")
    authors("eurosat", "EuroSAT.zip", theirs)
    (tmp_path / "theirs" / split).write_bytes((folder / split).read_bytes())
    assert fetch("eurosat", "--from", tmp_path / "theirs") == 0
    assert "md5" in json.loads((data / install.RECORD).read_text())["eurosat"]
    shutil.rmtree(data / "eurosat")
    (tmp_path / "theirs" / "EuroSAT.zip").write_bytes(whole)
    (tmp_path / "theirs" / split).unlink()
    assert fetch("eurosat", "--from", tmp_path / "theirs") == 0
    assert "sha256" in json.loads((data / install.RECORD).read_text())["eurosat"]
