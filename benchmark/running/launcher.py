"""Connect the processes that a launcher (accelerate launch, torchrun, srun) started for one command.

They distribute runs and share nothing else: each run is done in one process. So they use only the store of
torch.distributed, as a counter, and no process group, which would hang or fail as a whole with any of its members.
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

LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # variables that every launcher sets
LARGEST_PORT = 65535  # and more than any number of processes
NUMBERS = ("RANK", "WORLD_SIZE", "MASTER_PORT", "LOCAL_RANK")
OF_TORCH = ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE")
WAIT = timedelta(seconds=120)  # until the process that serves the store has started
HEARTBEAT_SECONDS = 1.0
DEAD_SECONDS = 60.0  # without a heartbeat a process counts as dead
LOST = (
    "The process of rank 0 is gone, and the shared counter with it. Finished runs are recorded; start the same command "
    "again to do the rest."
)


@dataclass(frozen=True)
class Address:
    """The address of the store."""

    host: str
    port: int
    prefix: str

    def connect(self) -> PrefixStore:
        """Open a connection for this process."""
        return PrefixStore(self.prefix, TCPStore(self.host, self.port, wait_for_workers=False, timeout=WAIT))


class StoreCounter:
    """Counts 0, 1, 2, ... over all processes with the same address; it connects at the first call, after pickling."""

    def __init__(self, address: Address):
        self._address, self._store = address, None

    def __call__(self) -> int:
        if self._store is None:
            self._store = self._address.connect()
        return self._store.add("next", 1) - 1


class LaunchedProcess:
    """This process, one of those that a launcher started.

    Attributes:
        rank: its number; rank 0 prints and renders.
        size: number of processes.
        local_rank: its number on this machine, which is the number of its GPU.
    """

    def __init__(self, rank: int, size: int, local_rank: int, address: Address, *, serves_store: bool):
        self.rank, self.size, self.local_rank, self.address = rank, size, local_rank, address
        self._server = None
        if serves_store:
            self._server = TCPStore(address.host, address.port, is_master=True, wait_for_workers=False, timeout=WAIT)
        self._store = address.connect()
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def counter(self) -> StoreCounter:
        """The counter of this command, for this process and its workers."""
        return StoreCounter(self.address)

    def agree(self, name: str, value: float) -> float:
        """Return the value that the first process of the command gave for this name.

        Raises:
            StoreLostError: the process that serves the store is gone.
        """
        try:
            return float(self._store.compare_set(name, "", repr(value)))
        except RuntimeError as error:  # torch's DistError
            raise StoreLostError(LOST) from error

    def wait_for_all(self, *, poll: Callable[[], None] = lambda: None) -> list[int]:
        """Announce that this process is done, and wait until all others are done or dead; return the dead ranks.

        Args:
            poll: called repeatedly while waiting.
        Raises:
            StoreLostError: the process that serves the store is gone.
        """
        try:
            self._store.set(f"through {self.rank}", "yes")
            seen = {rank: (None, time.monotonic()) for rank in range(self.size)}
            while waiting := [rank for rank in range(self.size) if not self._store.check([f"through {rank}"])]:
                for rank in waiting:
                    heartbeat = self._store.add(f"heartbeat {rank}", 0)
                    if heartbeat != seen[rank][0]:
                        seen[rank] = (heartbeat, time.monotonic())
                alive = [rank for rank in waiting if time.monotonic() - seen[rank][1] < DEAD_SECONDS]
                if not alive:
                    return waiting
                poll()
                time.sleep(HEARTBEAT_SECONDS / 2)
            return []
        except RuntimeError as error:  # torch's DistError
            raise StoreLostError(LOST) from error

    def _beat(self) -> None:
        store = self.address.connect()  # each thread needs its own connection
        try:
            while True:
                store.add(f"heartbeat {self.rank}", 1)
                time.sleep(HEARTBEAT_SECONDS)
        except RuntimeError:
            return  # the store is gone; the next call that uses it raises the error


@contextmanager
def local_counter() -> Iterator[StoreCounter]:
    """A counter for the workers of this process, served during the block."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=WAIT)
    yield StoreCounter(Address("127.0.0.1", store.port, "copl_benchmark"))
    del store


def join() -> LaunchedProcess | None:
    """Join the processes that a launcher started; None if no launcher started this process.

    The variables of the launcher are removed from the environment: a run is not distributed, and torch and Accelerate
    must not treat it so.

    Raises:
        ConfigError: some variables of the launcher are missing, or the store cannot be reached.
    """
    missing = [name for name in LAUNCHED if not os.environ.get(name)]
    if "WORLD_SIZE" in missing or (missing and os.environ["WORLD_SIZE"] == "1"):
        return None
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is set, but not {', '.join(missing)}: start with accelerate launch or torchrun, or unset "
            "WORLD_SIZE to run in one process."
        )
    for name in NUMBERS:
        value = os.environ.get(name, "0")
        if not value.isdecimal() or int(value) > LARGEST_PORT:
            raise ConfigError(f"{name}={value} is wrong: correct it, or unset WORLD_SIZE to run in one process.")
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun serves the store itself
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank = int(os.environ.get("LOCAL_RANK", rank))
    address = Address(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), f"copl_benchmark {attempt}")
    for name in (*LAUNCHED, *OF_TORCH):
        os.environ.pop(name, None)
    if size == 1:
        return None
    try:
        return LaunchedProcess(rank, size, local_rank, address, serves_store=rank == 0 and not agent)
    except RuntimeError as error:  # torch's DistError
        raise ConfigError(
            f"rank {rank}: no store at {address.host}:{address.port} ({str(error).splitlines()[0]}). "
            "Is the process of rank 0 up, and the port free and open between the machines?"
        ) from error
