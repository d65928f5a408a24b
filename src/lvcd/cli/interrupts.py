"""Signals that end a command: one line and exit code 130, never a traceback, however often and however early they come.

Importing this module, before the others of the package, is what begins it: `finish_imports` ends that part.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a command: of Ctrl-C, of a system that wants it gone, of a terminal that is closed."""
EXIT_CODE = 130

_before_imports: Any = None
with suppress(ValueError):  # not in the main thread
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        _before_imports = signal.signal(signal.SIGINT, lambda *_: end_now())


def finish_imports() -> None:
    """Let interrupts be as they were before this module was imported, once the package `lvcd.cli` is."""
    if _before_imports is not None:
        signal.signal(signal.SIGINT, _before_imports)


_received = False
_is_running = False


def interruptible(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; an interrupt is the line `stopped` and EXIT_CODE.

    The first signal raises KeyboardInterrupt in the command, which then tidies up. The second ends the process at once.
    """
    global _is_running
    if _is_running or threading.current_thread() is not threading.main_thread():
        return command()
    handlers = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN:  # nohup lets a command outlive its terminal
            signal.signal(number, _interrupt)
    _is_running = True
    try:
        return command()
    except KeyboardInterrupt:
        with suppress(OSError):  # the terminal may be gone
            print("stopped", file=sys.stderr, flush=True)
        return EXIT_CODE
    finally:
        _is_running = False
        if not _received:  # else the process ends, and is not to be interrupted in that
            for number, handler in handlers.items():
                signal.signal(number, handler)


def check_interrupt(error: BaseException) -> None:
    """Raise KeyboardInterrupt if a signal has come: what a library made of it is no error of the input."""
    if _received:
        raise KeyboardInterrupt from error


def _interrupt(number: int, frame: Any) -> None:
    global _received
    if _received:
        end_now()
    _received = True
    if number == getattr(signal, "SIGHUP", None):  # a shell sends one more than the terminal
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def end_now() -> None:
    """End this process without tidying up. What it was writing has a temporary name."""
    with suppress(OSError):
        os.write(2, b"stopped\n")
    os._exit(EXIT_CODE)
