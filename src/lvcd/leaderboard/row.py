"""The rows of a leaderboard: one evaluation is one line of JSON in `leaderboard.jsonl`, appended whole.

A process can be killed in the middle of a write and leave a last line without an end. Reading skips such a line, and
the next append moves it to `leaderboard.jsonl.torn` before it writes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from lvcd.errors import InputError

from .schema import ROW, SUMMARY, problem

DIGEST_DIGITS = 12
"""Hexadecimal digits of a SHA-256 that make the id of a row and the key of a protocol."""
_ID = re.compile(rb'"id":"([^"\\]*)",')
_LEFT_OUT: dict[str, Any] = {"clips": [], "source_media": None, "leaks": {}, "provenance": {}}
"""What summaries have in place of a row's own: shared, and never changed."""


def canonical_json(value: Any) -> str:
    """Return the one JSON text of plain values: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Return the first digits of the SHA-256 of the canonical JSON of plain values."""
    return _digits(canonical_json(value).encode())


def _digits(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_DIGITS]


def now() -> str:
    """Return the time in UTC as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back: tuples become lists, and numbers that are not finite None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Row:
    """The scores of one method under one protocol, and all that they depend on. Plain values only."""

    method: dict[str, Any]
    """name, as shown; settings: all that the frames depend on (kind, fingerprint of the model, steps, overlap ...)"""
    protocol: dict[str, Any]
    """name; data: SHA-256 of the images; width, height, frames (None: whole clips), clips (None: all),
    reference, sketch ("exact" or an extractor's name), binarized; metrics: {column: settings and extractor}"""
    n: int | None
    """Number of clips that were scored."""
    metrics: dict[str, dict[str, Any]]
    """Column -> report of the metric: value, n, interval, settings, extractor, notes, higher_is_better."""
    clips: list[dict[str, Any]]
    """key; scores: {column: value or None}; media: the painted clip, a .webm below the file's folder, or None"""
    source_media: str | None = None
    """Folder below the file's: KEY.reference.png, KEY.sketch.webm, KEY.original.webm."""
    leaks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Check, like "reference=blank" -> n, scores: {column: value}, note."""
    warnings: list[str] = field(default_factory=list)
    """What a reader of the scores must know, like "ignores its reference: ...", one sentence each."""
    cost: dict[str, Any] = field(default_factory=dict)
    """seconds_per_frame, memory_GiB, device"""
    provenance: dict[str, Any] = field(default_factory=dict)
    """seed, git, versions: {package: version}"""
    source: str | None = None
    """None: measured here. Else where the scores were published; all that was not published is None."""
    time: str = field(default_factory=now)
    """UTC, ISO 8601."""

    def __post_init__(self) -> None:
        for part in fields(self):
            object.__setattr__(self, part.name, _plain(getattr(self, part.name)))

    @cached_property
    def id(self) -> str:
        """Digest of all that is in the row: a row changed by hand has another one than its line states."""
        return digest(asdict(self))

    @cached_property
    def protocol_key(self) -> str:
        """Digest of the protocol: rows are ranked together only where it is equal."""
        return digest(self.protocol)

    @property
    def name(self) -> str:
        """Name of the method."""
        return self.method["name"]

    def line(self) -> bytes:
        """Return the row as a line of the file."""
        return (canonical_json({"id": self.id, **asdict(self)}) + "\n").encode()


def append(path: Path, row: Row) -> None:
    """Append the row to a leaderboard's file, and have it on the disk before this returns.

    Other processes that append wait. InputError: the file cannot be written. ValueError: the row is not made as `Row`
    says, so that `read` would refuse it.
    """
    line = row.line()
    parse_row(line)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")), path.open("ab+", buffering=0) as file:
            assert isinstance(file, FileIO)
            _mend(path, file)
            _write(file, line)
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror}): make room or make it writable, and run again"
        ) from error


def _write(file: FileIO, data: bytes) -> None:
    """Append all of the data, or nothing if the disk is full."""
    before = file.seek(0, os.SEEK_END)
    try:
        while data:
            data = data[file.write(data) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(before)
        raise


def _mend(path: Path, file: FileIO) -> None:
    """Complete a last line that lacks nothing but its end; move one that lacks more to the file of torn lines."""
    size = file.seek(0, os.SEEK_END)
    if not size:
        return
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return
    complete, tail = _split(path.read_bytes())
    try:
        parse_row(tail)
    except ValueError:
        with path.with_name(f"{path.name}.torn").open("ab", buffering=0) as torn:
            assert isinstance(torn, FileIO)
            _write(torn, tail + b"\n")
        file.truncate(len(complete))
    else:
        _write(file, b"\n")


def _split(data: bytes) -> tuple[bytes, bytes]:
    """Return the lines that have an end, and what follows the last end."""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


def read(path: Path, ids: set[str] | None = None) -> list[Row]:
    """Return the rows of a leaderboard's file, oldest first; with `ids`, only those.

    InputError: no file, or a line that is no row, which the message names.
    """
    return list(_rows(path, False, ids))


def read_summaries(path: Path) -> Iterator[Row]:
    """Yield the rows of a leaderboard's file as tables need them, oldest first, in a tenth of the memory.

    They have no clips, source_media, leaks and provenance, and reports without settings and extractor. Their id is that
    of the row. InputError: as for `read`.
    """
    return _rows(path, True, None)


def _rows(path: Path, summary: bool, ids: set[str] | None) -> Iterator[Row]:
    protocols: dict[str, Row] = {}  # key -> a row with it
    latest: dict[str, Row] = {}  # name -> the latest row
    for number, text, complete in _lines(path):
        if ids is not None and (stated := _ID.findall(text)) and not any(one.decode() in ids for one in stated):
            continue  # without reading more of the line
        try:
            row = parse_row(text, summary)
        except ValueError as error:
            if not complete:
                return  # its writer was killed, or is writing now
            raise InputError(
                f"{path}, line {number} {error}: take the line out, and evaluate again or ask who wrote it"
            ) from error
        if ids is None or row.id in ids:
            same = latest.get(row.protocol["name"])
            if same is None or same.protocol != row.protocol:  # quicker than a digest of each
                same = protocols.setdefault(row.protocol_key, row)
                latest[row.protocol["name"]] = same
            row.__dict__.update(protocol=same.protocol, protocol_key=same.protocol_key)  # one for all: it is large
            yield row


def _lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Yield the number of each line, the line, and whether it has an end."""
    try:
        if path.is_char_device() or path.is_block_device():  # /dev/zero has no end
            raise InputError(f"{path} is a device, and no leaderboard: give a file")
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield number, line.removesuffix(b"\n"), line.endswith(b"\n")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: evaluate a method first, or check the path") from error
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): check the path") from error


def parse_row(text: bytes, summary: bool = False) -> Row:
    """Return the row of a line. `summary`: see `read_summaries`. ValueError says why it is none."""
    try:
        values: Any = (SUMMARY if summary else ROW).validate_json(text)
    except ValidationError as error:
        raise ValueError(problem(error)) from error
    stated = values["id"]
    if _digits(_ID.sub(b"", text, count=1).strip()) != stated:  # canonical as `Row.line`, but for the id
        rest = {name: value for name, value in json.loads(text).items() if name != "id"}
        if (found := digest(rest)) != stated:
            raise ValueError(f"was changed after it was written (it is {found} and says {stated})")
    row = object.__new__(Row)  # without __post_init__: its values are plain already
    row.__dict__.update(_LEFT_OUT if summary else {}, **values)
    return row
