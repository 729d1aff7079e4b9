"""Transfers that are interrupted, refused, rate-limited or damaged, from the hub and from the datasets' authors."""

import os
import subprocess
import sys

import pytest
from huggingface_hub import constants

from benchmark.common import shutdown
from benchmark.common.files import REPOSITORY
from benchmark.data.download import install, transfer
from benchmark.data.download.install import why_incomplete
from tests.data.download.conftest import leftovers
from tests.helpers.faults import full_disk


@pytest.fixture(params=["hub", "authors"])
def name(request, hub):
    """The file that is downloaded: the hub's zip, or the authors' tar where the hub has none."""
    if request.param == "hub":
        hub.files = {"dtd.zip": request.getfixturevalue("archive")("dtd")}
        return "dtd.zip"
    request.getfixturevalue("with_list")()
    return "dtd-r1.0.1.tar.gz"


@pytest.mark.parametrize("no_ranges", [False, True])
def test_broken_connection_is_resumed(hub, name, data, fetch, no_ranges):
    hub.cut_after, hub.no_ranges = {name: 3000}, no_ranges
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == (name, "bytes=3000-")
    assert why_incomplete("dtd", data) is None


def test_download_is_resumed_by_the_next_command(hub, name, data, fetch, monkeypatch, capsys):
    hub.cut_after = {name: 3000}
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "TRIES", 1)
        assert fetch("dtd") == 2
    assert "The same command resumes the download." in capsys.readouterr().err
    [partial] = (data / install.WORK).glob(f"*/{name}")
    assert partial.stat().st_size == 3000
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == (name, "bytes=3000-")
    assert leftovers(data) == []


def test_partial_file_is_kept_when_the_user_stops(hub, archive, fetch, monkeypatch, capsys):
    def check():
        if hub.fetched() and next(checks):
            raise shutdown.Terminated

    hub.files = {"dtd.zip": archive("dtd")}
    checks = iter([False] * 4 + [True])
    with monkeypatch.context() as patch:
        patch.setattr(shutdown, "check", check)
        assert fetch("dtd") == shutdown.EXIT_CODE
    assert "downloaded files are kept" in capsys.readouterr().err
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == ("dtd.zip", "bytes=4000-")


def test_damaged_archive_is_deleted_and_the_others_are_downloaded(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd"), "oxford_pets.zip": archive("oxford_pets")}
    hub.damaged = {"dtd.zip"}
    assert fetch("dtd", "oxford_pets") == 1
    assert "dtd.zip is damaged or a different file: its sha256 is" in capsys.readouterr().err
    assert not (data / "dtd").exists()
    assert leftovers(data) == []
    assert why_incomplete("oxford_pets", data) is None


@pytest.mark.parametrize(
    ("status", "message"),
    [(404, "is not found"), (401, "HF_TOKEN"), (403, "is refused"), (500, "fails with a server error")],
)
@pytest.mark.parametrize("what", ["", "dtd.zip"])
def test_refusals_are_one_message(hub, archive, fetch, capsys, status, message, what):
    hub.files = {"dtd.zip": archive("dtd")}
    hub.broken = {what: status}
    assert fetch("dtd") == 2
    notes, _, error = capsys.readouterr().err.partition("error: ")
    assert all(line.startswith("note: ") for line in notes.splitlines())
    assert "error: " not in error
    assert message in error
    assert str(status) in error


@pytest.mark.parametrize(
    ("status", "headers"),
    [(429, {"Retry-After": "7"}), (429, {"RateLimit": '"api";r=0;t=7'}), (503, {"Retry-After": "7"})],
)
def test_waits_are_as_the_server_asks(hub, name, fetch, capsys, monkeypatch, status, headers):
    slept = []
    monkeypatch.setattr(transfer.time, "sleep", slept.append)
    hub.broken, hub.headers, hub.patience = {name: status}, headers, 1
    assert fetch("dtd") == 0
    assert sum(slept) == 7
    assert f"({status}); trying again in 7 s" in capsys.readouterr().err


def test_unreachable_hub_and_invalid_answers_are_one_message(hub, fetch, capsys, monkeypatch):
    hub.broken = {"": 200}
    assert fetch("dtd") == 2
    assert "does not answer with a list" in capsys.readouterr().err
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert fetch("dtd") == 2
    error = capsys.readouterr().err
    assert error.count("trying again") == 1, "a server that never answered is given up soon"
    assert "set HF_ENDPOINT to a mirror" in error
    assert error.count("error: ") == 1


def test_token_is_sent_to_the_hub_only(hub, name, fetch, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    assert fetch("dtd") == 0
    assert hub.tokens == (["Bearer hf_x"] * 2 if name == "dtd.zip" else ["Bearer hf_x", None, None])


def test_wait_of_an_hour_is_an_error(hub, fetch, capsys, monkeypatch):
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: pytest.fail("waited"))
    hub.broken, hub.headers = {"": 429}, {"Retry-After": "3600"}
    assert fetch("dtd") == 2
    assert "3600 s" in capsys.readouterr().err


def test_transfer_without_progress_is_given_up(hub, archive, fetch, capsys):
    class Always(dict):
        pop = dict.get

    hub.files = {"dtd.zip": archive("dtd")}
    hub.cut_after, hub.no_ranges = Always({"dtd.zip": 3000}), True
    assert fetch("dtd") == 2
    assert len(hub.fetched()) < 10
    assert "The same command resumes the download." in capsys.readouterr().err


def test_full_disk_keeps_what_was_downloaded_and_older_contents_are_deleted(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd")}
    old = transfer.Archive(name="dtd.zip", size=20, content="0123456789abcdef").partial(data / install.WORK)
    old.parent.mkdir(parents=True)
    old.write_bytes(b"another content")
    with full_disk(4000):
        assert fetch("dtd") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == ("dtd.zip", "bytes=4000-")
    assert not old.exists()


@pytest.mark.slow
def test_command_uses_the_endpoint_of_the_environment(hub, archive, data, tmp_path):
    hub.files = {"dtd.zip": archive("dtd")}
    command = [sys.executable, str(REPOSITORY / "run_all.py"), "--download", "dtd", "--data", str(data)]
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, "dtd: is in" in done.stdout, done.stderr) == (0, True, "")
