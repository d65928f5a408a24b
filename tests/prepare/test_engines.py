"""Several workers, in processes or on Ray: the same bytes come out, whoever does the work."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lvcd.cli import main
from lvcd.io.movies import write_movie
from tests.helpers.processes import CEILING, wait_until

pytestmark = pytest.mark.slow

SMALL = ("--longest", "20", "--shard-mb", "0.1")


def frames(count, seed):
    ground = np.random.default_rng(seed).integers(0, 200, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    for index in range(count):
        frame = ground.copy()
        frame[16:32, 4 * index % 48 :][:, :16] = (243, 38, 38)
        yield frame


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """The longest first, so that others are done before it."""
    folder = tmp_path_factory.mktemp("films")
    for number, count in enumerate((160, 20, 60, 10, 40)):
        write_movie(folder / f"{number}.mp4", frames(count, number), 24)
    shutil.copy(folder / "1.mp4", folder / "copy.mp4")
    (folder / "empty.mp4").touch()
    return folder


@pytest.fixture(scope="module")
def whole(films, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    assert main(["prepare", str(films), "--out", str(out), "--workers", "1", *SMALL]) == 0
    return files(out)


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def start(*words, **more):
    return subprocess.Popen([sys.executable, "-m", "lvcd.cli", *map(str, words)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **more)  # fmt: skip


def children(pid):
    """Processes below a process, by id."""
    found = {}
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            found[int(process)] = int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    below = [pid]
    for process in below:
        below += [child for child, parent in found.items() if parent == process]
    return below[1:]


def wait_for_work(process, out):
    wait_until(lambda: list(out.glob(".parts-*/*.pixels")), process)


def test_two_workers_killed_and_started_again(films, whole, tmp_path):
    """kill -9 of the first process: its workers follow it, and the next run ends with the bytes of one worker."""
    out = tmp_path / "out"
    assert len(whole) > 3
    process = start("prepare", films, "--out", out, "--workers", 2, *SMALL)
    wait_for_work(process, out)
    below = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not any(os.path.exists(f"/proc/{child}") for child in below))
    assert not (out / "manifest.json").exists()
    assert main(["prepare", str(films), "--out", str(out), "--workers", "2", *SMALL]) == 0
    assert files(out) == whole


def test_ctrl_c_reaches_the_workers(films, tmp_path):
    out = tmp_path / "out"
    process = start("prepare", films, "--out", out, "--workers", 2, *SMALL, start_new_session=True)
    wait_for_work(process, out)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=CEILING)
    assert process.returncode == 130
    assert "goes on" in told and "Traceback" not in told


def test_a_worker_that_dies_is_told_in_one_line(films, tmp_path):
    out = tmp_path / "out"
    process = start("prepare", films, "--out", out, "--workers", 2, *SMALL)
    wait_for_work(process, out)
    workers = [c for c in children(process.pid) if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    _, told = process.communicate(timeout=CEILING)
    assert process.returncode == 2
    assert "a worker process died" in told.splitlines()[-1] and "Traceback" not in told


def test_ray(films, whole, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    out = tmp_path / "out"
    process = start("prepare", films, "--out", out, "--workers", 2, "--executor", "ray", *SMALL)
    _, told = process.communicate(timeout=CEILING)
    assert process.returncode == 0, told
    assert files(out) == whole
