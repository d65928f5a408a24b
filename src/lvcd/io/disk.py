"""Files of the user: errors in one line, hashes, locks, and files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import UnidentifiedImageError

from lvcd.errors import InputError, system_error

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}
"""Files that file managers leave wherever they look."""
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def printable(path: str | os.PathLike) -> str:
    """Return a path as a message shows it: on one line, with characters that cannot be printed escaped, and the middle
    of one that is longer than any file system allows left out."""
    text = os.fspath(path)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 4096 else f"{text[:100]}...{text[-100:]}"


def in_pixels(shape: tuple[int, ...]) -> str:
    """Return an array's shape (H W ...) as a message shows it: width x height pixels."""
    return f"{shape[1]} x {shape[0]} pixels"


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


@contextmanager
def reading(what: str, path: Path, advice: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an InputError: "cannot read `what` `path` (reason): `advice`".

    An InputError passes as it is, and so does MemoryError, which is not the file's fault.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except PermissionError as error:
        raise InputError(f"cannot read {printable(path)} ({_reason(error)}): check its permissions") from error
    except Exception as error:  # decoders raise nearly everything: SyntaxError, struct.error, ...
        reason = "no known format" if isinstance(error, UnidentifiedImageError) else _reason(error)
        raise InputError(f"cannot read {what} {printable(path)} ({reason}): {advice}") from error


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text. ValueError: it is none, or is nested deeper than Python can follow."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextmanager
def writing(path: Path, advice: str = "run again") -> Iterator[None]:
    """Turn an error of the disk while `path` is written into an InputError whose message ends in `advice`."""
    try:
        yield
    except Exception as error:
        if (cause := system_error(error)) is None:
            raise
        where = f"cannot write {printable(path)} ({_reason(cause)})"
        if cause.errno in _NO_SPACE:
            raise InputError(f"{where}: free some space and {advice}") from error
        if cause.errno in _NOT_ALLOWED:
            raise InputError(f"{where}: make it writable or choose another output, and {advice}") from error
        raise InputError(f"{where}: check the path and the disk, and {advice}") from error


def require_file(path: Path) -> None:
    """Check that a path is a regular file with content. InputError: it is not."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{printable(path)} does not exist: check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {printable(path)} ({_reason(error)}): check the path") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{printable(path)} is not a file: give a file")
    if not status.st_size:
        raise InputError(f"{printable(path)} is empty (0 bytes): replace the file")


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal. InputError: the file cannot be read."""
    with reading("file", file, "check the disk"), file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic(path: Path, advice: str = "run again") -> Iterator[Path]:
    """Yield a hidden file name beside `path` to write to; the file is renamed to `path` at the end, or removed if
    anything fails. InputError, which ends in `advice`: the disk is full, read-only or gone."""
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with writing(path, advice):
            yield temp
            _open_to_others(temp)
            os.replace(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def _open_to_others(file: Path) -> None:
    """Give a file the permissions that new files have: safetensors' writer makes files for their owner alone."""
    if file.stat().st_mode & 0o077:
        return
    plain = file.with_name(f"{file.name}.mode")
    try:
        plain.touch()  # with 0666 but for the umask, which cannot be read without setting it
        file.chmod(plain.stat().st_mode & 0o777)
    finally:
        plain.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, advice: str = "run again", replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder `<path>.partial` to fill; it is renamed to `path` at the end, or removed if anything fails.

    `path` must not exist, or be an empty folder, unless it is to be replaced; its parents are made. What a killed run
    left is removed first.
    InputError: another run fills the folder, or the disk is full, read-only or gone.
    """
    partial, old = path.with_name(f"{path.name}.partial"), path.with_name(f".{path.name}.old")
    with writing(path, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        busy = f"another run is writing {printable(path)} right now: wait for it or choose another name"
        lock = Lock(path.with_name(f".{path.name}.lock"), busy)
        try:
            for leftover in (partial, old):
                shutil.rmtree(leftover, ignore_errors=True)
            partial.mkdir()
            yield partial
            if replace and path.is_dir():
                path.rename(old)
            with suppress(FileNotFoundError):
                path.rmdir()  # Windows renames over no folder, not even over an empty one
            partial.rename(path)
        finally:
            for leftover in (partial, old):
                shutil.rmtree(leftover, ignore_errors=True)
            lock.release()


class Lock:
    """An exclusive lock on one output, so that a single run at a time writes it.

    The lock ends with its process, however that ends. Its hidden file may outlive a kill and then blocks nobody.
    """

    def __init__(self, file: Path, busy: str):
        """Take the lock without waiting. InputError, with the message `busy`: another run has it."""
        self._file = file
        self._lock = FileLock(file, blocking=False, thread_local=False)
        while not self._lock.is_locked:
            try:
                self._lock.acquire()
            except Timeout as error:
                if file.exists():
                    raise InputError(busy) from error
                file.touch()  # it was removed with its release just now; or it cannot be made, and this says why

    def release(self) -> None:
        """Remove the lock's file and let the next run have the lock."""
        with suppress(PermissionError):  # Windows removes no open file: there filelock does it, after the release
            self._file.unlink(missing_ok=True)  # before the release, so that a run that opened it sees it is gone
        self._lock.release()
