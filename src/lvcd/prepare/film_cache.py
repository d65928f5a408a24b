"""The cache of one film: its frames and drawings on disk, until the shards have them.

NAME.pixels    PNG after PNG, of each frame and then of its drawing
NAME.clips     a line for each clip that is whole in it, as JSON: [start, stop, first byte, [[bytes of the frame's PNG,
               bytes of the drawing's PNG, CRC-32 of both], ...]]
NAME.json      what the manifest says of the film, when all of it is done
NAME.share     the fraction of the film that is done, 0 to 1
NAME.lock      held by the process that writes
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from lvcd.io.disk import atomic, printable, reading, writing


@dataclass(frozen=True)
class CachedClip:
    """A clip whose frames and drawings are whole in the cache."""

    start: int
    """Frames start .. stop - 1 of the film."""
    stop: int
    offset: int
    """First byte in NAME.pixels."""
    sizes: list[list[int]]
    """Of each frame: bytes of its PNG and of its drawing's, CRC-32 of both together."""

    def png_pairs(self, pixels: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
        """Yield the PNGs of each frame and its drawing. ValueError: they are not what was written."""
        pixels.seek(self.offset)
        for frame, drawing, crc in self.sizes:
            data = pixels.read(frame + drawing)
            if zlib.crc32(data) != crc:
                raise ValueError("it is damaged")
            yield data[:frame], data[frame:]

    @property
    def end(self) -> int:
        """The byte behind its last one in NAME.pixels."""
        return self.offset + sum(frame + drawing for frame, drawing, _ in self.sizes)


class FilmCache:
    """The files of one film. path: theirs, without an ending."""

    def __init__(self, path: Path):
        self.path = path

    def file(self, kind: str) -> Path:
        """Return the path of one of its files: pixels, clips, json, share or lock."""
        return self.path.with_name(f"{self.path.name}.{kind}")

    @property
    def finished(self) -> bool:
        """Whether all of the film is done."""
        return self.file("json").exists()

    def summary(self) -> dict[str, Any]:
        """Return what the manifest says of the finished film."""
        with reading("film cache", self.file("json"), "delete it and run again"):
            return json.loads(self.file("json").read_bytes())

    def clips(self) -> list[CachedClip]:
        """Return the clips of it so far, as far as every line is whole."""
        found = []
        with reading("film cache", self.file("clips"), "delete it and run again"):
            if self.file("clips").exists():
                for line in self.file("clips").read_bytes().split(b"\n")[:-1]:
                    found.append(CachedClip(*json.loads(line)))
        return found

    def png_pairs(self, clip: CachedClip) -> Iterator[tuple[bytes, bytes]]:
        """Yield the PNGs of each frame of a finished clip and of its drawing. InputError: damaged."""
        file = self.file("pixels")
        with (
            reading("film cache", file, f"delete {printable(file.parent)} and run again"),
            file.open("rb") as pixels,
        ):
            yield from clip.png_pairs(pixels)

    def fraction(self) -> float:
        """Return the fraction of the film that is done, 0 to 1."""
        try:
            return float(self.file("share").read_text())
        except (OSError, ValueError):  # not yet there, or just being written
            return 0.0

    def delete(self) -> None:
        """Remove all files."""
        for kind in ("json", "clips", "pixels", "share", "lock"):
            self.file(kind).unlink(missing_ok=True)


class FilmCacheWriter:
    """Writes frames as they come; they become clips, or not, when their shot has ended. Use it in a `with`.

    One process at a time: a second one waits, for a process whose run was killed may still be about to end.
    InputError: the disk.
    """

    def __init__(self, cache: FilmCache):
        self._cache = cache
        with writing(cache.path):
            self._lock = FileLock(cache.file("lock"))
            self._lock.acquire()
        try:
            with writing(cache.path):
                self._pixels = cache.file("pixels").open("a+b", buffering=0)
        except BaseException:
            self._lock.release()
            raise
        try:
            with writing(cache.path):
                self._resume()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> FilmCacheWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def _close(self) -> None:
        self._pixels.close()
        self._lock.release()

    def _resume(self) -> None:
        """Go on from the last clip that is whole."""
        sound: list[CachedClip] = []
        for clip in self._cache.clips():
            try:
                for _ in clip.png_pairs(self._pixels):
                    pass
            except ValueError:
                break
            sound.append(clip)
        self.done = sound[-1].stop if sound else 0
        """Frames before this one need not be added again."""
        self._end = self._size = sound[-1].end if sound else 0  # of the last clip; of all that is written
        self._pixels.truncate(self._end)
        lines = "".join(_line(clip) for clip in sound)
        with atomic(self._cache.file("clips")) as temp:
            temp.write_text(lines)
        self._first = self.done  # frame of the first entry
        self._waiting: list[tuple[int, list[int]]] = []  # first byte and sizes of every frame whose shot goes on

    def add(self, frame: bytes, drawing: bytes) -> None:
        """Write the PNGs of the next frame, from `done` on, and of its drawing."""
        with writing(self._cache.path):
            data = memoryview(frame + drawing)
            self._waiting.append((self._size, [len(frame), len(drawing), zlib.crc32(data)]))
            self._size += len(data)
            while data:
                data = data[self._pixels.write(data) :]

    def close_shot(self, start: int, stop: int, keep: bool) -> None:
        """End a shot: frames start .. stop - 1, all added and after those of the last call, are a clip, or dropped."""
        frames = self._waiting[start - self._first : stop - self._first]
        assert len(frames) == stop - start
        self._waiting = self._waiting[stop - self._first :]
        self._first = stop
        if keep:
            clip = CachedClip(start, stop, frames[0][0], [sizes for _, sizes in frames])
            self._end = clip.end
            with writing(self._cache.path), self._cache.file("clips").open("a") as log:
                log.write(_line(clip))
        elif not self._waiting:
            with writing(self._cache.path):
                self._pixels.truncate(self._end)
            self._size = self._end

    def report_progress(self, fraction: float) -> None:
        """Write down which fraction of the film is done, 0 to 1."""
        with writing(self._cache.path):
            self._cache.file("share").write_text(f"{fraction:.4f}")

    def finish(self, summary: dict[str, Any]) -> None:
        """Write down what the manifest says of the film: all of it is done."""
        with atomic(self._cache.file("json")) as temp:
            temp.write_text(json.dumps(summary))


def _line(clip: CachedClip) -> str:
    return json.dumps([clip.start, clip.stop, clip.offset, clip.sizes]) + "\n"
