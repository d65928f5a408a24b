"""One evaluation = one line of JSON, appended whole: `leaderboard.jsonl` never holds half a row.

A process can be killed in the middle of a write. What it leaves is a last line without an end: reading skips it, and
the next append puts it aside in `leaderboard.jsonl.torn` before it writes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from lvcd.errors import InputError

from .shape import check

DIGITS = 12
"""Of a SHA-256, in hexadecimal: an id, and the key of a protocol."""


def canonical(value: Any) -> str:
    """The one JSON text of plain values: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:DIGITS]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists, what is not finite is None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Row:
    """What one method reached under one protocol, and all that the numbers depend on. Plain values only."""

    method: dict[str, Any]
    """name, as shown; settings: all that the frames depend on (kind, fingerprint of the model, steps, overlap ...)"""
    protocol: dict[str, Any]
    """name; data: SHA-256 of the pictures; width, height, frames (None: whole clips), clips (None: all),
    reference, sketch ("exact" or an extractor's name), binarized; metrics: {column: settings and extractor}"""
    n: int | None
    """Clips scored."""
    metrics: dict[str, dict[str, Any]]
    """Column -> report of the metric: value, n, interval, settings, extractor, notes, higher_is_better."""
    clips: list[dict[str, Any]]
    """key; scores: {column: value or None}; media: the painted clip, a .webm below the file's folder, or None"""
    source_media: str | None = None
    """Folder below the file's: KEY.reference.png, KEY.sketch.webm, KEY.original.webm."""
    leaks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Check, like "reference=blank" -> n, scores: {column: value}, note."""
    warnings: list[str] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    """seconds_per_frame, memory_GiB, device"""
    provenance: dict[str, Any] = field(default_factory=dict)
    """seed, git, versions: {package: version}"""
    source: str | None = None
    """None: measured here. Else where the numbers were published; all that was not published is None."""
    time: str = field(default_factory=now)
    """UTC, ISO 8601."""

    def __post_init__(self) -> None:
        for part in fields(self):
            object.__setattr__(self, part.name, _plain(getattr(self, part.name)))

    @cached_property
    def id(self) -> str:
        """Of all that is in the row: a row changed by hand has another one than it says."""
        return digest(asdict(self))

    @property
    def protocol_key(self) -> str:
        """Rows are ranked together only where this is equal."""
        return digest(self.protocol)

    @property
    def name(self) -> str:
        return self.method["name"]

    def line(self) -> bytes:
        return (canonical({"id": self.id, **asdict(self)}) + "\n").encode()


def append(path: Path, row: Row) -> None:
    """Add the row, and have it on the disk before this returns. InputError: the file cannot be written.

    ValueError: the row is not made as `Row` says, so that `read` would refuse it.
    """
    line = row.line()
    _row(line)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # goes with the process
            _mend(path, handle)
            _write(handle, line)
        finally:
            os.close(handle)
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror}): make room or make it writable, and run again"
        ) from error


def _write(handle: int, data: bytes) -> None:
    """All of it, or nothing if the disk is full."""
    before = os.fstat(handle).st_size
    try:
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, before)
        raise


def _mend(path: Path, handle: int) -> None:
    """End a last line that is whole but for its end; put aside one that is not."""
    size = os.fstat(handle).st_size
    if not size or os.pread(handle, 1, size - 1) == b"\n":
        return
    whole, tail = _split(path.read_bytes())
    try:
        _row(tail)
    except ValueError:
        aside = os.open(path.with_name(f"{path.name}.torn"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            _write(aside, tail + b"\n")
        finally:
            os.close(aside)
        os.ftruncate(handle, len(whole))
    else:
        _write(handle, b"\n")


def _split(data: bytes) -> tuple[bytes, bytes]:
    """=> lines with an end, and what comes after the last end."""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


def read(path: Path) -> list[Row]:
    """All rows, oldest first. InputError: no file, or a line that is no row, which it names."""
    try:
        whole, tail = _split(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: evaluate a method first, or check the path") from error
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): check the path") from error
    rows = []
    for number, text in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            rows.append(_row(text))
        except ValueError as error:
            raise InputError(
                f"{path}, line {number} {error}: take the line out, and evaluate again or ask who wrote it"
            ) from error
    try:
        return [*rows, _row(tail)] if tail else rows
    except ValueError:  # its writer was killed, or is writing now
        return rows


def _row(text: bytes) -> Row:
    """ValueError says why it is none."""
    try:
        held = json.loads(text)
    except ValueError as error:
        raise ValueError("is not JSON") from error
    check(held)
    told = held.pop("id")
    unknown = held.keys() - {part.name for part in fields(Row)}
    if unknown:
        raise ValueError(f"has {', '.join(sorted(unknown))}, which this version of lvcd does not know")
    row = Row(**held)
    if row.id != told:
        raise ValueError(f"was changed after it was written (it is {row.id} and says {told})")
    return row
