"""Processes of a launcher share a counter and know which of them are done or dead."""

import os
import socket

import pytest

from benchmark.errors import ConfigError
from benchmark.running import launcher as module
from benchmark.running.launcher import Address, LaunchedProcess, join

VARIABLES = (*module.LAUNCHED, *module.OF_TORCH)


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def launched(monkeypatch, port):
    """launched(RANK="0", ...): set the environment of a launcher during the test."""

    def start(**changes):
        values = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} | changes
        for name in (*VARIABLES, "TORCHELASTIC_USE_AGENT_STORE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            if value is not None:
                monkeypatch.setenv(name, value)

    return start


def test_process_without_a_heartbeat_is_dead_and_a_wait_can_be_interrupted(port, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    process = LaunchedProcess(0, 2, 0, Address("127.0.0.1", port, "test"), serves_store=True)
    with pytest.raises(KeyboardInterrupt):
        process.wait_for_all(poll=interrupt)
    assert [process.agree(*each) for each in (("a", 0.1), ("a", float("inf")), ("b", 2.0))] == [0.1, 0.1, 2.0]
    monkeypatch.setattr(module, "DEAD_SECONDS", 1.0)
    assert process.wait_for_all() == [1]


def test_variables_of_the_launcher_are_read_and_removed_from_the_environment(launched):
    for alone in ({"RANK": None, "WORLD_SIZE": None}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": "1", "RANK": None}):
        launched(**alone)
        assert join() is None
    launched(LOCAL_RANK="0", LOCAL_WORLD_SIZE="2")
    process = join()
    assert (process.rank, process.size, process.local_rank) == (0, 2, 0)
    assert not [name for name in VARIABLES if name in os.environ]


def test_incomplete_variables_and_an_unreachable_store_are_refused(launched, monkeypatch, port):
    for changes, message in (
        ({"MASTER_ADDR": None}, "but not MASTER_ADDR: start with accelerate launch or torchrun"),
        ({"RANK": None, "MASTER_ADDR": "", "MASTER_PORT": None}, "but not RANK, MASTER_ADDR, MASTER_PORT: start with"),
        ({"RANK": "first"}, "RANK=first is wrong"),
        ({"MASTER_PORT": "65536"}, "MASTER_PORT=65536 is wrong"),
    ):
        launched(**changes)
        with pytest.raises(ConfigError, match=message):
            join()
    monkeypatch.setattr(module, "WAIT", module.timedelta(seconds=1))
    launched(RANK="1")
    with pytest.raises(ConfigError, match=rf"rank 1: no store at 127.0.0.1:{port}.*Is the process of rank 0 up"):
        join()
