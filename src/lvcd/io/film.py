"""Films for training data: every frame that can still be read, in one pass from first to last.

`open_frames` refuses a damaged film, because a missing frame cannot be colored. Here damage leaves a gap: the frames
around it are as good to learn from.

letters: H W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from lvcd.errors import InputError

from .disk import printable, reading, require_file
from .frame_folder import frame_files
from .images import IMAGE_SUFFIXES, decode_animation, is_animation, read_image, to_uint8
from .movies import is_whole, make_decoder, open_container, stated_fps, video_stream
from .reader import FOLDER_FPS

_PLAUSIBLE_FPS = (1.0, 240.0)  # of time stamps; others are broken
_MAX_ERRORS = 100  # in a row, after which a movie is taken for ended


class FilmReader:
    """An iterator over a film's frames, for one pass: uint8 (H W 3) or (H W 4), upright; None stands for a gap.

    A folder of images in natural order, a movie or an image, as `open_frames` takes them, but frames may differ in
    size. In a movie nothing is shown after damage up to the next key frame: it would be smeared. One thread decodes, so
    that damage costs the same frames on every machine.
    InputError, before the first frame: nothing there, no images, no video, or a file that cannot be opened.
    """

    def __init__(self, path: Path):
        self.path = path
        self.num_unreadable = 0
        """Frames that could not be read so far; at the end with those that a file cut short lacks, at least 1."""
        self.fraction_read = 0.0
        """Fraction of the film that has been read."""
        self.fps = FOLDER_FPS
        """Frames per second; known at the end. Of a variable rate, the mean."""

    def __iter__(self) -> Iterator[np.ndarray | None]:
        if self.path.is_dir():
            yield from self._folder()
            return
        require_file(self.path)
        if self.path.suffix.lower() not in IMAGE_SUFFIXES:
            yield from self._movie()
        elif is_animation(self.path):
            yield from self._animation()
        else:
            yield read_image(self.path)
        self.fraction_read = 1.0

    def _folder(self) -> Iterator[np.ndarray | None]:
        files = frame_files(self.path, IMAGE_SUFFIXES)
        if not files:
            raise InputError(f"{printable(self.path)} has no images: put frames ({', '.join(IMAGE_SUFFIXES)}) in it")
        for number, file in enumerate(files, 1):
            try:
                frame = read_image(file)
            except InputError:
                self.num_unreadable += 1
                yield None
            else:
                yield frame
            self.fraction_read = number / len(files)

    def _animation(self) -> Iterator[np.ndarray | None]:
        count, milliseconds = 0, 0.0
        frames = decode_animation(self.path)
        while True:
            try:
                image = next(frames, None)
            except InputError:
                self.num_unreadable += 1  # and what follows it: a frame is drawn over the one before
                yield None
                break
            if image is None:
                break
            count, milliseconds = count + 1, milliseconds + image.info.get("duration", 0)
            yield to_uint8(image)
        self.fps = 1000 * count / milliseconds if milliseconds else FOLDER_FPS

    def _movie(self) -> Iterator[np.ndarray | None]:
        with reading(
            "movie", self.path, "give a movie (.mp4, .mkv, .webm, .mov, .gif), an image or a folder of images"
        ):
            container = open_container(self.path)
        with container:
            yield from _Decoding(self, container)


class _Decoding:
    """The frames of one open movie; it counts for its reader."""

    def __init__(self, reader: FilmReader, container: Any):
        self._reader, self._container = reader, container
        self._stream = video_stream(container, reader.path)
        self._stated = stated_fps(container)
        self._first: tuple[int, float] | None = None  # number and time of the first frame that has one
        self._last: tuple[int, float] | None = None
        self._count = 0
        self._packets = 0
        self._gap = 0  # frames skipped since the last one that was yielded

    def __iter__(self) -> Iterator[np.ndarray | None]:
        decoder = make_decoder(self._stream)
        decoder.thread_count = 1
        decoder.options = {"err_detect": "explode"}  # rather no frame than half of one
        size = self._reader.path.stat().st_size
        for packet in _packets(self._container, self._stream):
            if isinstance(packet, av.Packet):
                if not packet.size:
                    continue
                self._packets += 1
                self._reader.fraction_read = min(1.0, (packet.pos or 0) / size)
            if isinstance(packet, Exception) or (packet is not None and packet.is_corrupt):
                yield from self._skip(1)
                continue
            frames: list[av.VideoFrame] = []
            try:
                frames = decoder.decode(packet)
            except av.error.FFmpegError:
                yield from self._skip(1)
            for frame in frames:
                if frame.is_corrupt or (self._gap and not frame.key_frame):
                    yield from self._skip(1)
                else:
                    yield self._accept(frame)
        yield from self._skip(self._missing())
        self._reader.fps = _rate(self._first, self._last, self._stated)

    def _skip(self, count: int) -> Iterator[None]:
        if count > 0 and not self._gap:
            yield None
        self._gap += max(0, count)
        self._reader.num_unreadable += max(0, count)

    def _accept(self, frame: av.VideoFrame) -> np.ndarray:
        frame.time_base = self._stream.time_base
        if frame.time is not None:
            if self._gap and self._last is not None and self._rates_agree():
                # the time stamps show what a damaged file has skipped in silence
                skipped = round((frame.time - self._last[1]) * self._stated) - 1 - self._gap
                self._reader.num_unreadable += max(0, skipped)
            self._last = (self._count + self._reader.num_unreadable, frame.time)
            self._first = self._first or self._last
        self._count, self._gap = self._count + 1, 0
        return _pixels(frame)

    def _missing(self) -> int:
        """The number of frames that the file lacks at its end, by its own account."""
        complete = is_whole(self._reader.path)
        if "mp4" in self._container.format.name and self._stream.frames:
            return self._stream.frames - self._packets
        length = self._length()
        tail = 0
        if length and self._last is not None and self._rates_agree():
            tail = round((length - self._last[1]) * self._stated) - 1 - self._gap
        if complete and tail < self._stated / 2:  # containers round
            return 0
        return max(0 if complete else 1, tail)

    def _rates_agree(self) -> bool:
        """Whether the time stamps so far agree with the stated rate."""
        return abs(_rate(self._first, self._last, self._stated) - self._stated) < 0.02 * self._stated

    def _length(self) -> float:
        """When the last frame ends, s; 0 if the file does not say: sound may be longer."""
        text = {key.lower(): value for key, value in self._stream.metadata.items()}.get("duration", "")
        if found := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", text):
            hours, minutes, seconds = map(float, found.groups())
            return 3600 * hours + 60 * minutes + seconds
        return (self._container.duration or 0) / av.time_base if len(self._container.streams) == 1 else 0.0


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Every packet, an error for each that cannot be read, and None at the end."""
    packets, errors = container.demux(stream), 0
    while errors < _MAX_ERRORS:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            errors += 1
            yield error
            packets = container.demux(stream)  # goes on behind it
            continue
        errors = 0
        if packet is None:
            break
        yield packet
    yield None


def _pixels(frame: av.VideoFrame) -> np.ndarray:
    alpha = any(component.is_alpha for component in frame.format.components)
    pixels = frame.to_ndarray(format="rgba" if alpha else "rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _rate(first: tuple[int, float] | None, last: tuple[int, float] | None, stated: float) -> float:
    """The stated rate where the time stamps agree, else theirs; that of a folder if neither is plausible."""
    low, high = _PLAUSIBLE_FPS
    measured = 0.0
    if first is not None and last is not None and last[1] > first[1]:
        measured = (last[0] - first[0]) / (last[1] - first[1])
    if not low <= measured <= high or abs(stated - measured) <= 0.02 * measured:
        return stated if low <= stated <= high else measured if low <= measured <= high else FOLDER_FPS
    return measured
