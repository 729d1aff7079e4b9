"""Archives over a line that fails: cut off, held back, refused, damaged, or on a disk that fills."""

import pytest
from huggingface_hub import constants

from benchmark.common import shutdown
from benchmark.data.download import install
from benchmark.data.download.install import why_incomplete
from benchmark.data.download.transfer import Archive
from tests.data.download.conftest import left_behind
from tests.helpers.faults import full_disk


def test_line_that_goes_dead_is_taken_up_where_it_ended(hub, archive, data, fetch):
    hub.files = {"dtd.zip": archive("dtd")}
    hub.cut_after = {"dtd.zip": 3000}
    assert fetch("dtd") == 0
    assert hub.fetched() == [("dtd.zip", None), ("dtd.zip", "bytes=3000-")]


def test_fetching_goes_on_from_what_an_ended_call_left(hub, archive, data, fetch, monkeypatch, capsys):
    hub.files = {"dtd.zip": archive("dtd")}
    hub.cut_after = {"dtd.zip": 3000}
    with monkeypatch.context() as patch:
        patch.setattr("benchmark.data.download.transfer.TRIES", 1)
        assert fetch("dtd") == 2
    assert "goes on from what is there" in capsys.readouterr().err
    assert not (data / "dtd").exists()
    [partial] = (data / install.WORK).glob("*/dtd.zip")
    assert partial.stat().st_size == 3000
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == ("dtd.zip", "bytes=3000-")
    assert left_behind(data) == []


def test_request_to_end_keeps_what_came(hub, archive, data, fetch, monkeypatch, capsys):
    hub.files = {"dtd.zip": archive("dtd")}
    looks = iter([False, True])

    def check():
        if next(looks, True):
            raise shutdown.Terminated

    with monkeypatch.context() as patch:
        patch.setattr(shutdown, "check", check)
        assert fetch("dtd") == shutdown.EXIT_CODE
    assert "what was fetched is kept" in capsys.readouterr().err
    assert len(left_behind(data)) == 1
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == ("dtd.zip", "bytes=1000-")


def test_part_of_an_older_content_is_thrown_away(hub, archive, data, fetch):
    hub.files = {"dtd.zip": archive("dtd")}
    old = Archive(name="dtd.zip", size=20, content="0123456789abcdef").growing(data / install.WORK)
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
    assert "goes on from what is there" in capsys.readouterr().err


def test_damaged_archive_is_deleted_named_and_fetched_anew(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd"), "oxford_pets.zip": archive("oxford_pets")}
    hub.damaged = {"dtd.zip"}
    assert fetch("dtd", "oxford_pets") == 1
    assert "dtd.zip is damaged or another file: sha256" in capsys.readouterr().err
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
    notes, _, error = capsys.readouterr().err.partition("error: ")
    assert all(line.startswith("note: ") for line in notes.splitlines())
    assert "error: " not in error
    assert told in error
    assert str(status) in error


def test_other_datasets_go_on_after_one_that_is_not_there(hub, archive, data, fetch):
    hub.files = {"dtd.zip": archive("dtd"), "oxford_pets.zip": archive("oxford_pets")}
    hub.broken = {"dtd.zip": 404}
    assert fetch("dtd", "oxford_pets") == 1
    assert why_incomplete("oxford_pets", data) is None


@pytest.mark.parametrize("headers", [{"Retry-After": "7"}, {"RateLimit": '"api";r=0;t=7'}])
@pytest.mark.parametrize("what", ["", "dtd.zip"])
def test_too_many_requests_are_waited_for_as_told(hub, archive, data, fetch, capsys, monkeypatch, headers, what):
    slept = []
    monkeypatch.setattr("benchmark.data.download.transfer.time.sleep", slept.append)
    hub.files = {"dtd.zip": archive("dtd")}
    hub.broken, hub.headers, hub.patience = {what: 429}, headers, 1
    assert fetch("dtd") == 0
    assert sum(slept) == 7
    assert "too many requests (429); trying again in 7 s" in capsys.readouterr().err


def test_wait_of_an_hour_is_told_not_waited(hub, archive, data, fetch, capsys, monkeypatch):
    monkeypatch.setattr("benchmark.data.download.transfer.time.sleep", lambda seconds: pytest.fail("waited"))
    hub.files = {"dtd.zip": archive("dtd")}
    hub.broken, hub.headers = {"": 429}, {"Retry-After": "3600"}
    assert fetch("dtd") == 2
    assert "3600 s are to be waited: come back then" in capsys.readouterr().err


def test_hub_that_cannot_be_reached_is_one_message(data, fetch, capsys, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("benchmark.data.download.transfer.time.sleep", lambda seconds: None)
    assert fetch("dtd") == 2
    said = capsys.readouterr().err
    assert said.count("trying again") == 1, "a server that was never heard of is soon given up"
    assert "set HF_ENDPOINT to a mirror" in said
    assert said.count("error: ") == 1


def test_answer_that_is_no_list_is_one_message(hub, data, fetch, capsys):
    hub.broken = {"": 200}
    assert fetch("dtd") == 2
    assert "Is it a hub?" in capsys.readouterr().err


def test_token_is_shown_to_the_hub(hub, archive, data, fetch, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    hub.files = {"dtd.zip": archive("dtd")}
    assert fetch("dtd") == 0
    assert hub.tokens == ["Bearer hf_x"] * 2


def test_disk_that_fills_while_fetching_keeps_what_came(hub, archive, data, fetch, capsys):
    hub.files = {"dtd.zip": archive("dtd")}
    with full_disk(4000):
        assert fetch("dtd") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert fetch("dtd") == 0
    assert hub.fetched()[-1] == ("dtd.zip", "bytes=4000-")
