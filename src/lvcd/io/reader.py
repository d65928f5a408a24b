"""Readers of frames, by index, from image folders, movies and single images.

letters: H W pixels. Every frame is a uint8 array in [0, 255], RGB (H W 3) or RGBA (H W 4).
Whatever is wrong with a file of the user is an `InputError` of one line: what, which file, what to do.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lvcd.errors import InputError

from .disk import in_pixels, printable, reading, require_file, sha256
from .frame_folder import FrameSelection, frame_files, frame_number, select_frames
from .images import IMAGE_SUFFIXES, decode_animation, image_size, is_animation, read_image, to_uint8
from .movies import decode_movie, scan_movie

ANIMATION_SUFFIXES = (".gif", ".webp", ".apng", ".png", ".avif", ".tif", ".tiff")
PSD_SUFFIXES = (".psd", ".psb")
MAX_DECODERS = 4  # threads that look for damaged images
FOLDER_FPS = 24.0
"""Frames per second of a folder of images, which has no rate of its own."""
RECENT_FRAMES = 32
"""Decoded movie frames kept in memory for steps back: more than two windows overlap."""


class FrameReader(ABC):
    """A reader of frames by index, which are decoded when asked for; memory does not depend on their number.

    `reader[i]` is a new uint8 array (H W 3) RGB or (H W 4) RGBA. Close it, or use it in a `with`.
    """

    def __init__(self, path: Path, count: int, size: tuple[int, int], fps: float):
        self.path = path
        self.size = size
        """(height, width) of every frame."""
        self.fps = fps
        """Frames per second; of a movie of variable rate, the mean."""
        self.names = [f"{index:05d}" for index in range(count)]
        """What each frame is called, without an ending: its file's name, or its index in a movie."""
        self.numbers = list(range(count))
        """The number of each drawing: that in its file's name, which may leave some out, or its index in a movie."""
        self.notes: list[str] = []
        """What a person should know about the files, one line each: what is left out and why."""
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        """InputError: the frame cannot be decoded any more, or its size is not the one found at opening."""
        if not -self._count <= index < self._count:
            raise IndexError(f"frame {index} of {self._count}")
        index %= self._count
        frame = self._read(index)
        if frame.shape[:2] != self.size:
            raise InputError(
                f"{self.name(index)} is {in_pixels(frame.shape)} but {in_pixels(self.size)} was found at first: "
                f"do not change {printable(self.path)} while it is read"
            )
        return frame

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the name of a frame for messages."""

    def contents(self) -> list[bytes]:
        """Decode every frame once => a hash of each frame's pixels: equal frames have equal ones, whatever their files.

        InputError: one is damaged.
        """
        return [_pixel_hash(frame) for frame in self]

    def close(self) -> None:  # noqa: B027 (most readers hold nothing open)
        """Close the open file, if any."""

    @abstractmethod
    def _read(self, index: int) -> np.ndarray:
        """The frame, decoded; index from 0."""


class _Images(FrameReader):
    """A list of image files, each read when asked for."""

    def __init__(self, path: Path, files: list[Path], size: tuple[int, int], psd_layer: str | None = None):
        super().__init__(path, len(files), size, FOLDER_FPS)
        self._files, self._psd_layer = files, psd_layer
        self.names = [file.stem for file in files]
        numbers = [frame_number(name) for name in self.names]
        if None not in numbers and len(set(numbers)) == len(numbers):
            self.numbers = [number for number in numbers if number is not None]

    def name(self, index: int) -> str:
        return printable(self._files[index].name)

    def contents(self) -> list[bytes]:
        with ThreadPoolExecutor(MAX_DECODERS) as pool:
            return list(pool.map(lambda index: _pixel_hash(self[index]), range(len(self))))

    def _read(self, index: int) -> np.ndarray:
        return read_image(self._files[index], self._psd_layer)


class _Stream(FrameReader):
    """Frames that can only be decoded in order: the last few stay in memory, going back further starts over."""

    def __init__(
        self,
        path: Path,
        count: int,
        size: tuple[int, int],
        fps: float,
        start: Callable[[], Generator[Any]],
        pixels: Callable[[Any], np.ndarray],
    ):
        super().__init__(path, count, size, fps)
        self._start, self._pixels = start, pixels
        self._recent: deque[Any] = deque(maxlen=RECENT_FRAMES)  # frames _next - len(_recent) .. _next - 1
        self._frames: Generator[Any] | None = None
        self._next = 0

    def name(self, index: int) -> str:
        return f"frame {index % len(self)} of {printable(self.path.name)}"

    def close(self) -> None:
        if self._frames is not None:
            self._frames.close()  # this closes the file in it
        self._frames, self._next = None, 0
        self._recent.clear()

    def _read(self, index: int) -> np.ndarray:
        if index < self._next - len(self._recent):
            self.close()
        if self._frames is None:
            self._frames = self._start()
        while self._next <= index:
            frame = next(self._frames, None)
            if frame is None:
                raise InputError(f"{self.name(self._next)} is gone: do not change the file while it is read")
            self._recent.append(frame)
            self._next += 1
        with reading("movie", self.path, "convert it to .mp4 and try again"):
            return self._pixels(self._recent[index - self._next])


def open_frames(path: str | os.PathLike, selection: FrameSelection | None = None) -> FrameReader:
    """Open a folder of images in natural order (frame2 before frame10), a movie, an animated GIF or WebP, or one image.

    Of a folder only the headers are read now; a movie is decoded once, to count its frames exactly (containers lie)
    and to find damage before the work begins. In a movie every coded frame is one frame, whatever its duration;
    rotation is applied, pixel aspect is not. Transparency (GIF, WebP, VP8 and VP9 in WebM) is kept: all frames are RGBA
    if one of them has any, else RGB.
    selection: which files of a folder, and which layer of Photoshop files; what is left out is in the reader's notes.
    InputError: nothing there, no images, an unreadable or odd-sized one, no video in it, damaged or cut short; several
    levels in one folder.
    """
    path, selection = Path(path), selection or FrameSelection()
    if os.path.isdir(path):
        return _open_folder(path, selection)
    layered = path.suffix.lower() in PSD_SUFFIXES
    if selection.psd_layer is not None and not layered:
        raise InputError(f"{printable(path)} is no Photoshop file: leave the layer {selection.psd_layer} out")
    require_file(path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return _open_movie(path)
    size = image_size(path, selection.psd_layer)
    return _open_animation(path, size) if is_animation(path) else _Images(path, [path], size, selection.psd_layer)


def _open_folder(folder: Path, selection: FrameSelection) -> FrameReader:
    content = select_frames(folder, selection)
    size = image_size(content.files[0], selection.psd_layer)
    for file in content.files[1:]:
        if (other := image_size(file, selection.psd_layer)) != size:
            raise InputError(
                f"{printable(file)} is {in_pixels(other)} but {printable(content.files[0].name)} is {in_pixels(size)}: "
                "make all frames the same size"
            )
    images = _Images(folder, content.files, size, selection.psd_layer)
    images.notes = [*content.notes, *_animations(folder, content.files)]
    return images


def _animations(folder: Path, files: list[Path]) -> list[str]:
    """Say which files of a folder have more frames than the first, which is taken. Pages of a TIFF may be thumbnails,
    and count too."""
    moving = [file.name for file in files if file.suffix.lower() in ANIMATION_SUFFIXES and is_animation(file)]
    if not moving:
        return []
    more = f" and {len(moving) - 1} more" if len(moving) > 1 else ""
    return [f"{printable(folder)}: only the first frame of {printable(moving[0])}{more} is read: give an animation "
            "alone, not in a folder"]  # fmt: skip


def _pixel_hash(frame: np.ndarray) -> bytes:
    """Hash a frame (H W 3) or (H W 4); one without a transparent pixel as if it had no alpha."""
    opaque = frame.shape[2] == 4 and bool((frame[..., 3] == 255).all())
    pixels = np.ascontiguousarray(frame[..., :3] if opaque else frame)
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a folder's images. InputError: unreadable."""
    if not path.is_dir():
        return sha256(path)
    content = "".join(f"{file.name}\n{sha256(file)}\n" for file in frame_files(path))
    return hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()


class InputGuard:
    """Notices that a file, or an image of a folder, is changed while a command reads it.

    path    as `digest` takes it; make the guard before the first look at it
    """

    def __init__(self, path: Path):
        self.path, self._stamp = path, _stamp(path)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what is read, as long as `check` finds nothing. InputError: unreadable, or changed already."""
        found = digest(self.path)
        if _stamp(self.path) != self._stamp:
            raise InputError(self._changed)
        return found

    @property
    def _changed(self) -> str:
        return f"{printable(self.path)} was changed while it was read: leave it as it is and run again"

    def check(self) -> None:
        """Look whether the files are still those of the digest. InputError: they are others, or gone."""
        if (stamp := _stamp(self.path)) == self._stamp:
            return
        if digest(self.path) != self.digest:
            raise InputError(self._changed)
        self._stamp = stamp  # touched, or copied over with the same bytes


def _stamp(path: Path) -> tuple[tuple[Any, ...], ...]:
    """Return what the file system says of a file, or of a folder's images: something of it changes with the content."""
    try:
        found = [(file.name, file.stat()) for file in (frame_files(path) if path.is_dir() else [path])]
    except (InputError, OSError):
        return ()
    return tuple((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in found)


def _open_animation(path: Path, size: tuple[int, int]) -> FrameReader:
    count, milliseconds = 0, 0.0
    with closing(decode_animation(path)) as frames:
        for frame in frames:
            count += 1
            milliseconds += frame.info.get("duration", 0)
    fps = 1000 * count / milliseconds if milliseconds else FOLDER_FPS
    return _Stream(path, count, size, fps, lambda: decode_animation(path), to_uint8)


def _open_movie(path: Path) -> FrameReader:
    movie = scan_movie(path)
    return _Stream(path, movie.count, movie.size, movie.fps or FOLDER_FPS, lambda: decode_movie(path), movie.pixels)
