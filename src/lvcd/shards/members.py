"""The one reader of shard tars: which files are in one, and where they lie. Nothing is ever written to disk.

`read_members` is what the training stream, the index and `read_shard` build on. What it refuses is refused everywhere.

letters: H W pixels.
"""

from __future__ import annotations

import json
import tarfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from lvcd.errors import InputError
from lvcd.io.disk import printable, reading
from lvcd.io.images import decode_png

from .format import MEMBER

Report = Callable[[str], object]
"""Is called with one line for every clip or part of a shard that cannot be read."""


class RefusedMemberError(Exception):
    """A file in a tar that none of our shards has: another name, a link, a folder, a sparse file."""


@dataclass(slots=True)  # thousands are made for each shard
class Member:
    """One file of a shard."""

    key: str
    """Of its clip."""
    field: str
    """json, frame000.png, latents.npy, ..."""
    offset: int
    """The first byte of its content in the shard."""
    size: int
    """Bytes."""

    @property
    def kind(self) -> str:
        """json, frame, sketch, latents, tokens or sketches."""
        return self.field.split(".")[0].rstrip("0123456789")

    @property
    def index(self) -> int:
        """The number of a frame or sketch; 0 for the others."""
        return int(self.field.split(".")[0].removeprefix(self.kind) or 0)

    def read(self, file: BinaryIO) -> bytes:
        """Return its content from the open shard."""
        file.seek(self.offset)
        return file.read(self.size)


def read_members(tar: tarfile.TarFile, end: int) -> Iterator[Member]:
    """Yield the files of a shard in order, up to its end or the first damaged header. Contents are skipped.

    end    size of the shard in bytes
    RefusedMemberError: see there. tarfile.ReadError: the tar ends in a header, or a file is larger than the shard.
    """
    while (entry := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # it would keep a record of every file
        name = MEMBER.fullmatch(entry.name)
        if not entry.isreg() or entry.issparse() or not name:
            raise RefusedMemberError(f"{entry.name!r} is no file of a shard")
        if entry.offset_data + entry.size > end:
            raise tarfile.ReadError(f"{entry.name} is larger than the shard")
        yield Member(name["key"], name["field"], entry.offset_data, entry.size)


def read_clip_members(path: Path, report: Report) -> Iterator[tuple[BinaryIO, str, dict[str, Member]]]:
    """Yield (open shard, key, {field: member}) of each clip, up to the first damage, which is reported.

    InputError: no tar at all, or something in it is refused.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for key, members in groupby(_sound_members(path, file, tar, report), lambda member: member.key):
                yield file, key, {member.field: member for member in members}
    except RefusedMemberError as error:
        raise InputError(f"{error} in {printable(path)}: do not trust it, prepare the shards again") from error
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"cannot read shard {printable(path)} ({error}): prepare or copy it again") from error


def _sound_members(path: Path, file: BinaryIO, tar: tarfile.TarFile, report: Report) -> Iterator[Member]:
    end_mark = bytes(2 * tarfile.BLOCKSIZE)
    size, sound = path.stat().st_size, 0  # bytes up to the end of the last whole file
    try:
        for member in read_members(tar, size):
            sound = tar.offset
            yield member
        file.seek(tar.offset)
        if file.read(len(end_mark)) == end_mark:
            return
    except tarfile.ReadError:
        pass
    report(f"{path.name} is damaged or cut short at byte {sound}: what follows is lost")


def read_shard(path: Path, report: Report = warnings.warn) -> Iterator[dict[str, Any]]:
    """Yield the clips of a shard of pixels: {__key__, json: dict, frames: [uint8 (H W 3)], sketches: [uint8 (H W)]}.

    Only whole clips: what a damaged or truncated file has lost is left out and reported, one line for each.
    InputError: no tar at all, or a name in it is none of a shard's.
    """
    for file, key, members in read_clip_members(path, report):
        with reading("shard", path, "prepare or copy it again"):
            files = {field: member.read(file) for field, member in members.items()}
        try:
            metadata = json.loads(files["json"])
            frames, sketches = (
                [decode_png(files[f"{kind}{i:03d}.png"], mode) for i in range(metadata["frames"])]
                for kind, mode in (("frame", "RGB"), ("sketch", "L"))
            )
        except KeyError as error:
            report(f"clip {key} of {path.name} is lost: it has no {error.args[0]}")
        except Exception as error:  # decoders raise nearly everything: SyntaxError, struct.error, ...
            report(f"clip {key} of {path.name} is lost: {error}")
        else:
            yield {"__key__": key, "json": metadata, "frames": frames, "sketches": sketches}
