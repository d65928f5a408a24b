"""Which pictures a test set holds, whoever drew, packed or compressed them.

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

KINDS = (("frame", "RGB"), ("sketch", "L"))


def verified(shards: list[Path], hashes: list[str]) -> tuple[list[ClipEntry], str]:
    """Shards and the SHA-256 of each file => their clips, and the SHA-256 of their content: of each clip, in order, its
    key and its pictures, decoded. InputError: a shard is another, damaged or cut."""
    for shard, wanted in zip(shards, hashes):
        if sha256(shard) != wanted:
            raise InputError(f"{printable(shard)} is not the shard of its manifest: prepare or copy it again")
    return [entry for shard in shards for entry in clip_entries(shard, _lost)], _content(tuple(shards), tuple(hashes))


@functools.cache  # jobs of a sweep have one test set
def _content(shards: tuple[Path, ...], hashes: tuple[str, ...]) -> str:
    found = hashlib.sha256()
    for entry in (entry for shard in shards for entry in clip_entries(shard, _lost)):
        for kind, _ in KINDS:
            for number, picture in enumerate(pictures(entry, kind, range(entry.frames))):
                found.update("{0} {1} {2} {4}x{3}\n".format(entry.key, kind, number, *picture.shape).encode())
                found.update(picture.tobytes())
    return found.hexdigest()


def pictures(entry: ClipEntry, kind: str, numbers: range) -> Iterator[np.ndarray]:
    """Of one kind: uint8 (H W 3) RGB of frames, (H W) of sketches. InputError: one cannot be decoded."""
    mode = dict(KINDS)[kind]
    with entry.shard.open("rb") as file:
        for number in numbers:
            with reading(f"a picture of clip {entry.key} in", entry.shard, "prepare it again"):
                picture = decode_png(entry.members[f"{kind}{number:03d}.png"].read(file), mode)
            yield picture


def _lost(line: str) -> None:
    raise InputError(f"{line}: a test set must be whole, copy or prepare it again")
