"""What the processes of a launcher share: a counter, who is through, who is dead."""

import socket
import threading
import time

import pytest

from benchmark.errors import ConfigError
from benchmark.running import launcher as module
from benchmark.running.launcher import Address, World, join, local_counter


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def worlds(port):
    """Three members in one process, as three processes would have them."""
    address = Address("127.0.0.1", port, "test")
    return [World(rank, 3, rank, address, keeps_store=rank == 0) for rank in range(3)]


@pytest.fixture
def launched(monkeypatch, port):
    """launched(RANK="0", ...): the environment of a launcher; gone again after the test."""

    def start(**changes):
        values = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} | changes
        for name in (*module.TAKEN, "TORCHELASTIC_USE_AGENT_STORE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            if value is not None:
                monkeypatch.setenv(name, value)

    return start


def test_counter_gives_each_number_to_one_caller(worlds):
    counters = [world.counter for world in worlds]
    given = []

    def take(counter):
        given.extend(counter() for _ in range(50))

    threads = [threading.Thread(target=take, args=(counter,)) for counter in counters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == list(range(150))


def test_local_counter_begins_at_zero_each_time():
    for _ in range(2):
        with local_counter() as counter:
            assert [counter(), counter()] == [0, 1]


def test_all_wait_for_the_slowest(worlds):
    order = []

    def through(world, seconds):
        time.sleep(seconds)
        order.append(world.rank)
        assert world.wait_for_all() == []

    threads = [threading.Thread(target=through, args=(w, s)) for w, s in zip(worlds, (0, 0.3, 1.2), strict=True)]
    for thread in threads:
        thread.start()
    threads[0].join(0.6)
    assert threads[0].is_alive()
    for thread in threads:
        thread.join(30)
    assert order == [0, 1, 2]
    assert not any(thread.is_alive() for thread in threads)


def test_member_without_a_pulse_is_dead_and_not_waited_for(port, monkeypatch):
    monkeypatch.setattr(module, "SILENT_SECONDS", 1.0)
    address = Address("127.0.0.1", port, "test")
    world = World(0, 2, 0, address, keeps_store=True)
    assert world.wait_for_all() == [1]


def test_waiting_can_be_ended(worlds):
    def poll():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worlds[0].wait_for_all(poll=poll)


def test_without_a_launcher_there_is_no_world(launched):
    launched(RANK=None, WORLD_SIZE=None)
    assert join() is None


def test_launchers_variables_are_taken_out_of_the_environment(launched):
    launched(LOCAL_RANK="0", LOCAL_WORLD_SIZE="2")
    world = join()
    assert (world.rank, world.size, world.local_rank) == (0, 2, 0)
    assert not [name for name in module.TAKEN if name in module.os.environ]


def test_launcher_of_one_process_is_none(launched):
    launched(WORLD_SIZE="1")
    assert join() is None
    assert "RANK" not in module.os.environ


def test_half_a_launcher_is_refused(launched):
    launched(MASTER_ADDR=None)
    with pytest.raises(ConfigError, match="but not MASTER_ADDR: start with accelerate launch or torchrun"):
        join()


def test_store_that_cannot_be_reached_is_told_with_its_address(launched, monkeypatch, port):
    monkeypatch.setattr(module, "WAIT", module.timedelta(seconds=1))
    launched(RANK="1")
    with pytest.raises(ConfigError, match=rf"rank 1: no store at 127.0.0.1:{port}.*Is the process of rank 0 up"):
        join()
