"""An interrupt during the start of workers is neither lost nor seen by the workers."""

import os
import signal
import subprocess
import sys

import pytest

from benchmark.running.pool import _interrupts_deferred


def test_interrupt_while_workers_start_is_raised_afterwards():
    child = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGINT)"]
    with pytest.raises(KeyboardInterrupt), _interrupts_deferred():
        os.kill(os.getpid(), signal.SIGINT)
        code = subprocess.run(child).returncode
    assert code == 0, "a process that starts in the block does not get it"
    with _interrupts_deferred():
        pass
