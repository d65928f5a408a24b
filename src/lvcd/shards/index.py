"""The index of a folder of shards: which clips it holds, counted from names and headers. No picture is decoded.

letters: t frames, h w latent size, d width of a token, H W pixels
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lvcd.errors import InputError
from lvcd.io.disk import parse_json, printable, reading

from .format import ENCODED, PIXELS, PROGRESS, Manifest
from .members import Member, Report, read_clip_members

CREDITS, LICENSES = ("credit", "credits"), ("license", "licence")
"""Fields of a clip's JSON that name its authors, and its licenses."""


@dataclass(frozen=True)
class ClipEntry:
    """A whole clip, and where it lies in its shard."""

    shard: Path
    key: str
    metadata: dict[str, Any]
    """The content of its JSON file."""
    members: dict[str, Member]
    """frame000.png, latents.npy, ... -> where it lies."""
    size: tuple[int, int]
    """(H, W) of its sketches."""

    @property
    def frames(self) -> int:
        """The number of its frames."""
        return int(self.metadata["frames"])

    def text(self, name: str) -> str:
        """Return one field of its JSON as text, "" if it is missing."""
        return str(self.metadata.get(name, ""))

    def credits(self, names: tuple[str, ...] = CREDITS) -> list[str]:
        """Return the authors, or with LICENSES the licenses; a clip may be composed of the work of several."""
        return [part for name in names for part in self.text(name).split("; ") if part]


@dataclass
class ClipCounts:
    """Totals over all whole clips of a folder."""

    clips: list[int] = field(default_factory=list)
    """The number of clips of each shard."""
    lengths: Counter[int] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    rates: Counter[str] = field(default_factory=Counter)
    films: Counter[str] = field(default_factory=Counter)
    extractors: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    credits: Counter[str] = field(default_factory=Counter)
    """Author -> number of clips they have a part in."""

    @property
    def frames(self) -> int:
        """The number of frames of all clips."""
        return sum(length * clips for length, clips in self.lengths.items())

    def add(self, entry: ClipEntry) -> None:
        """Count one more clip of the last shard."""
        self.clips[-1] += 1
        self.lengths[entry.frames] += 1
        self.sizes["{1} x {0}".format(*entry.size)] += 1
        self.rates[entry.text("fps") or "unknown"] += 1
        self.films[entry.text("film_sha256") or entry.text("film") or "unknown"] += 1
        self.extractors[entry.text("sketches") or "unknown"] += 1
        self.licenses["; ".join(entry.credits(LICENSES)) or "not stated"] += 1
        self.credits.update(entry.credits() or ["not stated"])


class ShardIndex:
    """A folder of shards of pixels or of encoded ones.

    InputError: there is no shard in it, or its manifest cannot be read.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.is_dir():
            raise InputError(f"{printable(path)} is no folder: give the folder that lvcd prepare made")
        with reading("folder", path, "check the path"):
            self.shards = sorted(path.glob("shard-*.tar"))
        if not self.shards:
            parts = sorted(file.parent.name for file in path.glob("*/shard-00000.tar"))
            give = f"one of {', '.join(parts)} in it" if parts else "the folder lvcd prepare made"
            raise InputError(f"{printable(path)} has no shards (shard-00000.tar ...): give {give}")
        self.notes: list[str] = []
        """One line for everything that is wrong with the folder as a whole."""
        self.manifest = self._read_manifest()
        """The record of the manifest; None if there is none."""
        self.encoded = self.manifest["format"] == ENCODED if self.manifest else (path / PROGRESS[ENCODED]).exists()

    def _read_manifest(self) -> dict[str, Any] | None:
        file = self.path / "manifest.json"
        if not file.exists():
            begun = any((self.path / name).exists() for name in PROGRESS.values())
            unfinished = ": it is not finished" if begun else ""
            self.notes.append(f"no manifest.json{unfinished}; nobody knows whether shards are missing")
            return None
        with reading("manifest", file, "prepare or copy the shards again"):
            manifest = Manifest.parse(file.read_bytes())
            if manifest.format not in (PIXELS, ENCODED):
                raise ValueError(f"its format is {manifest.format[:40]!r}, not {PIXELS!r} or {ENCODED!r}")
        listed = {shard.name: shard.bytes for shard in manifest.shards}
        there = {shard.name: shard.stat().st_size for shard in self.shards}
        self.notes += [f"{name} of the manifest is missing" for name in listed if name not in there]
        self.notes += [f"{name} is not in the manifest" for name in there if name not in listed]
        self.notes += [
            f"{name} has {there[name]} bytes, the manifest says {size}"
            for name, size in listed.items()
            if there.get(name, size) != size
        ]
        if manifest.format == ENCODED:
            source = self.path.parent / "manifest.json"
            digest = hashlib.sha256(source.read_bytes()).hexdigest() if source.exists() else ""
            if digest != manifest.record.get("source_sha256"):
                self.notes.append("encoded from other shards than those in the folder above")
        return manifest.record

    def count(self, report: Report, advance: Callable[[int], object]) -> ClipCounts:
        """Count all clips.

        report     is called with a line for everything that is damaged
        advance    is called with the bytes of each shard when it is counted
        InputError: no clip in any shard, or a shard is no tar at all.
        """
        counts = ClipCounts()
        for shard in self.shards:
            counts.clips.append(0)
            for entry in clip_entries(shard, report):
                counts.add(entry)
            advance(shard.stat().st_size)
        if not counts.frames:
            raise InputError(
                f"{printable(self.path)} has not one whole clip in {len(self.shards)} shards: copy them again"
            )
        return counts

    def select(self, counts: ClipCounts, numbers: list[int]) -> Iterator[ClipEntry]:
        """Yield the clips of these numbers, which ascend and count through all shards."""
        requested, first = set(numbers), 0
        for shard, clips in zip(self.shards, counts.clips):
            if requested & set(range(first, first + clips)):
                for number, entry in enumerate(clip_entries(shard, lambda line: None), first):
                    if number in requested:
                        yield entry
            first += clips


def clip_entries(shard: Path, report: Report) -> Iterator[ClipEntry]:
    """Yield the whole clips of a shard, in order; one line for everything that is damaged is reported.

    InputError: no tar at all, or a name in it is none of a shard's.
    """
    for file, key, members in read_clip_members(shard, report):
        try:
            entry = _entry(shard, file, key, members)
        except KeyError as error:
            report(f"clip {key} of {shard.name} is lost: it has no {error.args[0]}")
        except (ValueError, OverflowError, TypeError, IndexError, struct.error) as error:
            report(f"clip {key} of {shard.name} is lost: {' '.join(str(error).split())}")
        else:
            yield entry


def _entry(shard: Path, file: BinaryIO, key: str, members: dict[str, Member]) -> ClipEntry:
    """KeyError: a file is missing. ValueError and others: one makes no sense."""
    metadata = parse_json(members["json"].read(file))
    if not 1 <= int(metadata["frames"]) < 10**9:
        raise ValueError(f"its JSON says {metadata['frames']} frames")
    if "sketches.npy" in members:
        shape = npy_shape(file, members["sketches.npy"].offset)
        needed = iter(("latents.npy", "tokens.npy"))
        size = shape[1], shape[2]
    else:
        frames = range(int(metadata["frames"]))  # as many as the JSON says: none is named before it is looked for
        needed = (f"{kind}{index:03d}.png" for index in frames for kind in ("frame", "sketch"))
        size = struct.unpack(">16xII", members["sketch000.png"].read(file)[:24])[::-1]
    if missing := next((name for name in needed if name not in members), None):
        raise KeyError(missing)
    return ClipEntry(shard, key, metadata, members, size)


def npy_shape(file: BinaryIO, offset: int) -> tuple[int, ...]:
    """Return the shape of the .npy array that begins at `offset`. ValueError: there is none."""
    file.seek(offset)
    np.lib.format.read_magic(file)
    return np.lib.format.read_array_header_1_0(file)[0]
