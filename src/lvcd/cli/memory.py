"""How the C library treats the memory of tensors on a CPU."""

from __future__ import annotations

import ctypes
import sys

LARGE = 256
"""MiB: larger blocks are fetched from the kernel anew each time, smaller ones taken from what is kept."""
KEPT = 512
"""MiB that are kept at most."""
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Keep what is freed for the next tensor. For programs, not for a library: it holds for the whole process.

    By itself glibc fetches every block of more than 32 MiB from the kernel, which clears it page by page:
    `lvcd colorize` of 24 frames of 256x144 spent a quarter of its time there. Where the C library is another
    it does nothing.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGE << 20)
        mallopt(_TRIM_THRESHOLD, KEPT << 20)
