"""The pictures of a test set and their SHA-256, which does not depend on how they are packed or compressed.

letters: H W pixels
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lvcd.errors import InputError
from lvcd.io.disk import printable, reading, sha256
from lvcd.io.images import decode_png
from lvcd.shards.index import ClipEntry, clip_entries

PICTURE_MODES = {"frame": "RGB", "sketch": "L"}
"""Kind of picture -> its mode, as PIL names it."""


def verified_clips(shards: list[Path], hashes: list[str]) -> tuple[list[ClipEntry], str]:
    """Return the clips of shards, and the SHA-256 of their content: of the key and the decoded pictures of each clip.

    hashes: the SHA-256 of each shard's file. InputError: a shard is another, damaged or cut.
    """
    for shard, expected in zip(shards, hashes):
        if sha256(shard) != expected:
            raise InputError(f"{printable(shard)} is not the shard of its manifest: prepare or copy it again")
    return [entry for shard in shards for entry in clip_entries(shard, _refuse)], _content(tuple(shards), tuple(hashes))


@functools.cache  # jobs of a sweep have one test set
def _content(shards: tuple[Path, ...], hashes: tuple[str, ...]) -> str:
    found = hashlib.sha256()
    for entry in (entry for shard in shards for entry in clip_entries(shard, _refuse)):
        for kind in PICTURE_MODES:
            for number, picture in enumerate(pictures(entry, kind, range(entry.frames))):
                found.update("{0} {1} {2} {4}x{3}\n".format(entry.key, kind, number, *picture.shape).encode())
                found.update(picture.tobytes())
    return found.hexdigest()


def pictures(entry: ClipEntry, kind: str, numbers: range) -> Iterator[np.ndarray]:
    """Yield pictures of a clip by their numbers: frames (H W 3) uint8 RGB, or sketches (H W) uint8, 0 = line.

    InputError: one cannot be decoded.
    """
    mode = PICTURE_MODES[kind]
    with entry.shard.open("rb") as file:
        for number in numbers:
            with reading(f"a picture of clip {entry.key} in", entry.shard, "prepare it again"):
                picture = decode_png(entry.members[f"{kind}{number:03d}.png"].read(file), mode)
            yield picture


def _refuse(line: str) -> None:
    raise InputError(f"{line}: a test set must be complete: copy or prepare it again")
