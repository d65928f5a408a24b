"""Errors that reach a person as a single line."""

from __future__ import annotations

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
