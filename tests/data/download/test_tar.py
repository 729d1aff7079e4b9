"""Hostile and damaged tars: refused as zips are, with nothing written; and those that hold a dataset in another way."""

import gzip
import io
import os
import tarfile

import pytest

from benchmark.data.catalog import load_catalog
from benchmark.data.download import archives
from benchmark.data.download.archives import ArchiveError
from benchmark.data.download.unpack import unpack
from tests.data.download.hub import zip_folder

DTD = load_catalog()["dtd"]
NOISE = os.urandom(20_000)


def member(name, content=b"", **more):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, io.BytesIO(content)


@pytest.fixture
def split(tmp_path):
    (tmp_path / DTD.split).write_text("{}")
    return tmp_path / DTD.split


@pytest.fixture
def pack(tmp_path):
    """pack(member("a.jpg", b"..."), ...): a tar of dtd's layout with these members added."""

    def write(*members, name="dtd.tar.gz"):
        path = tmp_path / name
        with tarfile.open(path, "w:gz") as opened:
            for info, content in (member("dtd/images/a.jpg", NOISE), *members):
                opened.addfile(info, content)
        return path

    return write


@pytest.fixture
def refused(tmp_path, split):
    """refused(path): the message with which an archive is refused, nothing of it written anywhere."""

    def check(path):
        before = sorted(tmp_path.parent.rglob("*"))
        with pytest.raises(ArchiveError) as caught:
            unpack(path, DTD, tmp_path / "out" / "dtd", split=split)
        assert sorted(tmp_path.parent.rglob("*")) == before
        return str(caught.value)

    return check


@pytest.mark.parametrize("name", ["../../evil.jpg", "dtd/../../evil.jpg", "/evil.jpg", "C:/evil.jpg", "..\\evil.jpg"])
def test_paths_of_a_tar_that_leave_the_folder_are_refused(pack, refused, name):
    assert "leaves the folder" in refused(pack(member(name, b"x")))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_of_a_tar_are_refused(pack, refused, kind):
    assert "is a link" in refused(pack(member("dtd/images/b.jpg", type=kind, linkname="/etc/passwd")))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_of_a_tar_are_refused(pack, refused, kind):
    assert "is neither file nor folder" in refused(pack(member("dtd/images/b.jpg", type=kind)))


@pytest.mark.parametrize("name", ["dtd/images/a.jpg", "dtd/./images/a.jpg", "dtd/Images/A.JPG"])
def test_members_that_some_disks_take_for_one_are_refused(pack, refused, name):
    assert "would be one file" in refused(pack(member(name, b"other")))


def test_bomb_of_a_tar_is_refused_by_what_it_declares(pack, refused):
    assert "more than 20 times its size" in refused(pack(member("dtd/images/zeros.jpg", bytes(10_000_000))))


def test_bomb_behind_the_end_of_a_tar_is_refused(pack, refused, monkeypatch):
    monkeypatch.setattr(archives, "MARGIN", 1000)
    path = pack()
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(10_000_000)))
    assert "more than 20 times its size" in refused(path)


def test_header_that_would_fill_the_memory_is_refused(pack, refused, monkeypatch):
    monkeypatch.setattr(archives, "MOST_AT_ONCE", 1 << 14)
    path = pack(member("dtd/images/" + "b" * 50_000, b"x"))
    assert "is damaged (a header of" in refused(path)


def test_member_below_zero_bytes_is_damage(pack, refused):
    path = pack(member("dtd/images/b.jpg", b"x"))
    content = bytearray(gzip.decompress(path.read_bytes()))
    header = content.index(b"dtd/images/b.jpg")
    content[header + 124 : header + 136] = b"\xff" * 11 + b"\xf0"  # -16, as GNU writes numbers
    content[header + 148 : header + 156] = b" " * 8
    content[header + 148 : header + 156] = b"%06o\0 " % sum(content[header : header + 512])
    path.write_bytes(gzip.compress(content))
    assert "is damaged" in refused(path)


def test_damage_in_the_middle_of_a_tar_is_not_taken_for_its_end(pack, refused):
    path = pack(member("dtd/images/b.jpg", NOISE))
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[content.index(b"dtd/images/b.jpg")] ^= 1
    path.write_bytes(gzip.compress(content))
    assert "a header cannot be read" in refused(path)


def test_tars_that_are_cut_off_or_none_are_damaged(pack, refused, tmp_path):
    whole = pack().read_bytes()
    for content in (b"", b"<html>Not found</html>", whole[:-30], gzip.compress(b"no tar"), gzip.compress(b"")):
        (tmp_path / "dtd.tar.gz").write_bytes(content)
        assert "is damaged" in refused(tmp_path / "dtd.tar.gz")


def test_file_rights_and_owners_of_a_tar_are_not_taken_over(pack, tmp_path, split):
    unpack(pack(member("dtd/images/run.sh", b"x", mode=0o6777, uid=12345)), DTD, tmp_path / "out" / "dtd", split=split)
    status = (tmp_path / "out" / "dtd" / "images" / "run.sh").stat()
    assert not status.st_mode & 0o7111
    assert status.st_uid == os.getuid()


def test_only_the_image_folder_is_taken_and_the_list_laid_beside(pack, tmp_path, split):
    unpack(pack(member("dtd/imdb/imdb.mat", b"x")), DTD, tmp_path / "out" / "dtd", split=split)
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert found == ["dtd/images/a.jpg", f"dtd/{DTD.split}"]


def test_tar_with_lists_of_its_own_is_unpacked_whole(tmp_path):
    entry = load_catalog()["fgvc_aircraft"]
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as opened:
        for name in ("images/1.jpg", "variants.txt"):
            opened.addfile(*member(f"fgvc-aircraft-2013b/data/{name}", NOISE))
    unpack(tmp_path / "a.tar.gz", entry, tmp_path / "fgvc_aircraft")
    assert sorted(path.name for path in (tmp_path / "fgvc_aircraft").iterdir()) == ["images", "variants.txt"]


@pytest.mark.parametrize("inner", ["images.tar.gz", "images.tgz"])
def test_image_folder_that_is_an_archive_in_the_archive_is_unpacked(pack, tmp_path, split, inner):
    (tmp_path / "outer" / "dtd").mkdir(parents=True)
    pack(name=f"outer/dtd/{inner}")
    zip_folder(tmp_path / "outer", tmp_path / "dtd.zip")
    unpack(tmp_path / "dtd.zip", DTD, tmp_path / "out" / "dtd", split=split)
    assert (tmp_path / "out" / "dtd" / "images" / "a.jpg").read_bytes() == NOISE


def test_hostile_archive_in_the_archive_is_refused(pack, refused, tmp_path):
    (tmp_path / "outer").mkdir()
    pack(member("../evil.jpg", b"x"), name="outer/images.tar.gz")
    zip_folder(tmp_path / "outer", tmp_path / "dtd.zip")
    assert "leaves the folder" in refused(tmp_path / "dtd.zip")


def test_archive_in_an_archive_in_the_archive_is_left(refused, tmp_path):
    for depth in range(2):
        with tarfile.open(tmp_path / "images.tar.gz", "w:gz") as opened:
            opened.addfile(*member("images.tar.gz", (tmp_path / "inner").read_bytes() if depth else NOISE))
        (tmp_path / "inner").write_bytes((tmp_path / "images.tar.gz").read_bytes())
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "images.tar.gz").write_bytes((tmp_path / "inner").read_bytes())
    zip_folder(tmp_path / "outer", tmp_path / "dtd.zip")
    assert "images/ is needed, and it holds none" in refused(tmp_path / "dtd.zip")
