"""Waiting for other processes, on a machine however busy; and one that stops where it is told to.

python -m tests.helpers.processes FILE COMMAND...: `lvcd COMMAND`, which hangs before a file that ends in FILE is there.
"""

from __future__ import annotations

import multiprocessing.process
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

CEILING = 1200
"""Seconds after which a wait is given up. No test that passes comes near it."""


def alive(process: subprocess.Popen | multiprocessing.process.BaseProcess) -> bool:
    return process.poll() is None if isinstance(process, subprocess.Popen) else process.is_alive()


def wait_until(
    ready: Callable[[], object], process: subprocess.Popen | multiprocessing.process.BaseProcess | None = None
) -> None:
    """Return when ready() is true. It is an error if `process` ends before."""
    deadline = time.monotonic() + CEILING
    while not ready():
        assert process is None or alive(process) or ready(), "the process ended before"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def hang_before(file: str) -> None:
    """Let this process hang, in place of giving a file that ends in `file` its name, until a signal comes."""
    replace = os.replace

    def replace_or_hang(source, target, **more):
        while str(target).endswith(file):
            signal.pause()
        replace(source, target, **more)

    os.replace = replace_or_hang  # type: ignore[assignment]


if __name__ == "__main__":
    from lvcd.cli import main

    hang_before(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
