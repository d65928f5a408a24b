"""What the operating system gives a process: processor cores and memory, in the same units everywhere."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

MALLOC_KEEP_BLOCK_MIB = 256
"""Blocks of up to this size are taken from memory that was freed before; larger ones are fetched from the kernel."""
MALLOC_KEEP_TOTAL_MIB = 512
"""Freed memory that the process keeps at most."""
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


def available_cores() -> int:
    """Return the number of processor cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # Linux; containers and batch systems narrow it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
