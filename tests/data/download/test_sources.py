"""Which archive is which dataset: by the names of files in a repository, a folder or the cache of the hub."""

import json
from pathlib import Path

from huggingface_hub import constants

from benchmark.data.catalog import load_catalog
from benchmark.data.download import install, sources
from benchmark.data.download.hub import REPOSITORY, Source
from benchmark.data.download.install import choose
from benchmark.data.download.sources import match
from benchmark.data.download.transfer import Archive
from tests.data.download.hub import REVISION


def test_archives_are_known_by_folder_name_or_alias_whatever_their_spelling():
    names = ("caltech-101.zip", "DTD.ZIP", "food101.zip", "flowers_102.zip", "imagenet-adversarial.zip",
             "imagenetv2.zip", "ImageNet-Sketch.zip", "fgvc_aircraft.zip")  # fmt: skip
    source = Source(name="x", revision="y", archives=tuple(Archive(name=name, size=1) for name in names))
    found, several, lacking = match(choose(["all"]), source)
    assert {name: offer.archive.name for name, offer in found.items()} == {
        "caltech101": "caltech-101.zip", "dtd": "DTD.ZIP", "food101": "food101.zip",
        "oxford_flowers": "flowers_102.zip",
        "imagenet_a": "imagenet-adversarial.zip", "imagenetv2": "imagenetv2.zip",
        "imagenet_sketch": "ImageNet-Sketch.zip", "fgvc_aircraft": "fgvc_aircraft.zip",
    }  # fmt: skip
    assert several == {}
    assert set(lacking) == set(choose(["all"])) - set(found)
    twice = Source(name="x", revision="y", archives=(Archive(name="dtd.zip", size=1), Archive(name="Dtd.zip", size=1)))
    assert "several archives" in match(["dtd"], twice)[1]["dtd"]


def test_names_and_aliases_of_the_catalogue_are_no_two_datasets():
    plain = [
        {sources._plain(each) for each in (name, entry.folder, *entry.aliases)}
        for name, entry in load_catalog().items()
    ]
    assert sum(map(len, plain)) == len(set().union(*plain))


def test_offline_mode_takes_the_cache_of_the_hub_or_says_so(hub, archive, data, fetch, capsys, monkeypatch):
    hub.files = {"dtd.zip": archive("dtd")}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch("dtd") == 2
    assert "Offline mode (HF_HUB_OFFLINE) is on" in capsys.readouterr().err
    snapshot = Path(constants.HF_HUB_CACHE) / f"models--{REPOSITORY.replace('/', '--')}"
    (snapshot / "snapshots" / REVISION).mkdir(parents=True)
    (snapshot / "refs").mkdir()
    (snapshot / "refs" / "main").write_text(REVISION)
    cached = snapshot / "snapshots" / REVISION / "dtd.zip"
    cached.write_bytes(hub.files["dtd.zip"])
    assert fetch("dtd") == 0
    assert json.loads((data / install.RECORD).read_text())["dtd"]["revision"] == REVISION
    assert cached.is_file()
    assert hub.requests == []


def test_dataset_without_an_archive_is_told_which_there_are(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd"), "eurosat.zip": b""}
    assert fetch("ucf101") == 2
    assert "holds no archive of it. It holds dtd.zip, eurosat.zip." in capsys.readouterr().err


def test_archives_of_a_folder_are_taken_and_stay(archive, data, fetch, tmp_path):
    archive("dtd", top="DTD-full/")
    kept = tmp_path / "zips" / "dtd.zip"
    assert fetch("dtd", "--from", kept.parent) == 0
    assert kept.is_file()
    record = json.loads((data / install.RECORD).read_text())["dtd"]
    assert (record["folder"], record["revision"]) == (str(kept.parent), None)


def test_folder_without_archives_is_told_to_be_so(data, fetch, tmp_path, capsys):
    assert fetch("dtd", "--from", tmp_path) == 2
    assert "holds no archive of it. It holds none." in capsys.readouterr().err
