"""Shards: tar files of clips, as WebDataset reads them. `data/README.md` describes the format for people.

letters: H W pixels.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from lvcd.errors import InputError

Array = np.ndarray[Any, Any]

MEMBER = re.compile(
    r"(?P<key>[A-Za-z0-9_-]+)\."
    r"(?P<field>json|(?P<kind>frame|sketch)(?P<index>[0-9]{3,9})\.png|(?:latents|tokens|sketches)\.npy)"
)
"""The name of a file in a shard."""
_TRAILER = bytes(2 * tarfile.BLOCKSIZE)


def clip_key(film: str, digest: str, start: int) -> str:
    """The name of a clip: letters, digits, - and _ alone, unique over films by their SHA-256, and short."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(film).stem)[:40] or "film"
    return f"{stem}-{digest[:8]}-{start:06d}"


class ShardWriter:
    """Clip after clip into one tar file. The bytes depend on nothing but what is added: no times, no owners."""

    def __init__(self, file: BinaryIO):
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115  # see close

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:  # after an error the file is of no use
            self._tar.close()

    @property
    def size(self) -> int:
        """Bytes so far, without the end mark."""
        return self._tar.offset

    def add(self, key: str, metadata: dict[str, Any], frames: Iterable[tuple[Array, Array]]) -> int:
        """A clip: (frame uint8 (H W 3) RGB, drawing uint8 (H W)) one after the other => how many there were."""
        self.add_files(key, {"json": json.dumps(metadata, indent=1, sort_keys=True).encode()})
        count = 0
        for frame, drawing in frames:
            self.add_files(key, {f"frame{count:03d}.png": _png(frame), f"sketch{count:03d}.png": _png(drawing)})
            count += 1
        return count

    def add_files(self, key: str, files: dict[str, bytes]) -> None:
        """A clip, or more of the last one, as files: {"json": ..., "latents.npy": ...} become KEY.json and so on."""
        for field, data in files.items():
            assert MEMBER.fullmatch(f"{key}.{field}"), (key, field)
            entry = tarfile.TarInfo(f"{key}.{field}")  # its owner is 0, its time is 0
            entry.size = len(data)
            self._tar.addfile(entry, io.BytesIO(data))


def _png(pixels: Array) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(data, format="PNG", compress_level=3)
    return data.getvalue()


def read_shard(path: Path, lost: Callable[[str], None] = warnings.warn) -> Iterator[dict[str, Any]]:
    """The clips of a shard: {__key__, json: dict, frames: [uint8 (H W 3)], sketches: [uint8 (H W)]}, each whole.

    What a damaged or truncated file has lost is left out and told to `lost`, one line for each clip or file.
    Nothing is ever written to disk. InputError: no tar at all, or a name in it is none of a shard's.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            key, parts = "", dict[str, bytes]()
            for name, data in _members(path, tar, file, lost):
                found, field = name.split(".", 1)
                if found != key:
                    yield from _clip(path, key, parts, lost)
                    key, parts = found, {}
                parts[field] = data
            yield from _clip(path, key, parts, lost)
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"cannot read shard {path} ({error}): prepare or copy it again") from error


def _members(
    path: Path, tar: tarfile.TarFile, file: BinaryIO, lost: Callable[[str], None]
) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every whole file, up to the first damage."""
    try:
        for entry in tar:
            if not entry.isreg() or not MEMBER.fullmatch(entry.name):
                raise InputError(f"{entry.name!r} in {path} is no file of a shard: do not trust it, prepare it again")
            stream = tar.extractfile(entry)
            assert stream is not None
            yield entry.name, stream.read()
        file.seek(tar.offset)
        if file.read(len(_TRAILER)) == _TRAILER:
            return
    except tarfile.ReadError:
        pass
    lost(f"{path.name} is damaged or cut short at byte {tar.offset}: what follows is lost")


def _clip(path: Path, key: str, parts: dict[str, bytes], lost: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    if not parts:
        return
    try:
        metadata = json.loads(parts["json"])
        frames, sketches = (
            [pixels(parts[f"{kind}{index:03d}.png"], mode) for index in range(metadata["frames"])]
            for kind, mode in (("frame", "RGB"), ("sketch", "L"))
        )
    except KeyError as error:
        lost(f"clip {key} of {path.name} is lost: it has no {error.args[0]}")
    except Exception as error:  # decoders raise nearly everything: SyntaxError, struct.error, ...
        lost(f"clip {key} of {path.name} is lost: {error}")
    else:
        yield {"__key__": key, "json": metadata, "frames": frames, "sketches": sketches}


def pixels(data: bytes, mode: str) -> Array:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return np.array(image.convert(mode))
