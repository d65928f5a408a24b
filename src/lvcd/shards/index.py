"""What is in a folder of shards, counted from names and headers: no picture is decoded.

letters: t frames, h w latent size, d width of a token, H W pixels
"""

from __future__ import annotations

import hashlib
import json
import struct
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lvcd.errors import InputError
from lvcd.io.disk import named, reading

from .format import MEMBER

PIXELS, ENCODED = "lvcd shards 1", "lvcd encoded 1"
CREDITS, LICENSES = ("credit", "credits"), ("license", "licence")

Lost = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """A whole clip, where it lies in its shard."""

    shard: Path
    key: str
    about: dict[str, Any]
    places: dict[str, tuple[int, int]]
    """frame000.png, latents.npy, ... => first byte, bytes"""
    size: tuple[int, int]
    """(H, W) of its sketches"""

    @property
    def frames(self) -> int:
        return int(self.about["frames"])

    def text(self, name: str) -> str:
        """What its JSON says, "" for nothing."""
        return str(self.about.get(name, ""))

    def credits(self, names: tuple[str, ...] = CREDITS) -> list[str]:
        """Who made it, or with LICENSES under what licence; a clip may be composed of the work of several."""
        return [part for name in names for part in self.text(name).split("; ") if part]


@dataclass
class Counts:
    """The totals over all whole clips."""

    clips: list[int] = field(default_factory=list)
    """of each shard"""
    lengths: Counter[int] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    rates: Counter[str] = field(default_factory=Counter)
    films: Counter[str] = field(default_factory=Counter)
    extractors: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    credits: Counter[str] = field(default_factory=Counter)
    """of everybody the clips they have a part in"""

    @property
    def frames(self) -> int:
        return sum(length * clips for length, clips in self.lengths.items())

    def add(self, entry: Entry) -> None:
        self.clips[-1] += 1
        self.lengths[entry.frames] += 1
        self.sizes["{1} x {0}".format(*entry.size)] += 1
        self.rates[entry.text("fps") or "unknown"] += 1
        self.films[entry.text("film_sha256") or entry.text("film") or "unknown"] += 1
        self.extractors[entry.text("sketches") or "unknown"] += 1
        self.licenses["; ".join(entry.credits(LICENSES)) or "not stated"] += 1
        self.credits.update(entry.credits() or ["not stated"])


class Folder:
    """Shards of clips, or encoded ones. InputError: there are none, or its manifest cannot be read."""

    def __init__(self, path: Path):
        self.path = path
        if not path.is_dir():
            raise InputError(f"{named(path)} is no folder: give the folder that lvcd prepare made")
        with reading("folder", path, "check the path"):
            self.shards = sorted(path.glob("shard-*.tar"))
        if not self.shards:
            parts = sorted(file.parent.name for file in path.glob("*/shard-00000.tar"))
            give = f"one of {', '.join(parts)} in it" if parts else "the folder lvcd prepare made"
            raise InputError(f"{named(path)} has no shards (shard-00000.tar ...): give {give}")
        self.notes: list[str] = []
        """What is wrong with the folder as a whole."""
        self.manifest = self._manifest()
        self.encoded = self.manifest["format"] == ENCODED if self.manifest else (path / ".encode.json").exists()

    def _manifest(self) -> dict[str, Any] | None:
        file = self.path / "manifest.json"
        if not file.exists():
            begun = any((self.path / name).exists() for name in (".prepare.json", ".encode.json"))
            busy = ": it is not finished" if begun else ""
            self.notes.append(f"no manifest.json{busy}; whether shards are missing cannot be told")
            return None
        with reading("manifest", file, "prepare or copy the shards again"):
            manifest = json.loads(file.read_bytes())
            if manifest["format"] not in (PIXELS, ENCODED):
                raise ValueError(f"its format is {str(manifest['format'])[:40]!r}, not {PIXELS!r} or {ENCODED!r}")
            listed = {str(shard["name"]): int(shard["bytes"]) for shard in manifest["shards"]}
        there = {shard.name: shard.stat().st_size for shard in self.shards}
        self.notes += [f"{name} of the manifest is missing" for name in listed if name not in there]
        self.notes += [f"{name} is not in the manifest" for name in there if name not in listed]
        self.notes += [
            f"{name} has {there[name]} bytes, the manifest says {size}"
            for name, size in listed.items()
            if there.get(name, size) != size
        ]
        if manifest["format"] == ENCODED:
            source = self.path.parent / "manifest.json"
            if not source.exists() or hashlib.sha256(source.read_bytes()).hexdigest() != manifest.get("source_sha256"):
                self.notes.append("encoded from other shards than those in the folder above")
        return manifest

    def count(self, lost: Lost, done: Callable[[int], object]) -> Counts:
        """done: called with the bytes of each shard. InputError: no clip in any, or a shard is no tar at all."""
        counts = Counts()
        for shard in self.shards:
            counts.clips.append(0)
            for entry in entries(shard, lost):
                counts.add(entry)
            done(shard.stat().st_size)
        if not counts.frames:
            raise InputError(f"{named(self.path)} has not one whole clip in {len(self.shards)} shards: copy them again")
        return counts

    def some(self, counts: Counts, chosen: list[int]) -> Iterator[Entry]:
        """The clips of these numbers, ascending, counted through all shards."""
        wanted, first = set(chosen), 0
        for shard, clips in zip(self.shards, counts.clips):
            if wanted & set(range(first, first + clips)):
                for number, entry in enumerate(entries(shard, lambda line: None), first):
                    if number in wanted:
                        yield entry
            first += clips


def entries(shard: Path, lost: Lost) -> Iterator[Entry]:
    """The whole clips of a shard, in order; what is damaged is told to `lost`, a line each.

    InputError: no tar at all, or a name in it is none of a shard's.
    """
    try:
        with shard.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            end = file.seek(0, 2)
            key, places = "", dict[str, tuple[int, int]]()
            for name, place in _members(shard, tar, file, end, lost):
                found, part = name.split(".", 1)
                if found != key:
                    yield from _entry(shard, file, key, places, lost)
                    key, places = found, {}
                places[part] = place
            yield from _entry(shard, file, key, places, lost)
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"cannot read shard {named(shard)} ({error}): prepare or copy it again") from error


def _members(
    shard: Path, tar: tarfile.TarFile, file: BinaryIO, end: int, lost: Lost
) -> Iterator[tuple[str, tuple[int, int]]]:
    """(name, (first byte, bytes)) of every whole file, up to the first damage."""
    offset = 0
    try:
        while (entry := tar.next()) is not None:
            if not entry.isreg() or not MEMBER.fullmatch(entry.name):
                raise InputError(f"{entry.name!r} in {named(shard)} is no file of a shard: do not trust it")
            if entry.offset_data + entry.size > end:
                break
            offset = tar.offset
            yield entry.name, (entry.offset_data, entry.size)
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep a record of every file
        else:
            file.seek(tar.offset)
            if file.read(2 * tarfile.BLOCKSIZE) == bytes(2 * tarfile.BLOCKSIZE):
                return
    except tarfile.ReadError:
        pass
    lost(f"{shard.name} is damaged or cut short at byte {offset}: what follows is lost")


def _entry(shard: Path, file: BinaryIO, key: str, places: dict[str, tuple[int, int]], lost: Lost) -> Iterator[Entry]:
    if not places:
        return
    try:
        about = json.loads(read(file, places["json"]))
        if not 1 <= int(about["frames"]) < 10**9:
            raise ValueError(f"its JSON says {about['frames']} frames")
        if "sketches.npy" in places:
            shape = npy_shape(file, places["sketches.npy"][0])
            needed = ["latents.npy", "tokens.npy"]
            size = shape[1], shape[2]
        else:
            needed = [f"{kind}{index:03d}.png" for index in range(int(about["frames"])) for kind in ("frame", "sketch")]
            size = struct.unpack(">16xII", read(file, places["sketch000.png"])[:24])[::-1]
        if missing := next((name for name in needed if name not in places), None):
            raise KeyError(missing)
    except KeyError as error:
        lost(f"clip {key} of {shard.name} is lost: it has no {error.args[0]}")
    except (ValueError, TypeError, IndexError, struct.error) as error:
        lost(f"clip {key} of {shard.name} is lost: {' '.join(str(error).split())}")
    else:
        yield Entry(shard, key, about, places, size)


def read(file: BinaryIO, place: tuple[int, int]) -> bytes:
    """The bytes of one file of a clip."""
    file.seek(place[0])
    return file.read(place[1])


def npy_shape(file: BinaryIO, offset: int) -> tuple[int, ...]:
    """Of the array that begins at `offset`. ValueError: there is none."""
    file.seek(offset)
    np.lib.format.read_magic(file)
    return np.lib.format.read_array_header_1_0(file)[0]
