"""The processes that a launcher (accelerate launch, torchrun, srun) started for one command, and what they share.

They share out runs and nothing else: a run lives in one process. So of torch.distributed they use the store alone,
which counts, and no process group, which would hang or fall as a whole with any of its members.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed import PrefixStore, TCPStore

from benchmark.errors import ConfigError, StoreLostError

LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what every launcher sets
TAKEN = (*LAUNCHED, "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE")
WAIT = timedelta(seconds=120)  # for the process that keeps the store to come up
PULSE_SECONDS = 1.0
SILENT_SECONDS = 60.0  # without a pulse a process counts as dead


@dataclass(frozen=True)
class Address:
    """Where the store is; what a process of this command needs to reach it."""

    host: str
    port: int
    prefix: str

    def connect(self) -> PrefixStore:
        """This process's own connection."""
        return PrefixStore(self.prefix, TCPStore(self.host, self.port, wait_for_workers=False, timeout=WAIT))


class StoreCounter:
    """0, 1, 2, ... over all processes that have the same address; it connects in the process where it is called."""

    def __init__(self, address: Address):
        self._address, self._store = address, None

    def __call__(self) -> int:
        if self._store is None:
            self._store = self._address.connect()
        return self._store.add("next", 1) - 1


class World:
    """This process among those that a launcher started.

    Attributes:
        rank: its number; 0 speaks and renders.
        size: how many there are.
        local_rank: its number on this machine, which is that of its GPU.
    """

    def __init__(self, rank: int, size: int, local_rank: int, address: Address, *, keeps_store: bool):
        self.rank, self.size, self.local_rank, self.address = rank, size, local_rank, address
        self._kept = None
        if keeps_store:
            self._kept = TCPStore(address.host, address.port, is_master=True, wait_for_workers=False, timeout=WAIT)
        self._store = address.connect()
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def counter(self) -> StoreCounter:
        """The counter of this command, for this process or one that it starts."""
        return StoreCounter(self.address)

    def wait_for_all(self, *, poll: Callable[[], None] = lambda: None) -> list[int]:
        """Say that this process is through, and wait until all others are or are dead; returns the dead ones.

        Args:
            poll: called again and again meanwhile.
        Raises:
            StoreLostError: the process that kept the store is gone.
        """
        try:
            self._store.set(f"through {self.rank}", "yes")
            seen = {rank: (None, time.monotonic()) for rank in range(self.size)}
            while waiting := [rank for rank in range(self.size) if not self._store.check([f"through {rank}"])]:
                for rank in waiting:
                    pulse = self._store.add(f"pulse {rank}", 0)
                    if pulse != seen[rank][0]:
                        seen[rank] = (pulse, time.monotonic())
                alive = [rank for rank in waiting if time.monotonic() - seen[rank][1] < SILENT_SECONDS]
                if not alive:
                    return waiting
                poll()
                time.sleep(PULSE_SECONDS / 2)
            return []
        except RuntimeError as error:  # torch's DistError
            raise StoreLostError(
                "The process of rank 0 is gone, and with it what all others share. Finished runs are recorded; the "
                "same command goes on from there."
            ) from error

    def _beat(self) -> None:
        store = self.address.connect()  # a connection is one thread's
        try:
            while True:
                store.add(f"pulse {self.rank}", 1)
                time.sleep(PULSE_SECONDS)
        except RuntimeError:
            return  # the store is gone; whoever asks it next says so


@contextmanager
def local_counter() -> Iterator[StoreCounter]:
    """A counter for the processes that this one starts; it lives as long as the block."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=WAIT)
    yield StoreCounter(Address("127.0.0.1", store.port, "copl_benchmark"))
    del store


def join() -> World | None:
    """This process's place in what a launcher started, or None where no launcher did.

    The launcher's variables are taken out of the environment: nothing in a run is distributed, and torch and Accelerate
    must not take it for that.

    Raises:
        ConfigError: a launcher set some of its variables and not others, or the store cannot be reached.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    if missing := [name for name in LAUNCHED if name not in os.environ]:
        raise ConfigError(
            f"RANK and WORLD_SIZE are set, but not {', '.join(missing)}: start with accelerate launch or torchrun, or "
            "unset both to run in one process."
        )
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun keeps the store itself
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank = int(os.environ.get("LOCAL_RANK", rank))
    address = Address(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), f"copl_benchmark {attempt}")
    for name in TAKEN:
        os.environ.pop(name, None)
    if size == 1:
        return None
    try:
        return World(rank, size, local_rank, address, keeps_store=rank == 0 and not agent)
    except RuntimeError as error:  # torch's DistError
        raise ConfigError(
            f"rank {rank}: no store at {address.host}:{address.port} ({str(error).splitlines()[0]}). "
            "Is the process of rank 0 up, and the port free and open between the machines?"
        ) from error
