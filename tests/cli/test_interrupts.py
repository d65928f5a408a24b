"""Ctrl-C, SIGTERM and SIGHUP at any moment, and again: one line, exit code 130, no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import CEILING

INTERRUPTED_IMPORT = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from lvcd.cli import main
sys.exit(main(["--version"]))
"""
INTERRUPTED_TWICE = """
import os, signal, sys, time
from lvcd.cli.interrupts import interruptible
def command():
    try:
        os.kill(os.getpid(), {first})
        time.sleep(100)
    finally:
        print("tidies up", flush=True)
        os.kill(os.getpid(), {second})
        print("tidied up", flush=True)
    return 0
sys.exit(interruptible(command))
"""


def run(program: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CEILING)


@pytest.mark.parametrize("module", ["argparse", "lvcd.cli.colorize", "lvcd.cli.train", "importlib.metadata"])
def test_ctrl_c_while_the_program_begins(module):
    """The last one is imported when --version runs."""
    ended = run(INTERRUPTED_IMPORT.format(module=module))
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "stopped\n")


@pytest.mark.parametrize(
    ("first", "second", "out"),
    [
        (signal.SIGINT, signal.SIGINT, "tidies up\n"),
        (signal.SIGTERM, signal.SIGINT, "tidies up\n"),
        (signal.SIGHUP, signal.SIGTERM, "tidies up\n"),
        (signal.SIGHUP, signal.SIGHUP, "tidies up\ntidied up\n"),  # a terminal and its shell send one each
    ],
)
def test_a_second_signal_ends_at_once(first, second, out):
    ended = run(INTERRUPTED_TWICE.format(first=int(first), second=int(second)))
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, out, "stopped\n")


def test_nohup_outlives_the_terminal():
    ended = run("import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
                "import os; from lvcd.cli.interrupts import interruptible\n"
                "raise SystemExit(interruptible(lambda: os.kill(os.getpid(), signal.SIGHUP) or 7))")  # fmt: skip
    assert (ended.returncode, ended.stderr) == (7, "")


def test_signals_are_given_back():
    from lvcd.cli.interrupts import interruptible

    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert interruptible(lambda: interruptible(lambda: 3)) == 3
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


SWALLOWED = """
import os, signal, sys
from pathlib import Path
import lvcd.checkpoints.hub
from lvcd.errors import InputError
def find_model(name):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        raise {error} from None  # as libraries do that call Python from C
import lvcd.cli.palette as palette
palette.run = find_model
from lvcd.cli import main
sys.exit(main(["palette", "key.png", "--out", "p.gpl"]))
"""


@pytest.mark.parametrize("error", ["InputError('no model')", "RuntimeError('no model')", "OSError(28, 'no space')"])
def test_what_a_library_makes_of_a_signal_is_still_one(error):
    done = run(SWALLOWED.format(error=error))
    assert (done.returncode, done.stderr) == (130, "stopped\n")
