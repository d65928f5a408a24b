"""Errors that reach a person as a single line."""

from __future__ import annotations

import errno
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
    if (
        isinstance(error, OSError)
        and error.errno in _ADVICE
        and not isinstance(error, (ConnectionError, BrokenPipeError))
    ):
        name = ascii(str(error.filename))[1:-1] if error.filename is not None else "the output"
        short = name if len(name) <= 200 else f"{name[:197]}..."
        return f"cannot use {short} ({error.strerror}): {_ADVICE[error.errno]}"
    if isinstance(error, UnicodeEncodeError) or (isinstance(error, ValueError) and "null byte" in str(error)):
        return "a path or name has characters that no file's name can have: check what you gave"
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
