"""Where shards are, and how their bytes are read from there: a folder, or what webdataset can open."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from webdataset.gopen import Pipe as Command
from webdataset.gopen import gopen

from lvcd.errors import InputError
from lvcd.shards.format import ENCODED, PIXELS, Manifest


@dataclass(frozen=True)
class RetryPolicy:
    """The policy says how long to wait for a source, and how often to try again."""

    timeout: float = 60.0
    """Seconds without a byte after which a pipe is given up. A file that blocks (a dead network drive) cannot be."""
    retries: int = 2
    pause: float = 1.0
    """Seconds before each retry."""


@dataclass(frozen=True)
class ShardSource:
    """A folder; an address of one, as `https://host/shards`; or one with {} in place of a file's name, as
    `pipe:ssh host cat /shards/{}`."""

    where: str
    stage: str = ""
    """The subfolder of a stage's encoded shards."""

    def address(self, name: str) -> str:
        """Return the address of one of its files."""
        path = f"{self.stage}/{name}" if self.stage else name
        if "{}" in self.where:
            return self.where.replace("{}", path)
        return f"{self.where.rstrip('/')}/{path}"

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of this machine."""
        return "{}" not in self.where and not re.match(r"pipe:|[a-z0-9]+://", self.where)

    def open(self, name: str, timeout: float) -> IO[bytes]:
        """Open one of its files, to be read forward and closed. OSError: it cannot be opened."""
        if self.is_folder:
            return open(self.address(name), "rb")
        return cast(IO[bytes], Pipe(self.address(name), timeout))

    def manifest(self, patience: RetryPolicy, kind: str = PIXELS) -> Manifest:
        """Read its manifest. InputError: there is none, or it is of another kind."""
        data = self._content("manifest.json", patience)
        try:
            manifest = Manifest.parse(data)
        except ValueError as error:
            raise InputError(f"manifest.json in {self} cannot be read ({error}): prepare the shards again") from error
        if manifest.format != kind:
            advice = "give the folder above it" if manifest.format == ENCODED else "prepare it with this version"
            raise InputError(f"{self} holds {manifest.format!r} and not {kind!r}: {advice}")
        return manifest

    def stages(self) -> list[ShardSource]:
        """Return the subfolders that may hold encoded shards; only a folder can be searched."""
        if not self.is_folder or self.stage:
            return []
        return [replace(self, stage=file.parent.name) for file in sorted(Path(self.where).glob("*/manifest.json"))]

    def __str__(self) -> str:
        text = self.where if "{}" in self.where or not self.stage else self.address("").rstrip("/")
        return text if text.isprintable() else repr(text)

    def _content(self, name: str, patience: RetryPolicy) -> bytes:
        for attempt in range(patience.retries + 1):
            try:
                with self.open(name, patience.timeout) as file:
                    return file.read()
            except OSError as error:
                if self.is_folder or attempt == patience.retries:
                    raise InputError(f"cannot read {name} in {self} ({reason(error)}): check the address") from error
        raise AssertionError


ENDS_WITH_READER = """exec 3<&0 0</dev/null
(
{}
) 3<&- &
command=$!
(exec >/dev/null; read _ <&3; kill -9 0) &
watch=$!
exec 3<&- >/dev/null
wait $command
status=$?
kill $watch
exit $status
"""
"""A shell's program that runs a command, and kills it and all that it has started once stdin is closed: where the
process that reads its output was killed, the kernel closes that."""


class Pipe:
    """A file that is read forward only: the output of a command, or of what webdataset opens an address with.

    OSError: it ended with an error, or gave nothing for `timeout` seconds (TimeoutError).
    """

    def __init__(self, address: str, timeout: float):
        self._timeout, self._at, self._is_command = timeout, 0, address.startswith("pipe:")
        self._lifeline: int | None = None  # open as long as this process lives
        if self._is_command:  # in a session of its own, so that all that the shell started ends with it
            read_end, self._lifeline = os.pipe()
            try:
                command = ENDS_WITH_READER.replace("{}", address[5:])
                self._pipe = Command(command, mode="rb", shell=True, bufsize=0, start_new_session=True, stdin=read_end)
            except BaseException:
                os.close(self._lifeline)
                raise
            finally:
                os.close(read_end)
        else:
            try:
                self._pipe = gopen(address, "rb", bufsize=0)
            except ValueError as error:
                raise OSError(str(error)) from error
        self._pipe.ignore_errors = True  # `read` raises them, not `close`

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def tell(self) -> int:
        """Return the number of bytes read so far."""
        return self._at

    def seek(self, position: int) -> None:
        """Discard bytes up to a position."""
        assert position >= self._at, "a pipe goes forward only"
        while self._at < position and self._read_some(position - self._at):
            pass

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes, fewer only at the end; -1 = all."""
        parts: list[bytes] = []
        missing = size
        while missing and (data := self._read_some(missing if size >= 0 else 1 << 20)):
            parts.append(data)
            missing -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """End the command, and all that its shell has started."""
        if self._pipe.stream.closed:
            return
        if (
            self._is_command and self._pipe.proc.returncode is None
        ):  # not yet waited for, so the number is still its own
            os.killpg(self._pipe.proc.pid, signal.SIGKILL)
        self._pipe.proc.kill()
        self._pipe.close()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def _read_some(self, size: int) -> bytes:
        file = self._pipe.stream.fileno()
        ready = select.poll()
        ready.register(file, select.POLLIN)
        if not ready.poll(1000 * self._timeout):
            raise TimeoutError(f"no byte in {self._timeout:g} s")
        data = os.read(file, min(size, 1 << 20))
        self._at += len(data)
        if not data:
            self._end()
        return data

    def _end(self) -> None:
        try:
            status = self._pipe.proc.wait(self._timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"no end in {self._timeout:g} s") from error
        if status:
            raise OSError(f"the command ended with status {status}")


def reason(error: BaseException) -> str:
    """Return what went wrong on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
