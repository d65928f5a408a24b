"""Locks and folders that appear whole or not at all, also where runs race or are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from lvcd.errors import InputError
from lvcd.io.disk import Lock, atomic, atomic_folder, parse_json

BUSY = "another run has it: wait"


def test_a_lock_is_one_runs_and_refuses_the_next_without_waiting(tmp_path):
    lock = Lock(tmp_path / ".out.lock", BUSY)
    with pytest.raises(InputError, match=BUSY):
        Lock(tmp_path / ".out.lock", BUSY)
    lock.release()
    assert not list(tmp_path.iterdir())
    Lock(tmp_path / ".out.lock", BUSY).release()


def test_a_lock_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "file").touch()
    for file in (tmp_path / "file" / ".out.lock", tmp_path / ("x" * 300)):
        with pytest.raises(OSError):
            Lock(file, BUSY)


def test_a_killed_run_blocks_nobody(tmp_path):
    code = "import sys, os, time\nfrom pathlib import Path\nfrom lvcd.io.disk import Lock\n"
    code += "lock = Lock(Path(sys.argv[1]), 'busy')\nprint('locked', flush=True)\ntime.sleep(60)"
    file = tmp_path / ".out.lock"
    with subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"locked\n"
        with pytest.raises(InputError, match=BUSY):
            Lock(file, BUSY)
        os.kill(process.pid, signal.SIGKILL)
    assert file.exists()
    Lock(file, BUSY).release()
    assert not file.exists()


def test_a_lock_survives_runs_that_take_and_release_it_at_once(tmp_path):
    """A holder removes the file as it releases: nobody may lock the removed one beside the next."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom lvcd.errors import InputError\nfrom lvcd.io.disk import Lock\n"
        "file, held = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "taken = 0\n"
        "for _ in range(3000):\n"
        "    try:\n        lock = Lock(file, 'busy')\n    except InputError:\n        continue\n"
        "    taken += 1\n"
        "    held.mkdir()\n    held.rmdir()\n"  # fails if another has the lock too
        "    lock.release()\n"
        "assert taken\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / ".lock"), str(tmp_path / "held")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]


def test_a_folder_appears_whole(tmp_path):
    target = tmp_path / "deep" / "out"
    with atomic_folder(target) as folder:
        (folder / "a").write_text("x")
        assert not target.exists()
        with pytest.raises(InputError, match="another run is writing"), atomic_folder(target):
            pass
        assert (folder / "a").exists()
    assert [p.name for p in target.iterdir()] == ["a"] and [p.name for p in target.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_that_fails_leaves_nothing(tmp_path, error):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "left").write_text("of a killed run")
    with (
        pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt),
        atomic_folder(tmp_path / "out") as folder,
    ):
        assert not list(folder.iterdir())
        (folder / "a").write_text("x")
        raise error
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_replaced_and_a_full_one_is_not(tmp_path):
    (tmp_path / "out").mkdir()
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("x")
    with pytest.raises(InputError, match="cannot write"), atomic_folder(tmp_path / "out"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["out"] and (tmp_path / "out" / "a").read_text() == "x"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, b"\xff", "", "9" * 5000])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)
    assert parse_json(b'{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_have_the_permissions_of_new_files(tmp_path, umask, mode):
    """Whoever wrote them: safetensors makes files that only their owner can read."""
    old = os.umask(umask)
    try:
        with atomic(tmp_path / "a.safetensors") as temp:
            save_file({"a": torch.ones(2)}, temp)
        with atomic(tmp_path / "b.txt") as temp:
            temp.write_text("b")
    finally:
        os.umask(old)
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == {"a.safetensors": mode, "b.txt": mode}
