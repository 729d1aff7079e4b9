"""Unpacking archives of others: where the dataset lies in them, and all that is refused with nothing written."""

import io
import os
import shutil
import stat
import struct
import zipfile
from pathlib import PurePosixPath

import pytest

from benchmark.common import shutdown
from benchmark.data.catalog import load_catalog
from benchmark.data.download import unpack as module
from benchmark.data.download.archives import ArchiveError
from benchmark.data.download.install import install, why_incomplete
from benchmark.data.download.unpack import find_content, unpack
from benchmark.errors import DataError
from tests.helpers.faults import full_disk

DTD = load_catalog()["dtd"]
NOISE = os.urandom(20_000)


@pytest.fixture
def pack(tmp_path):
    """pack(("a.jpg", b"..."), ...): a zip of dtd's layout with these entries, names or ZipInfo, added."""

    def write(*entries, method=zipfile.ZIP_DEFLATED):
        path = tmp_path / "dtd.zip"
        with zipfile.ZipFile(path, "w", method) as opened:
            opened.writestr("dtd/images/a.jpg", NOISE)
            opened.writestr(f"dtd/{DTD.split}", "{}")
            for name, content in entries:
                opened.writestr(name, content)
        return path

    return write


@pytest.fixture
def refused(tmp_path):
    """refused(path): the message with which an archive is refused, nothing of it written, some folders up either."""
    (tmp_path / "deep" / "er").mkdir(parents=True)

    def check(path):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ArchiveError) as caught:
            unpack(path, DTD, tmp_path / "deep" / "er" / "out" / "dtd")
        assert sorted(tmp_path.rglob("*")) == before
        return str(caught.value)

    return check


def entry(name, *, mode=0, flags=0):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.flag_bits |= flags
    return info


def with_raw_name(path, name, raw):
    """The archive with an entry's name replaced, of the same length, as no library would write it."""
    assert len(name) == len(raw)
    path.write_bytes(path.read_bytes().replace(name, raw))
    return path


@pytest.mark.parametrize(
    "name",
    ["../../evil.jpg", "dtd/../../evil.jpg", "/evil.jpg", "C:/evil.jpg", "..\\evil.jpg", "\\\\host\\evil.jpg"],
)
def test_paths_that_leave_the_folder_are_refused(pack, refused, name):
    message = refused(pack((name, b"x")))
    assert "leaves the folder" in message
    assert "Nothing of it was unpacked" in message


def test_name_with_a_nul_byte_is_refused(pack, refused):
    path = with_raw_name(pack(("dtd/images/bXjpg", b"x")), b"bXjpg", b"b\0jpg")
    assert "leaves the folder" in refused(path)


def test_links_and_devices_are_refused(pack, refused):
    assert "is a link" in refused(pack((entry("dtd/images/b.jpg", mode=stat.S_IFLNK | 0o777), b"/etc/passwd")))
    assert "is neither file nor folder" in refused(pack((entry("dtd/pipe", mode=stat.S_IFIFO | 0o666), b"")))


def test_encrypted_entries_are_refused(pack, refused):
    path = pack(("dtd/images/b.jpg", b"x"))
    content = bytearray(path.read_bytes())
    where = content.rindex(b"PK\x01\x02")  # the last entry of the index; its flags are at 8
    struct.pack_into("<H", content, where + 8, 1)
    path.write_bytes(content)
    assert "is encrypted" in refused(path)


def test_unknown_methods_are_refused(pack, refused):
    path = pack(("dtd/images/b.jpg", b"x"))
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, content.rindex(b"PK\x01\x02") + 10, 97)
    path.write_bytes(content)
    assert "is packed by method 97" in refused(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["dtd/images/a.jpg", "dtd/images//a.jpg", "dtd/./images/a.jpg", "dtd\\images\\a.jpg"])
def test_entries_that_would_be_one_file_are_refused(pack, refused, name):
    assert "would be one file" in refused(pack((name, b"other")))


def test_names_that_some_disks_take_for_one_are_refused(pack, refused):
    assert "would be one file" in refused(pack(("dtd/Images/A.JPG", b"other")))
    composed, decomposed = "dtd/caf\u00e9.txt", "dtd/cafe\u0301.txt"
    assert "would be one file" in refused(pack((composed, b"1"), (decomposed, b"2")))


def test_bomb_is_refused_by_what_it_declares(pack, refused):
    assert "more than 20 times its size" in refused(pack(("dtd/images/zeros.jpg", bytes(10_000_000))))


def test_entries_that_overlap_are_refused(pack, refused):
    """Many names for the same packed bytes: the kind of bomb whose ratio no single entry shows."""
    path = pack(("dtd/images/b.jpg", NOISE), method=zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as opened:
        infos = {info.filename: info for info in opened.infolist()}
    content = bytearray(path.read_bytes())
    for name, info in infos.items():
        if name.endswith(".json"):
            where = content.rindex(name.encode()) - 46
            struct.pack_into("<II", content, where + 20, 50_000, 50_000)
            assert info.header_offset
    path.write_bytes(content)
    assert "its entries overlap" in refused(path)


def test_entry_gives_no_more_than_it_declares(pack, tmp_path):
    path = pack(("dtd/images/b.jpg", NOISE))
    content = bytearray(path.read_bytes())
    where = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, where + 24, 10)  # its unpacked size
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(path, DTD, tmp_path / "out" / "dtd")
    assert (tmp_path / "out" / "dtd" / "images" / "b.jpg").stat().st_size <= 10


def test_too_many_entries_are_refused(pack, refused, monkeypatch):
    monkeypatch.setattr(module, "MOST_ENTRIES", 2)
    assert "holds more than 2 entries" in refused(pack(("dtd/x", b"")))


def test_all_that_is_wrong_is_in_one_message_and_the_rest_is_counted(pack, refused):
    message = refused(pack(*((f"../{i}.jpg", b"x") for i in range(12))))
    assert "and 4 more" in message


def test_damaged_archives_are_told_apart_from_other_errors(pack, refused, tmp_path):
    whole = pack().read_bytes()
    for content in (b"", b"not a zip", whole[:-30]):
        (tmp_path / "dtd.zip").write_bytes(content)
        assert "is damaged" in refused(tmp_path / "dtd.zip")
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF
    (tmp_path / "dtd.zip").write_bytes(flipped)
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(tmp_path / "dtd.zip", DTD, tmp_path / "out" / "dtd")


def test_file_rights_of_an_archive_are_not_taken_over(pack, tmp_path):
    path = pack((entry("dtd/run.sh", mode=stat.S_IFREG | 0o6777), b"x"))
    unpack(path, DTD, tmp_path / "out" / "dtd")
    assert not (tmp_path / "out" / "dtd" / "run.sh").stat().st_mode & 0o7111


def test_litter_of_file_managers_is_left_out(pack, tmp_path):
    path = pack(("__MACOSX/dtd/images/._a.jpg", b"x"), ("dtd/.DS_Store", b"x"), ("dtd/images/._a.jpg", b"x"))
    unpack(path, DTD, tmp_path / "out" / "dtd")
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == ["a.jpg", DTD.split]


def test_space_is_looked_at_before_anything_is_written(pack, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"would become .* GB, and 0.00 GB are free"):
        unpack(pack(), DTD, tmp_path / "out" / "dtd")
    assert not (tmp_path / "out" / "dtd").exists()


def test_disk_that_fills_while_unpacking_is_no_fault_of_the_archive(archive, tmp_path):
    archive("dtd")
    data = tmp_path / "data"
    data.mkdir()
    with full_disk(300), pytest.raises(DataError, match="cannot be unpacked") as caught:
        install("dtd", tmp_path / "zips" / "dtd.zip", data)
    assert not isinstance(caught.value, ArchiveError)
    assert [path for path in data.rglob("*") if path.is_file()] == []
    install("dtd", tmp_path / "zips" / "dtd.zip", data)
    assert why_incomplete("dtd", data) is None


def test_request_to_end_in_the_middle_leaves_nothing(archive, tmp_path, monkeypatch):
    archive("dtd")
    (tmp_path / "data").mkdir()

    def check():
        raise shutdown.Terminated

    monkeypatch.setattr(shutdown, "check", check)
    with pytest.raises(shutdown.Terminated):
        install("dtd", tmp_path / "zips" / "dtd.zip", tmp_path / "data")
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == []


def test_what_a_killed_call_left_is_cleared_away(archive, tmp_path):
    archive("dtd")
    left = tmp_path / "data" / ".downloads" / "unpacking-dtd" / "dtd" / "images" / "0"
    left.mkdir(parents=True)
    (left / "train_0.jpg").write_bytes(b"half")
    install("dtd", tmp_path / "zips" / "dtd.zip", tmp_path / "data")
    assert why_incomplete("dtd", tmp_path / "data") is None
    assert not left.exists()


def paths(*names):
    return [PurePosixPath(name) for name in names]


@pytest.mark.parametrize("top", ["", "dtd/", "dtd-main/", "data/dtd/"])
def test_content_is_found_at_the_top_or_below(top, tmp_path):
    found = find_content(paths(f"{top}images/a/b.jpg", f"{top}{DTD.split}", "README"), DTD, "dtd.zip")
    assert f"{found}/" == (top or "./")


def test_content_of_other_layouts_is_found_by_what_they_hold(tmp_path):
    catalog = load_catalog()
    cars = paths("x/cars_train/1.jpg", f"x/{catalog['stanford_cars'].split}")
    assert find_content(cars, catalog["stanford_cars"], "dtd.zip") == PurePosixPath("x")
    aircraft = paths("fgvc/data/images/1.jpg", "fgvc/data/variants.txt")
    assert find_content(aircraft, catalog["fgvc_aircraft"], "dtd.zip") == PurePosixPath("fgvc/data")
    sketch = paths("images/n01440764/1.JPEG")
    assert find_content(sketch, catalog["imagenet_sketch"], "dtd.zip") == PurePosixPath()


def test_of_two_places_the_one_called_as_the_folder_is_taken(tmp_path):
    two = [f"{top}/{name}" for top in ("dtd", "old") for name in ("images/a.jpg", DTD.split)]
    assert find_content(paths(*two), DTD, "dtd.zip") == PurePosixPath("dtd")
    other = [name.replace("dtd/", "new/") for name in two]
    with pytest.raises(ArchiveError, match="it holds 2 of them"):
        find_content(paths(*other), DTD, "dtd.zip")


def test_archive_of_something_else_names_what_is_at_its_top(tmp_path):
    with pytest.raises(ArchiveError, match=r"images/ and split_zhou_Desc.* it holds none; at its top: images, x"):
        find_content(paths("images/a.jpg", "x/b.jpg"), DTD, "dtd.zip")


def test_pictures_without_the_split_file_are_no_dataset(refused, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("dtd/images/a.jpg", NOISE)
    (tmp_path / "dtd.zip").write_bytes(buffer.getvalue())
    assert DTD.split in refused(tmp_path / "dtd.zip")
