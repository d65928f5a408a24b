"""What the machine gives a process: cores, memory in the same units everywhere, and the device that computes."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import pkgutil
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lvcd.errors import InputError

DEVICES = "cpu, cuda, cuda:1, mps (default: the best there is)"
"""What a person can give as a device, for help and messages."""
MALLOC_KEEP_BLOCK_MIB = 256
"""Blocks of up to this size are taken from memory that was freed before; larger ones are fetched from the kernel."""
MALLOC_KEEP_TOTAL_MIB = 512
"""Freed memory that the process keeps at most."""
_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


def available_cores() -> int:
    """Return the number of processor cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # Linux; containers and batch systems narrow it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_device(name: str = "auto") -> str:
    """Return the device of this name, or for `auto` the best one there is. InputError: it cannot be used."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"(cpu|cuda|mps)(:\d+)?", name):
        raise InputError(f"device {name} is not known: give {DEVICES}")
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name} cannot be used ({reason}): leave it out, or give cpu") from error
    return name


def peak_memory_gib(device: str = "cpu") -> float:
    """Return the peak memory of a device in GiB: of `cuda` what torch allocated, else the resident set of this process.

    The peak counts since the process began, or since `reset_peak_memory`.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 2**30
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20  # macOS counts bytes, Linux KiB


def reset_peak_memory(device: str = "cpu") -> None:
    """Let `peak_memory_gib` count from now on. Only GPUs and Linux can forget a peak; elsewhere this does nothing."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensor. It holds for the whole process: for programs, not a library.

    By default glibc fetches every block of more than 32 MiB from the kernel, which clears it page by page:
    `lvcd colorize` of 24 frames of 256x144 spent a quarter of its time there. With another C library this does
    nothing.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MALLOC_KEEP_BLOCK_MIB << 20)
        mallopt(_M_TRIM_THRESHOLD, MALLOC_KEEP_TOTAL_MIB << 20)


def end_with_parent() -> None:
    """Let this process, which was just started, end as soon as the process that started it does, even by a kill.

    On Linux the kernel sees to it. It counts the parent's thread as the parent: start processes in one that lives on.
    Elsewhere a thread waits for the parent's end, if Python's multiprocessing has started this process.
    """
    parent = multiprocessing.parent_process()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if parent is not None and os.getppid() != parent.pid:  # it ended before
            os._exit(1)
    elif parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


def run_with_parent(function: str, *arguments: Any) -> None:
    """Run a function, given as `module:name`, in a process that ends with its parent, see `end_with_parent`.

    The module is imported only then: where that takes seconds, a kill of the parent is not missed meanwhile.
    """
    end_with_parent()
    pkgutil.resolve_name(function)(*arguments)


@contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """Pause Python's garbage collector while libraries are imported.

    They make about a million objects that stay, and the collector looks through them over and over: of the 4.5 s of
    CPU time that LineartVideoPipeline took to import, 1.2 s.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
