"""Unpacking untrusted archives: unsafe ones are refused with nothing written, and a dataset is found inside."""

import gzip
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import PurePosixPath

import pytest

from benchmark.common import shutdown
from benchmark.data.catalog import load_catalog
from benchmark.data.download import archives
from benchmark.data.download import unpack as module
from benchmark.data.download.archives import ArchiveError
from benchmark.data.download.install import install, why_incomplete
from benchmark.data.download.unpack import find_content, unpack
from benchmark.errors import DataError
from tests.data.download.hub import tar_folder, zip_folder
from tests.helpers.faults import full_disk

DTD = load_catalog()["dtd"]
NOISE = os.urandom(20_000)
CONTENT = (("dtd/images/a.jpg", NOISE), (f"dtd/{DTD.split}", b"{}"))


def pack_zip(path, *entries, method=zipfile.ZIP_DEFLATED):
    """A zip of dtd with more entries: (name, content) or (name, content, kind and mode)."""
    with zipfile.ZipFile(path, "w", method) as opened:
        for name, content, *mode in (*CONTENT, *entries):
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = sum(mode) << 16, method
            opened.writestr(info, content)
    return path


def pack_tar(path, *entries):
    """The same as a gzipped tar; a block device becomes a hard link."""
    kinds = {stat.S_IFLNK: tarfile.SYMTYPE, stat.S_IFIFO: tarfile.FIFOTYPE, stat.S_IFBLK: tarfile.LNKTYPE}
    with tarfile.open(path, "w:gz") as opened:
        for name, content, *mode in (*CONTENT, *entries):
            info = tarfile.TarInfo(name)
            info.type = kinds.get(stat.S_IFMT(sum(mode)), tarfile.REGTYPE)
            info.mode, info.uid = stat.S_IMODE(sum(mode)), 12345
            info.size, info.linkname = len(content) * (info.type == tarfile.REGTYPE), "/etc/passwd"
            opened.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(params=["dtd.zip", "dtd.tar.gz"])
def pack(tmp_path, request):
    """pack((name, content), ...): an archive of either kind."""
    return lambda *entries: (pack_zip if request.param == "dtd.zip" else pack_tar)(tmp_path / request.param, *entries)


@pytest.fixture
def target(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    return tmp_path / "deep" / "er" / "out" / "dtd"


@pytest.fixture
def refused(tmp_path, target):
    """refused(path): the message with which an archive is refused; nothing is written, nor in a folder above."""

    def check(path, **options):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ArchiveError) as caught:
            unpack(path, DTD, target, **options)
        assert sorted(tmp_path.rglob("*")) == before
        return str(caught.value)

    return check


@pytest.mark.parametrize(
    "name",
    ["../../evil.jpg", "dtd/../../evil.jpg", "/evil.jpg", "C:/evil.jpg", "..\\evil.jpg", "\\\\host\\evil.jpg"],
)
def test_paths_that_leave_the_folder_are_refused(pack, refused, name):
    message = refused(pack((name, b"x")))
    assert "leaves the folder" in message
    assert "Nothing was unpacked" in message


@pytest.mark.parametrize(
    ("kind", "message"),
    [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "is neither file nor folder"), (stat.S_IFBLK, "is ")],
)
def test_links_pipes_and_devices_are_refused(pack, refused, kind, message):
    assert message in refused(pack(("dtd/images/b.jpg", b"/etc/passwd", kind, 0o777)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "names",
    [["dtd/images/a.jpg"], ["dtd/./images/a.jpg"], ["dtd\\images\\a.jpg"], ["dtd/Images/A.JPG"],
     ["dtd/caf\u00e9.txt", "dtd/cafe\u0301.txt"]],
)  # fmt: skip
def test_entries_that_could_be_one_file_are_refused(pack, refused, names):
    assert "would be one file" in refused(pack(*((name, b"other") for name in names)))


def test_bombs_and_too_many_entries_are_refused(pack, refused, monkeypatch):
    assert "more than 20 times its size" in refused(pack(("dtd/images/zeros.jpg", bytes(10_000_000))))
    assert "and 4 more" in refused(pack(*((f"../{number}.jpg", b"x") for number in range(12))))
    monkeypatch.setattr(module, "MOST_ENTRIES", 2)
    assert "contains more than 2 entries" in refused(pack(("dtd/x", b"")))


def test_damaged_and_truncated_archives_are_refused(pack, refused):
    path = pack()
    whole = path.read_bytes()
    for content in (b"", b"<html>Not found</html>", gzip.compress(b"no tar"), gzip.compress(b""), whole[:-30]):
        path.write_bytes(content)
        assert "is damaged" in refused(path)


def test_permissions_and_owners_are_not_preserved(pack, target):
    unpack(pack(("dtd/run.sh", b"x", stat.S_IFREG, 0o6777)), DTD, target)
    status = (target / "run.sh").stat()
    assert not status.st_mode & 0o7111
    assert status.st_uid == os.getuid()


def overlap(content):
    """Declare more compressed bytes than the file has: a kind of bomb that no ratio of a single entry reveals."""
    struct.pack_into("<II", content, content.rindex(b"PK\x01\x02") + 20, 50_000, 50_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: struct.pack_into("<H", content, content.rindex(b"PK\x01\x02") + 8, 1), "is encrypted"),
        (lambda content: struct.pack_into("<H", content, content.rindex(b"PK\x01\x02") + 10, 97), "by method 97"),
        (overlap, "its entries overlap"),
    ],
)
def test_encrypted_overlapping_and_unknown_entries_of_a_zip_are_refused(refused, tmp_path, change, message):
    path = pack_zip(tmp_path / "dtd.zip", ("dtd/images/b.jpg", NOISE))
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    assert message in refused(path)


def test_entry_of_a_zip_gives_no_more_than_it_declares(target, tmp_path):
    path = pack_zip(tmp_path / "dtd.zip", ("dtd/images/b.jpg", NOISE))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 24, 10)  # its unpacked size
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(path, DTD, target)
    assert (target / "images" / "b.jpg").stat().st_size <= 10


def test_name_with_a_nul_byte_is_refused(refused, tmp_path):
    path = pack_zip(tmp_path / "dtd.zip", ("dtd/images/bXjpg", b"x"))
    path.write_bytes(path.read_bytes().replace(b"bXjpg", b"b\0jpg"))
    assert "leaves the folder" in refused(path)


def test_bomb_after_the_end_of_a_tar_and_a_huge_header_are_refused(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MARGIN", 1000)
    path = pack_tar(tmp_path / "dtd.tar.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(10_000_000)))
    assert "more than 20 times its size" in refused(path)
    monkeypatch.undo()
    monkeypatch.setattr(archives, "MOST_AT_ONCE", 1 << 14)
    path = pack_tar(tmp_path / "dtd.tar.gz", ("dtd/images/" + "b" * 50_000, b"x"))
    assert "is damaged (a header of" in refused(path)


def test_damaged_headers_of_a_tar_are_not_taken_for_its_end(refused, tmp_path):
    path = pack_tar(tmp_path / "dtd.tar.gz", ("dtd/images/b.jpg", NOISE))
    whole = gzip.decompress(path.read_bytes())
    header = whole.index(b"dtd/images/b.jpg")
    content = bytearray(whole)
    content[header] ^= 1
    path.write_bytes(gzip.compress(content))
    assert "a header cannot be read" in refused(path)
    content = bytearray(whole)
    content[header + 124 : header + 136] = b"\xff" * 11 + b"\xf0"  # a size of -16, as GNU tar writes numbers
    content[header + 148 : header + 156] = b" " * 8
    content[header + 148 : header + 156] = b"%06o\0 " % sum(content[header : header + 512])
    path.write_bytes(gzip.compress(content))
    assert "is damaged" in refused(path)


@pytest.fixture
def split(tmp_path):
    """A split file of dtd outside its archive."""
    (tmp_path / DTD.split).write_text("{}")
    return tmp_path / DTD.split


@pytest.mark.parametrize("inner", ["", "images.tar.gz", "images.tgz"])
def test_image_folder_is_unpacked_and_the_split_file_added(tmp_path, target, split, inner):
    """The image folder may be an archive in the archive."""
    outer = tmp_path / "outer"
    (outer / "dtd").mkdir(parents=True)
    path = pack_tar(outer / "dtd" / inner if inner else tmp_path / "dtd.tar.gz", ("dtd/imdb/imdb.mat", b"x"))
    if inner:
        path = tmp_path / "dtd.zip"
        zip_folder(outer, path)
    unpack(path, DTD, target, split=split)
    found = sorted(path.relative_to(target).as_posix() for path in target.rglob("*.*"))
    assert found == ["images/a.jpg", DTD.split]
    assert (target / "images" / "a.jpg").read_bytes() == NOISE


def test_hostile_archive_in_an_archive_is_refused(refused, tmp_path, split):
    (tmp_path / "outer").mkdir()
    pack_tar(tmp_path / "outer" / "images.tar.gz", ("../evil.jpg", b"x"))
    zip_folder(tmp_path / "outer", tmp_path / "dtd.zip")
    assert "leaves the folder" in refused(tmp_path / "dtd.zip", split=split)


def test_archive_in_an_archive_in_an_archive_is_not_unpacked(refused, tmp_path, split):
    path = tmp_path / "images.tar.gz"
    pack_tar(path)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        path = path.rename(tmp_path / folder / "images.tar.gz")
        tar_folder(tmp_path / folder, path := tmp_path / "images.tar.gz")
    assert "must contain one folder with images/, and contains none" in refused(path, split=split)


def test_files_of_file_managers_are_left_out(pack, target):
    unpack(pack(*((name, b"x") for name in ("__MACOSX/dtd/images/._a.jpg", "dtd/.DS_Store"))), DTD, target)
    assert sorted(path.name for path in target.parent.rglob("*") if path.is_file()) == ["a.jpg", DTD.split]


def test_free_space_is_checked_before_anything_is_written(pack, target, monkeypatch):
    usage = shutil.disk_usage(target.parents[1])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"GB, and 0\.00 GB are free"):
        unpack(pack(), DTD, target)
    assert not target.exists()


def test_interrupted_unpacking_leaves_nothing_and_what_a_killed_process_left_is_deleted(archive, tmp_path, monkeypatch):
    archive("dtd")
    left = tmp_path / "data" / ".downloads" / "unpacking-dtd" / "dtd" / "images" / "left.jpg"
    left.parent.mkdir(parents=True)
    left.touch()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutdown, "check", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        install("dtd", tmp_path / "zips" / "dtd.zip", tmp_path / "data")
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == []
    install("dtd", tmp_path / "zips" / "dtd.zip", tmp_path / "data")
    assert why_incomplete("dtd", tmp_path / "data") is None


def test_full_disk_is_not_the_archives_fault_and_leaves_nothing(archive, tmp_path):
    archive("dtd")
    data = tmp_path / "data"
    data.mkdir()
    with full_disk(300), pytest.raises(DataError, match="cannot be unpacked") as caught:
        install("dtd", tmp_path / "zips" / "dtd.zip", data)
    assert not isinstance(caught.value, ArchiveError)
    assert [path for path in data.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("name", "paths", "wanted"),
    [
        ("dtd", ["data/dtd/images/a/b.jpg", f"data/dtd/{DTD.split}", "README"], "data/dtd"),
        ("dtd", [f"{top}/{name}" for top in ("dtd", "old") for name in ("images/a.jpg", DTD.split)], "dtd"),
        ("fgvc_aircraft", ["fgvc/data/images/1.jpg", "fgvc/data/variants.txt"], "fgvc/data"),
        ("dtd", [f"{top}/{name}" for top in ("a", "b") for name in ("images/a.jpg", DTD.split)], "contains 2 of them"),
        ("dtd", ["images/a.jpg", "x/b.jpg"], "contains none; at its top level: images, x"),
    ],
)
def test_dataset_is_found_in_an_archive_or_the_archive_refused(name, paths, wanted):
    try:
        found = find_content([PurePosixPath(path) for path in paths], load_catalog()[name], "x.zip")
    except ArchiveError as error:
        assert wanted in str(error)
    else:
        assert found == PurePosixPath(wanted)
