"""Which clips are scored, and what a method may see of them.

letters: n frames to paint, H W pixels
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from lvcd.data.clip import fit
from lvcd.errors import InputError
from lvcd.io.disk import printable
from lvcd.lineart.sketch import sketch_from_png
from lvcd.pixel_values import unit_from_uint8
from lvcd.shards.format import playback_fps
from lvcd.shards.index import ClipEntry, ShardIndex
from lvcd.spacing import evenly_spaced

from .content import pictures, verified_clips
from .line_art import EXTRACTED, GIVEN, LINE_ART, extract_line_art, kind_of

SHEET_PART = 0.75
"""Of height and width of a frame: the part of it that a sheet shows."""
LINE_THRESHOLD = 0.5
"""A binarized sketch is 1 where it was above this, and 0 elsewhere."""


@dataclass(frozen=True)
class Protocol:
    """Under which conditions methods are compared.

    A clip's first frame is the reference; the frames after it are painted and scored. Of these some may be given, too,
    as keys, which are painted but not scored. With a sheet in place of a reference all frames but the last are painted.
    InputError: a setting is wrong.
    """

    name: str
    shards: str | Path | None
    """A folder of `lvcd prepare` or `lvcd prepare cartoons`."""
    data: str | None = None
    """SHA-256 of the test set's pictures, see content.py; None = any."""
    frames: int | None = None
    """Frames that are painted of each clip at most; None = all after the reference."""
    clips: int | None = None
    """Number of clips, spread evenly over the set; None = all."""
    height: int | None = None
    """px; with width: frames are scaled to cover that size and cropped at the center. None = as they are."""
    width: int | None = None
    """px; see height."""
    binarized: bool = False
    """Whether sketches are made pure black and white, so that no grey can reveal a color."""
    line_art: str = GIVEN
    """What methods see: the test set's own line art (given), or what is extracted from the frames; see line_art.py."""
    keys: Sequence[float] = ()
    """Frames that are given beside the reference, as fractions of the frames to paint, in (0, 1]; 1 = the last one. A
    method that heeds n references heeds the first n of the reference and these."""
    sheet: bool = False
    """Whether the reference is a sheet: a part of the frame after those that are painted, mirrored and enlarged."""
    leaks: int = 4
    """Number of clips that the leak checks paint again; 0 = no checks."""

    def __post_init__(self) -> None:
        if self.shards is None:
            raise InputError(f"{self.name} has no test set yet: give protocol.shards=DIR, a folder of lvcd prepare")
        object.__setattr__(self, "name", str(self.name))  # which may look like a number
        if not isinstance(self.binarized, bool):
            raise InputError(f"protocol.binarized={self.binarized}: give true or false")
        if self.line_art not in LINE_ART:
            raise InputError(f"protocol.line_art={self.line_art}: give {', '.join(LINE_ART)}")
        for name, least in (("frames", 1), ("clips", 1), ("height", 16), ("width", 16), ("leaks", 0)):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise InputError(f"protocol.{name}={value}: give a whole number from {least}")
        if (self.height is None) != (self.width is None):
            raise InputError("give both protocol.height and protocol.width, or neither")
        object.__setattr__(self, "keys", tuple(self.keys))
        if not all(isinstance(key, (int, float)) and 0 < key <= 1 for key in self.keys):
            raise InputError(f"protocol.keys={list(self.keys)}: give fractions of a clip, above 0 and up to 1")
        if self.keys and self.sheet:
            raise InputError("protocol.sheet stands for the reference, and protocol.keys are beside it: give one")

    def key_places(self, frames: int) -> tuple[int, ...]:
        """Return the places of the keys among so many frames to paint, from 0, each once. InputError: all are keys."""
        places = tuple(dict.fromkeys(max(0, round(key * frames) - 1) for key in self.keys))
        if len(places) == frames:
            raise InputError(f"a clip of {frames} frames to paint, all of them given: nothing is left to score")
        return places


@dataclass(frozen=True)
class TestClip:
    """A clip to be painted. A method sees all but `original` and `scored_sketches`. Values are those of 8-bit files."""

    __test__ = False  # not a test of pytest's

    index: int
    """Number in the test set."""
    key: str
    """Name in the shards."""
    fps: float
    """Playback rate, which methods do not see."""
    reference: Tensor
    """(3 H W) in [0, 1]"""
    reference_sketch: Tensor
    """(1 H W) in [0, 1], line = 1"""
    sketches: Tensor
    """(n 1 H W) of the frames to paint"""
    original: Tensor
    """(n 3 H W), the frames to paint"""
    scored_sketches: Tensor
    """(n 1 H W), the test set's own line art, by which metrics find regions, whatever line art is shown"""
    keys: Mapping[int, Tensor] = field(default_factory=dict)
    """Place among the frames to paint, from 0 -> the frame (3 H W), which methods may see"""

    @property
    def scored(self) -> list[int]:
        """Places of the frames that are scored: all but the keys, which cost nothing to get right."""
        return [place for place in range(len(self.sketches)) if place not in self.keys]


class TestSet:
    """The clips of a protocol, one in memory at a time.

    InputError: no shards, damaged or missing ones, encoded ones, no manifest, or other pictures than the protocol's.
    """

    __test__ = False  # not a test of pytest's

    def __init__(self, protocol: Protocol):
        self.protocol = protocol
        path = Path(str(protocol.shards))
        folder = ShardIndex(path)
        if folder.encoded:
            raise InputError(f"{printable(path)} holds latents: give the folder above it, with the frames")
        if folder.manifest is None or folder.notes:
            raise InputError(
                f"{printable(path)} is not a complete test set ({folder.notes[0]}): prepare or copy it again"
            )
        found, self.data = verified_clips(folder.shards, [shard["sha256"] for shard in folder.manifest["shards"]])
        if protocol.data is not None and protocol.data != self.data:
            raise InputError(
                f"{printable(path)} is not the test set of {protocol.name}: the SHA-256 of its pictures starts with "
                f"{self.data[:12]}, not {protocol.data[:12]}: make it as the protocol's file says, or set protocol.data"
            )
        self.warnings = []
        """What a row must say of the set."""
        if protocol.clips and protocol.clips > len(found):
            self.warnings.append(f"the test set has {len(found)} of the protocol's {protocol.clips:,} clips")
        self._entries = [found[i] for i in evenly_spaced(len(found), protocol.clips or len(found), ends=False)]
        if not self._entries:
            raise InputError(f"{printable(path)} has no clips: give another test set")
        if short := next((entry.key for entry in self._entries if entry.frames < 2), None):
            raise InputError(f"clip {short} has one frame, and a reference leaves nothing to paint: drop such clips")
        if len({entry.key for entry in self._entries}) != len(self._entries):
            raise InputError(f"{printable(path)} has several clips of one name: prepare it again")
        self.scored = [frames - len(protocol.key_places(frames)) for frames in self.lengths]
        """Number of frames of each clip that are scored."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[TestClip]:
        return (self[index] for index in range(len(self)))

    @property
    def keys(self) -> list[str]:
        """Names of the clips."""
        return [entry.key for entry in self._entries]

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of a clip's frames as they are painted."""
        p = self.protocol
        return (p.height, p.width) if p.height and p.width else self._entries[index].size

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """Heights and widths that clips have."""
        return {self.size(index) for index in range(len(self))}

    @property
    def lengths(self) -> list[int]:
        """Number of frames to paint of each clip."""
        most = self.protocol.frames
        return [min(entry.frames - 1, most or entry.frames) for entry in self._entries]

    def __getitem__(self, index: int) -> TestClip:
        if not 0 <= index < len(self):
            raise IndexError(index)
        entry = self._entries[index]
        numbers = range(1 + self.lengths[index])
        frames, own = (self._pictures(entry, kind, numbers) for kind in ("frame", "sketch"))
        shown, kind = own, kind_of(self.protocol.line_art, entry.key)
        if kind != GIVEN:
            shown = extract_line_art(frames, kind, np.random.default_rng(clip_seed(0, entry.key)))
        if self.protocol.binarized:
            shown = np.stack([binarized(drawing) for drawing in shown])
        if self.protocol.sheet:  # in place of frame 0, so that all others follow it
            frames, shown, own = (as_sheet(pictures, entry.key) for pictures in (frames, shown, own))
        colors = unit_from_uint8(torch.from_numpy(frames).movedim(-1, 1))
        lines, scored = (sketch_from_png(drawings[:, None]) for drawings in (shown, shown if kind == GIVEN else own))
        fps = playback_fps(entry.metadata)
        keys = {place: colors[1 + place] for place in self.protocol.key_places(self.lengths[index])}
        return TestClip(index, entry.key, fps, colors[0], lines[0], lines[1:], colors[1:], scored[1:], keys)

    def _pictures(self, entry: ClipEntry, kind: str, numbers: range) -> np.ndarray:
        p, found = self.protocol, []
        for picture in pictures(entry, kind, numbers):
            if p.height and p.width:
                picture = fit(picture, p.height, p.width)
            found.append(picture)
        return np.stack(found)

    def protocol_record(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return the protocol as a row has it. metrics: column -> `Reported.identity`."""
        p = self.protocol
        height, width = next(iter(self.sizes)) if len(self.sizes) == 1 else (None, None)
        given = {entry.text("sketches") or "unknown" for entry in self._entries}
        extracted = EXTRACTED if p.line_art == "extracted" else (p.line_art,)
        sketch = "+".join(sorted(given if p.line_art == GIVEN else extracted))
        return {
            "name": p.name,
            "data": self.data,
            "width": width,
            "height": height,
            "frames": p.frames,
            "clips": p.clips and len(self),
            "reference": "sheet" if p.sheet else "+".join(["first", *(f"{key:g}" for key in p.keys)]),
            "sketch": sketch,
            "binarized": p.binarized,
            "metrics": metrics,
        }


def binarized(drawing: np.ndarray) -> np.ndarray:
    """Return a drawing (H W) uint8, 0 = line, in pure black and white."""
    return cv2.threshold(drawing, round(255 * (1 - LINE_THRESHOLD)) - 1, 255, cv2.THRESH_BINARY)[1]


def as_sheet(pictures: np.ndarray, key: str) -> np.ndarray:
    """Put a sheet made of the last of some pictures (t H W ...) uint8 before the others => (t H W ...).

    It shows a part of the picture, mirrored, at the frame's size; the name of the clip decides which part.
    """
    H, W = pictures.shape[1:3]
    height, width = round(SHEET_PART * H), round(SHEET_PART * W)
    rng = np.random.default_rng(clip_seed(0, key))
    top, left = (int(rng.integers(room + 1)) for room in (H - height, W - width))
    part = np.ascontiguousarray(pictures[-1][top : top + height, left : left + width][:, ::-1])
    return np.concatenate([cv2.resize(part, (W, H), interpolation=cv2.INTER_LINEAR)[None], pictures[:-1]])


def clip_seed(seed: int, key: str) -> int:
    """Return the seed of a clip's noise: it depends on no other clip and not on the process that paints it."""
    return int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()[:7], "big")
