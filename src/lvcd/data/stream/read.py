"""Reads the samples of a plan, as the bytes of the frames they need. The rest is skipped in the tar: by seeking in a
file, by discarding in a pipe. (webdataset's own reader takes in every byte: six times as slow on encoded shards.)

Whatever happens to a shard, each slot gives one sample: one that cannot be read has the reason instead.
"""

from __future__ import annotations

import math
import tarfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from lvcd.errors import InputError
from lvcd.io.disk import parse_json
from lvcd.shards.format import DEFAULT_FPS, Shard, playback_fps
from lvcd.shards.members import Member, RefusedMemberError, read_members

from .epoch_plan import Slot
from .source import RetryPolicy, ShardSource, reason

Array = np.ndarray[Any, Any]

DrawFrames = Callable[[str, int, int], list[list[int]]]
"""(key, repeat, frames of the clip) => for each window, the frame numbers of its sample, the reference first."""

FILE_TYPES = {"frame": "png", "sketch": "png", "latents": "npy", "sketches": "npy", "tokens": "npy"}


@dataclass
class StoredSample:
    """A sample as it is stored: compressed frames, or rows of arrays. The reference is first in every list."""

    slot: Slot
    name: str = ""
    """What messages call its clip."""
    key: str = ""
    fps: float = DEFAULT_FPS
    """Playback rate of the clip, frames per second."""
    parts: dict[str, list[Any]] = field(default_factory=dict)
    """"frame" and "sketch": PNG. Of encoded shards "latents" (c h w), "sketches" (H W) and "tokens" (d): arrays."""
    error: str = ""
    """Why it could not be read; "" if it was."""


@dataclass
class _ClipFiles:
    """The files of a clip as they are read."""

    key: str
    slots: list[Slot]
    draw: DrawFrames
    frames: int = 0
    fps: float = DEFAULT_FPS
    chosen: dict[Slot, list[int]] = field(default_factory=dict)
    needed: set[int] = field(default_factory=set)
    found: dict[tuple[str, int], Any] = field(default_factory=dict)
    fault: str = ""

    def add(self, kind: str, index: int, file: _Content) -> None:
        """Read the next file of the clip, or the part of it that is needed."""
        if kind == "json":
            metadata = parse_json(file.read())
            self.frames, self.fps = int(metadata["frames"]), playback_fps(metadata)
            windows = {repeat: self.draw(self.key, repeat, self.frames) for repeat in {s.repeat for s in self.slots}}
            self.chosen = {slot: windows[slot.repeat][slot.window] for slot in self.slots}
            self.needed = {index for chosen in self.chosen.values() for index in chosen}
        elif FILE_TYPES[kind] == "png":
            if not self.frames or index in self.needed:
                self.found[kind, index] = file.read()
        elif not self.frames:
            raise ValueError("the json of its clip comes after it")
        else:
            rows = file.rows(self.frames, sorted(self.needed))
            self.found.update({(kind, row): value for row, value in rows.items()})

    def sample(self, slot: Slot, kinds: tuple[str, ...], shard: str) -> StoredSample:
        """Return the sample of a slot, once all files are read."""
        name = f"clip {self.key} of {shard}"
        try:
            if self.fault or not self.frames:
                raise ValueError(self.fault or "it has no json")
            parts = {kind: [self.found[kind, index] for index in self.chosen[slot]] for kind in kinds}
        except KeyError as error:
            kind, index = error.args[0]
            file = f"{kind}{index:03d}.png" if FILE_TYPES[kind] == "png" else f"{kind}.npy"
            return StoredSample(slot, error=f"{name} is left out: it has no {file}")
        except ValueError as error:
            return StoredSample(slot, error=f"{name} is left out: {error}")
        return StoredSample(slot, name, self.key, self.fps, parts)


def read(
    slots: Iterable[Slot],
    source: ShardSource,
    shards: tuple[Shard, ...],
    kinds: tuple[str, ...],
    draw: DrawFrames,
    retry: RetryPolicy,
) -> Iterator[StoredSample]:
    """Yield a sample for each slot, in order. Slots to skip get an empty one, and open nothing.

    kinds    of files that a sample has: frame and sketch, or latents, sketches and tokens
    draw     decides which frames of a clip are needed
    """
    for number, group in groupby(slots, lambda slot: slot.shard):
        shard = shards[number]
        here = list(group)
        needed = {clip: [s for s in same if not s.skip] for clip, same in groupby(here, lambda slot: slot.clip)}
        clips = _clips(source, shard, {clip: same for clip, same in needed.items() if same}, draw, retry)
        for clip, same in groupby(here, lambda slot: slot.clip):
            found = next(clips) if needed[clip] else None
            for slot in same:
                if slot.skip:
                    yield StoredSample(slot)
                elif isinstance(found, _ClipFiles):
                    yield found.sample(slot, kinds, shard.name)
                else:
                    yield StoredSample(slot, error=str(found))
        clips.close()


def _clips(
    source: ShardSource, shard: Shard, slots: dict[int, list[Slot]], draw: DrawFrames, retry: RetryPolicy
) -> Generator[_ClipFiles | str, None, None]:
    """Yield, for each number of a clip, in order, the clip or why it cannot be read. What fails is tried again from
    where it failed."""
    todo, fault = list(slots), ""
    for attempt in range(retry.retries + 1):
        if not todo:
            return
        if attempt:
            time.sleep(retry.pause)
        try:
            with source.open(shard.name, retry.timeout) as file, tarfile.open(fileobj=file, mode="r:") as tar:
                for number, clip in _grouped(tar, file, shard, {n: slots[n] for n in todo}, draw):
                    yield clip
                    todo.remove(number)
                    if not todo:
                        return
                fault = f"damaged or cut short at byte {tar.offset}"
        except RefusedMemberError as error:
            fault = f"{error}, do not trust it"
            break
        except (OSError, tarfile.TarError) as error:
            fault = reason(error)
    for _ in todo:
        yield f"{shard.name} is left out from clip {todo[0]} of {shard.clips} on: {fault}"


def _grouped(
    tar: tarfile.TarFile, file: IO[bytes], shard: Shard, slots: dict[int, list[Slot]], draw: DrawFrames
) -> Iterator[tuple[int, _ClipFiles]]:
    """Yield (number, clip) of those with slots, when the next one begins or the tar ends."""
    number, key, clip = -1, "", None
    for member in read_members(tar, shard.bytes):
        if member.key != key:
            if clip is not None:
                yield number, clip
            number, key = number + 1, member.key
            clip = _ClipFiles(key, slots[number], draw) if number in slots else None
        if clip is not None and not clip.fault:
            _add(clip, member, file)
    if clip is not None:
        yield number, clip


def _add(clip: _ClipFiles, member: Member, file: IO[bytes]) -> None:
    """Add a file to its clip. One that makes no sense is the clip's fault; one that ends early is the shard's."""
    file.seek(member.offset)
    try:
        clip.add(member.kind, member.index, _Content(file, member.size))
    except (OSError, tarfile.TarError):
        raise
    except InputError as error:  # it is too short to sample from
        clip.fault = str(error)
    except Exception as error:  # of json, numpy ...
        clip.fault = f"{member.field}: {reason(error)}"


class _Content:
    """The content of one member; the tar stands at its first byte."""

    def __init__(self, file: IO[bytes], size: int):
        self._file, self._start, self._at, self._size = file, file.tell(), 0, size

    def read(self, size: int | None = None) -> bytes:
        """Read `size` bytes, None = the rest. ValueError: the file has less. tarfile.ReadError: the tar ends in it."""
        size = self._size - self._at if size is None else size
        if size > self._size - self._at:
            raise ValueError("it ends too early")
        data = self._file.read(size)
        if len(data) < size:
            raise tarfile.ReadError("unexpected end of data")
        self._at += size
        return data

    def rows(self, count: int, numbers: list[int]) -> dict[int, Array]:
        """Read some rows of a .npy array of `count` rows, in ascending order; the others are skipped.

        ValueError: it is no such array.
        """
        version = npy.read_magic(self)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = header(self)
        start, size = self._at, math.prod(shape[1:]) * dtype.itemsize
        if dtype.kind not in "uf" or fortran or shape[:1] != (count,) or start + count * size != self._size:
            raise ValueError(f"no array of {count} frames but {shape} of {dtype} in {self._size} bytes")
        found = {}
        for index in numbers:
            self._at = start + index * size
            self._file.seek(self._start + self._at)
            found[index] = np.frombuffer(self.read(size), dtype).reshape(shape[1:])
        return found
