"""Errors that reach a person as a single line."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """An input that cannot be used. The message says what is wrong, in which file or setting, and what to do.

    Command-line programs print it as one line and exit with code 2; anything else is a bug and keeps its traceback.
    """


class DeviceMemoryError(InputError):
    """A GPU or the computer has too little memory for what was asked. The message says what to make smaller."""


_ADVICE = {
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space and run again",
    errno.EFBIG: "free some space and run again",
    errno.EACCES: "check its permissions, or give another path",
    errno.EPERM: "check its permissions, or give another path",
    errno.EROFS: "give a path on another disk",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "check the path",
    errno.ELOOP: "check the path",
    errno.EINVAL: "check the path",
    errno.ENODEV: "check the path",
    errno.ENXIO: "check the path",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the disk",
}
"""What the system may refuse because of a path or a disk that a person gave -> what to do."""


def system_refusal(error: BaseException | None) -> str | None:
    """Return the one line of an error by which the system refuses a path or a disk; None: it is no such error.

    What reads or writes says more where it can. This is for the paths and disks that nothing else has looked at.
    """
    found = system_error(error)
    if found is not None and found.errno in _ADVICE and not isinstance(found, (ConnectionError, BrokenPipeError)):
        name = ascii(str(found.filename))[1:-1] if found.filename is not None else "the output"
        short = name if len(name) <= 200 else f"{name[:197]}..."
        return f"cannot use {short} ({found.strerror}): {_ADVICE[found.errno]}"
    if isinstance(error, UnicodeEncodeError) or (isinstance(error, ValueError) and "null byte" in str(error)):
        return "a path or name has characters that no file's name can have: check what you gave"
    return None


def system_error(error: BaseException | None) -> OSError | None:
    """Return the system's error that an error is, or that a library which writes files made something else of."""
    if isinstance(error, OSError):
        return error
    if isinstance(error, RuntimeError) and "inline_container" in str(
        error
    ):  # torch.save, closing what it could not write
        return system_error(error.__context__) or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if isinstance(error, InputError):
        return None
    if told := re.search(r"\(os error (\d+)\)|Os \{ code: (\d+)", str(error)):  # safetensors, as Rust says it
        number = int(told[1] or told[2])
        return OSError(number, os.strerror(number))
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory could not be allocated, on a GPU or on the CPU.

    On the CPU torch raises a plain RuntimeError ("can't allocate memory"), so its text decides.
    """
    torch = sys.modules.get("torch")  # not imported here: it takes seconds
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(re.search("out of memory|can't allocate memory", str(error)))


@contextmanager
def on_out_of_memory(message: str | Callable[[], str]) -> Iterator[None]:
    """Turn a failed allocation within the block into a DeviceMemoryError.

    `message` is its one line, or a function that makes it. The memory that torch keeps on GPUs is freed first, so that
    whoever catches the error can go on.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        raise DeviceMemoryError(message if isinstance(message, str) else message()) from error
