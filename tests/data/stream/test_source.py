"""What reads data ends with the process that it reads for, even if that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lvcd.data.stream.source import Pipe
from tests.helpers.paths import ROOT
from tests.helpers.processes import CEILING, wait_until

READER = """
import sys
from lvcd.data.stream.source import Pipe
Pipe("pipe:" + sys.argv[1], timeout=1000).read()
"""
LOADER = """
import sys, time, torch
from lvcd.data.stream.loader import ignore_signals
class Slow(torch.utils.data.Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        import os, pathlib
        pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()}\\n")
        time.sleep(1000)
next(iter(torch.utils.data.DataLoader(Slow(), num_workers=1, worker_init_fn=ignore_signals)))
"""


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def whole_numbers(file: Path) -> list[int]:
    return [int(n) for n in file.read_text().split()] if file.exists() and file.read_text().endswith("\n") else []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
@pytest.mark.parametrize(
    ("program", "count"), [(READER, 2), (LOADER, 1)], ids=["the command of a pipe", "a worker process"]
)
def test_a_killed_process_leaves_none_behind(program, count, tmp_path):
    file = tmp_path / "pids"
    command = f"sleep 1000 & echo $! $$ > {file}; wait"
    argument = command if program is READER else str(file)
    process = subprocess.Popen([sys.executable, "-c", program, argument], cwd=ROOT)
    wait_until(lambda: len(whole_numbers(file)) == count, process)
    pids = whole_numbers(file)
    process.send_signal(signal.SIGKILL)
    process.wait(CEILING)
    wait_until(lambda: all(map(ended, pids)))


@pytest.mark.parametrize(
    ("command", "out", "status"),
    [
        ("printf abc", b"abc", 0),
        ("printf a; printf b | cat; exit 0", b"ab", 0),
        ("printf abc; exit 3", b"abc", 3),
        ("cat", b"", 0),  # nothing comes in
        ("printf '{}' # a comment", b"{}", 0),
        ("nowhere-at-all 2>/dev/null", b"", 127),
    ],
)
def test_a_command_gives_its_output_and_its_status(command, out, status):
    pipe = Pipe(f"pipe:{command}", timeout=CEILING)
    if status:
        with pytest.raises(OSError, match=f"status {status}"):
            pipe.read()
    else:
        assert pipe.read() == out
    pipe.close()
    assert pipe._pipe.proc.poll() is not None and pipe._lifeline is None


def test_no_descriptor_is_left_open():
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for command in ("printf abc", "sleep 1000", "exit 1"):
        Pipe(f"pipe:{command}", timeout=CEILING).close()
    assert sys.platform != "linux" or len(os.listdir("/proc/self/fd")) == before
