"""What is finished of one film, on disk, until the shards have it.

NAME.pixels    PNG after PNG, of each frame and then of its drawing
NAME.clips     a line for each kept clip that is whole in it, as JSON: [start, stop, first byte, [[bytes of the frame's
               PNG, bytes of the drawing's PNG, CRC-32 of both], ...]]
NAME.json      what is said of the film, when all of it is done
NAME.share     how much of the film is done, 0 to 1, for who waits
"""

from __future__ import annotations

import fcntl
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lvcd.io.disk import atomic, named, reading, writing


@dataclass(frozen=True)
class Kept:
    """A clip of a part."""

    start: int
    stop: int
    offset: int
    sizes: list[list[int]]
    """Of each frame: bytes of its PNG and of its drawing's, CRC-32 of both together."""

    def pairs(self, pixels: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
        """The PNGs of each frame and its drawing. ValueError: they are not what was written."""
        pixels.seek(self.offset)
        for frame, drawing, crc in self.sizes:
            data = pixels.read(frame + drawing)
            if zlib.crc32(data) != crc:
                raise ValueError("it is damaged")
            yield data[:frame], data[frame:]

    @property
    def end(self) -> int:
        return self.offset + sum(frame + drawing for frame, drawing, _ in self.sizes)


class Part:
    """The files of a film. name: their path, without an ending"""

    def __init__(self, name: Path):
        self.name = name

    def file(self, kind: str) -> Path:
        return self.name.with_name(f"{self.name.name}.{kind}")

    @property
    def finished(self) -> bool:
        return self.file("json").exists()

    def about(self) -> dict[str, Any]:
        """What is said of the finished film."""
        with reading("part", self.file("json"), "delete it and run again"):
            return json.loads(self.file("json").read_bytes())

    def kept(self) -> list[Kept]:
        """The clips of it so far, as far as every line is whole."""
        found = []
        with reading("part", self.file("clips"), "delete it and run again"):
            if self.file("clips").exists():
                for line in self.file("clips").read_bytes().split(b"\n")[:-1]:
                    found.append(Kept(*json.loads(line)))
        return found

    def share(self) -> float:
        """How much of it is done."""
        try:
            return float(self.file("share").read_text())
        except (OSError, ValueError):  # not yet there, or just being written
            return 0.0

    def delete(self) -> None:
        for kind in ("json", "clips", "pixels", "share"):
            self.file(kind).unlink(missing_ok=True)


class PartWriter:
    """Frames go to disk as they come, and become clips, or not, when their shot has ended. Use it in a `with`.

    One process at a time: a second one waits, as for the last breath of a process whose run was killed.
    InputError: the disk.
    """

    def __init__(self, part: Part):
        self._part = part
        with writing(part.name):
            self._pixels = part.file("pixels").open("a+b", buffering=0)
        try:
            with writing(part.name):
                fcntl.flock(self._pixels, fcntl.LOCK_EX)
                self._go_on()
        except BaseException:
            self._pixels.close()
            raise

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pixels.close()

    def _go_on(self) -> None:
        """From the last clip that is whole."""
        sound: list[Kept] = []
        for clip in self._part.kept():
            try:
                for _ in clip.pairs(self._pixels):
                    pass
            except ValueError:
                break
            sound.append(clip)
        self.done = sound[-1].stop if sound else 0
        """Frames before this one need not be added again."""
        self._end = self._size = sound[-1].end if sound else 0  # of the last clip; of all that is written
        self._pixels.truncate(self._end)
        lines = "".join(_line(clip) for clip in sound)
        with atomic(self._part.file("clips")) as temp:
            temp.write_text(lines)
        self._first = self.done  # frame of the first entry
        self._waiting: list[tuple[int, list[int]]] = []  # first byte and sizes of every frame whose shot goes on

    def add(self, frame: bytes, drawing: bytes) -> None:
        """The PNGs of the next frame from `done` on and of its drawing."""
        with writing(self._part.name):
            data = memoryview(frame + drawing)
            self._waiting.append((self._size, [len(frame), len(drawing), zlib.crc32(data)]))
            self._size += len(data)
            while data:
                data = data[self._pixels.write(data) :]

    def close(self, start: int, stop: int, keep: bool) -> None:
        """Frames start .. stop - 1, all added and after those of the last call, are a clip."""
        own = self._waiting[start - self._first : stop - self._first]
        assert len(own) == stop - start
        self._waiting = self._waiting[stop - self._first :]
        self._first = stop
        if keep:
            clip = Kept(start, stop, own[0][0], [sizes for _, sizes in own])
            self._end = clip.end
            with writing(self._part.name), self._part.file("clips").open("a") as log:
                log.write(_line(clip))
        elif not self._waiting:
            with writing(self._part.name):
                self._pixels.truncate(self._end)
            self._size = self._end

    def tell(self, share: float) -> None:
        """How much of the film is done."""
        with writing(self._part.name):
            self._part.file("share").write_text(f"{share:.4f}")

    def finish(self, about: dict[str, Any]) -> None:
        """All of the film is done, and this is said of it."""
        with atomic(self._part.file("json")) as temp:
            temp.write_text(json.dumps(about))


def _line(clip: Kept) -> str:
    return json.dumps([clip.start, clip.stop, clip.offset, clip.sizes]) + "\n"


def pairs(part: Part, clip: Kept) -> Iterator[tuple[bytes, bytes]]:
    """The PNGs of a finished clip. InputError: damaged."""
    file = part.file("pixels")
    with reading("part", file, f"delete {named(part.name.parent)} and run again"), file.open("rb") as pixels:
        yield from clip.pairs(pixels)
