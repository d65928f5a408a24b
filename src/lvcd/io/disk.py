"""What can go wrong with a file of the user, told in one line; and files that appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from PIL import UnidentifiedImageError

from lvcd.errors import InputError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def named(path: str | os.PathLike) -> str:
    """The path as a message shows it: on one line, whatever its name holds."""
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


def in_pixels(shape: tuple[int, ...]) -> str:
    """(H W ...) as a message shows it."""
    return f"{shape[1]} x {shape[0]} pixels"


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


@contextmanager
def reading(what: str, path: Path, advice: str) -> Iterator[None]:
    """Anything a decoder raises => InputError naming the file."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except PermissionError as error:
        raise InputError(f"cannot read {named(path)} ({_reason(error)}): check its permissions") from error
    except Exception as error:  # decoders raise nearly everything: SyntaxError, struct.error, ...
        reason = "no known format" if isinstance(error, UnidentifiedImageError) else _reason(error)
        raise InputError(f"cannot read {what} {named(path)} ({reason}): {advice}") from error


@contextmanager
def writing(path: Path, advice: str = "run again") -> Iterator[None]:
    """An error of the disk while writing `path` => InputError that ends in `advice`."""
    try:
        yield
    except OSError as error:
        where = f"cannot write {named(path)} ({_reason(error)})"
        if error.errno in _NO_SPACE:
            raise InputError(f"{where}: free some space and {advice}") from error
        if error.errno in _NOT_ALLOWED:
            raise InputError(f"{where}: make it writable or choose another output, and {advice}") from error
        raise InputError(f"{where}: check the path and the disk, and {advice}") from error
    except av.error.FFmpegError as error:
        raise InputError(f"cannot encode {named(path)} ({_reason(error)}): choose another format or size") from error


def require_file(path: Path) -> None:
    """InputError: nothing there, not a regular file, or empty."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{named(path)} does not exist: check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {named(path)} ({_reason(error)}): check the path") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{named(path)} is not a file: give a file")
    if not status.st_size:
        raise InputError(f"{named(path)} is empty (0 bytes): replace the file")


def sha256(file: Path) -> str:
    """Of a file's content, in hexadecimal. InputError: it cannot be read."""
    with reading("file", file, "check the disk"), file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic(path: Path, advice: str = "run again") -> Iterator[Path]:
    """A hidden name beside `path` to write to; it becomes `path` at the end, or is removed if anything fails."""
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with writing(path, advice):
            yield temp
            os.replace(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


class Lock:
    """One run at a time for one output. The lock dies with its process; its hidden file may outlive a kill.

    busy    what a message says of the run that has it, and what to do
    InputError: another run has it.
    """

    def __init__(self, file: Path, busy: str):
        self._file, self._busy = file, busy
        while not self._acquire():
            pass

    def _acquire(self) -> bool:
        """False if the run that had the file removed it while we waited for it: make a new one."""
        self._handle = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
        held = False
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(self._handle), self._file.stat())
        except BlockingIOError as error:
            raise InputError(self._busy) from error
        except FileNotFoundError:
            pass
        finally:
            if not held:
                os.close(self._handle)
        return held

    def release(self) -> None:
        self._file.unlink(missing_ok=True)  # before the lock goes, so that whoever opened this file sees it is gone
        os.close(self._handle)
