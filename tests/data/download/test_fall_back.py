"""The authors' archives as the fallback: with CoOp's split file in the data folder or in --from FOLDER."""

import hashlib
import shutil

import pytest

from benchmark.data.catalog import load_catalog, load_dataset
from benchmark.data.download.install import why_incomplete
from tests.data.download.conftest import SPLIT, leftovers, record_of


@pytest.mark.parametrize("status", [404, 401, 500, None])
def test_authors_are_asked_if_the_hub_fails_or_lacks_a_dataset(hub, with_list, data, fetch, capsys, status):
    address = with_list()
    hub.files = {"eurosat.zip": b"another dataset's"}
    hub.broken = {"": status} if status else {}
    assert fetch("dtd") == 0
    assert len(load_dataset("dtd", data, check_files=True).test) == 6
    assert sorted(path.name for path in (data / "dtd").iterdir()) == ["images", SPLIT]
    content = hub.published["dtd-r1.0.1.tar.gz"]
    record = record_of(data)
    assert (record["address"], record["size"]) == (address, len(content))
    assert record["md5"] == hashlib.md5(content).hexdigest()
    assert leftovers(data) == []
    output = capsys.readouterr()
    assert (str(status) if status else "contains no archive of it") in output.err
    assert "The authors' archives are used instead: dtd." in output.err
    assert output.out.index(address) < output.out.index("are free")


@pytest.mark.parametrize("fault", ["missing", "damaged", "another dataset"])
def test_authors_are_asked_if_the_hubs_archive_is_unusable(hub, archive, with_list, data, fetch, fault):
    with_list()
    hub.files = {"dtd.zip": archive("dtd"), "oxford_pets.zip": archive("oxford_pets")}
    if fault == "missing":
        hub.broken = {"dtd.zip": 404}
    elif fault == "damaged":
        hub.damaged = {"dtd.zip"}
    else:
        hub.files["dtd.zip"] = hub.files["oxford_pets.zip"]
    assert fetch("dtd", "oxford_pets") == 0
    assert why_incomplete("dtd", data) is None
    assert "address" in record_of(data)


def test_missing_and_invalid_lists_are_found_before_anything_is_downloaded(hub, published, data, fetch, capsys):
    published()
    hub.broken = {"": 404}
    assert fetch("dtd", "food101") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: dtd, food101: ")
    assert error.count("error: ") == 1
    assert f"{data / 'dtd' / SPLIT} is missing" in error
    assert f"{data / 'food-101' / load_catalog()['food101'].split} is missing" in error
    (data / "dtd").mkdir(parents=True)
    (data / "dtd" / SPLIT).write_text("<html>Google Drive: sign in</html>")
    assert fetch("dtd") == 2
    assert f"{data / 'dtd' / SPLIT}: is not JSON" in capsys.readouterr().err
    assert hub.fetched() == []


def test_list_and_archive_of_a_folder_are_used_and_kept(hub, published, data, fetch, tmp_path, capsys):
    published()
    folder = tmp_path / "theirs"
    kept = folder / "dtd-r1.0.1.tar.gz"
    assert fetch("dtd", "--from", folder) == 2
    error = capsys.readouterr().err
    assert f"theirs contains {kept.name}. The authors' archives can be used once" in error
    (folder / "dtd").mkdir()
    shutil.copy(tmp_path / SPLIT, folder / "dtd" / SPLIT)
    content = kept.read_bytes()
    kept.write_bytes(content[:-1])
    assert fetch("dtd", "--from", folder) == 2
    assert f"Replace {kept} by another copy." in capsys.readouterr().err
    kept.write_bytes(content)
    assert fetch("dtd", "--from", folder) == 0
    assert (data / "dtd" / SPLIT).read_bytes() == (tmp_path / SPLIT).read_bytes()
    assert (record_of(data)["folder"], record_of(data)["file"]) == (str(folder), kept.name)
    assert record_of(data)["md5"] == hashlib.md5(content).hexdigest()
    assert kept.read_bytes() == content
    assert hub.requests == []
