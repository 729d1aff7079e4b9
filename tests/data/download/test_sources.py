"""Matching archives to datasets, in a repository, a folder or the hub's cache."""

from benchmark.data.download.hub import Source
from benchmark.data.download.install import choose
from benchmark.data.download.sources import match
from benchmark.data.download.transfer import Archive
from tests.data.download.conftest import record_of


def test_archives_match_by_folder_name_or_alias_in_any_spelling():
    wanted = {
        "caltech101": "caltech-101.zip", "dtd": "DTD.ZIP", "food101": "food101.zip",
        "fgvc_aircraft": "fgvc_aircraft.zip",
        "oxford_flowers": "flowers_102.zip", "imagenet_a": "imagenet-adversarial.zip", "imagenetv2": "imagenetv2.zip",
        "imagenet_sketch": "ImageNet-Sketch.zip",
    }  # fmt: skip
    source = Source(name="x", revision="y", archives=tuple(Archive(name=name, size=1) for name in wanted.values()))
    found, several, missing = match(choose(["all"]), source)
    assert {name: download.archive.name for name, download in found.items()} == wanted
    assert several == {}
    assert set(missing) == set(choose(["all"])) - set(found)
    twice = Source(name="x", revision="y", archives=(Archive(name="dtd.zip", size=1), Archive(name="Dtd.zip", size=1)))
    assert "several archives" in match(["dtd"], twice)[1]["dtd"]


def test_archives_of_a_folder_are_used_and_kept(archive, data, fetch, tmp_path, capsys):
    archive("dtd", top="DTD-full/")
    kept = tmp_path / "zips" / "dtd.zip"
    assert fetch("dtd", "--from", kept.parent) == 0
    assert kept.is_file()
    assert (record_of(data)["folder"], record_of(data)["revision"]) == (str(kept.parent), None)
    assert fetch("ucf101", "--from", kept.parent) == 2
    assert "contains no archive of it. It contains dtd.zip." in capsys.readouterr().err
