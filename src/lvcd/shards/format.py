"""The one owner of the shard format: names, manifests and the writer. docs/data-format.md describes it.

A shard is a plain tar of clips that WebDataset reads; a folder of shards has a `manifest.json`.

letters: H W pixels.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lvcd.io.disk import parse_json
from lvcd.io.images import encode_png

Array = np.ndarray[Any, Any]

PIXELS, ENCODED = "lvcd shards 1", "lvcd encoded 1"
"""Values of `format` in a manifest: shards of frames and sketches, and shards of latents and embeddings."""
PROGRESS = {PIXELS: ".prepare.json", ENCODED: ".encode.json"}
"""Format -> the file that holds the manifest's record until all shards are finished."""
MEMBER = re.compile(
    r"(?P<key>[A-Za-z0-9_-]+)\."
    r"(?P<field>json|(?:frame|sketch)[0-9]{3,9}\.png|(?:latents|tokens|sketches)\.npy)"
)
"""The name of a file in a shard."""
PNG_LEVEL = 3
"""zlib's compression level of the PNGs that `ShardWriter.add` makes."""
SHARD_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
"""The name of a shard. It may become part of an address: a manifest from elsewhere gets no command through."""
DEFAULT_FPS = 12.0
"""Playback rate of a clip whose JSON has none, frames per second."""
FPS_RANGE = (1.0, 240.0)
"""Playback rates that can be true; others are broken time stamps."""


# ------------------------------------------------------------------------------------------------------------ manifests


@dataclass(frozen=True)
class Shard:
    """One shard as its manifest lists it."""

    name: str
    clips: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`."""

    format: str
    """PIXELS, ENCODED, or whatever another version has written."""
    shards: tuple[Shard, ...]
    sha256: str
    """Of the file: checkpoints and encoded copies refer to it."""
    record: dict[str, Any]
    """The whole JSON object."""

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Read a manifest from the bytes of its file. ValueError: they are none, or name what cannot be a shard."""
        try:
            record = parse_json(data)
            shards = tuple(Shard(s["name"], int(s["clips"]), int(s["bytes"])) for s in record["shards"])
            found = str(record["format"])
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        for shard in shards:
            is_name = isinstance(shard.name, str) and SHARD_NAME.fullmatch(shard.name)
            if not is_name or min(shard.clips, shard.bytes) < 0:
                raise ValueError(f"do not trust it: it names the shard {shard.name!r}")
        return cls(found, shards, hashlib.sha256(data).hexdigest(), record)


# -------------------------------------------------------------------------------------------------------------- writing


def clip_key(film: str, digest: str, start: int) -> str:
    """Return the key of a clip: letters, digits, - and _ alone, short, and unique over films by their SHA-256."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(film).stem)[:40] or "film"
    return f"{stem}-{digest[:8]}-{start:06d}"


class ShardWriter:
    """Writes clips into one tar file. The bytes depend on nothing but what is added: no times, no owners."""

    def __init__(self, file: BinaryIO):
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115  # see __exit__
        self._key = ""
        self.clips = 0
        """The number of clips so far."""

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:  # after an error the file is of no use
            self._tar.close()

    @property
    def size(self) -> int:
        """The number of bytes so far, without the end mark."""
        return self._tar.offset

    def add(self, key: str, metadata: dict[str, Any], frames: Iterable[tuple[Array, Array]]) -> int:
        """Add a clip of pixels and return its number of frames.

        frames    (frame uint8 (H W 3) RGB, drawing uint8 (H W) with 0 on a line), one after the other
        """
        self.add_files(key, {"json": metadata_json(metadata)})
        count = 0
        for frame, drawing in frames:
            self.add_files(
                key,
                {
                    f"frame{count:03d}.png": encode_png(frame, PNG_LEVEL),
                    f"sketch{count:03d}.png": encode_png(drawing, PNG_LEVEL),
                },
            )
            count += 1
        return count

    def add_files(self, key: str, files: dict[str, bytes]) -> None:
        """Add the files of a clip, or more files of the last one: {"json": ...} becomes KEY.json."""
        if key != self._key:
            self._key, self.clips = key, self.clips + 1
        for field, data in files.items():
            assert MEMBER.fullmatch(f"{key}.{field}"), (key, field)
            entry = tarfile.TarInfo(f"{key}.{field}")  # its owner is 0, its time is 0
            entry.size = len(data)
            self._tar.addfile(entry, io.BytesIO(data))


def playback_fps(metadata: dict[str, Any]) -> float:
    """Return the playback rate of a clip in frames per second, DEFAULT_FPS if its JSON has none that can be true."""
    try:
        fps = float(metadata["fps"])
    except (KeyError, TypeError, ValueError):
        return DEFAULT_FPS
    return fps if FPS_RANGE[0] <= fps <= FPS_RANGE[1] else DEFAULT_FPS


def metadata_json(metadata: dict[str, Any]) -> bytes:
    """Return the content of a clip's JSON file."""
    return json.dumps(metadata, indent=1, sort_keys=True).encode()
