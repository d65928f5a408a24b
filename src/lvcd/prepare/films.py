"""The films to prepare, and their frames and sketches by number.

letters: H W pixels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lvcd.data.extract import Extract, by_xdog, given
from lvcd.errors import InputError
from lvcd.video.disk import named, reading
from lvcd.video.files import FrameReader, open_frames
from lvcd.video.images import IMAGE_SUFFIXES

FILM_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".gif", ".avi", ".ts", ".mpg", ".mpeg", ".ogv")
"""What is taken for a movie in a folder; a file that is given by its own name may have any ending."""


@dataclass(frozen=True)
class Film:
    """A movie, or a folder of images."""

    path: Path
    digest: str
    """SHA-256 of the file, or of the names and contents of the folder's images."""
    bytes: int
    drawings: Path | None
    """Its own line art; None = extracted."""
    drawings_digest: str | None

    @property
    def name(self) -> str:
        return _name(self.path)


def collect(inputs: Sequence[Path], drawings: Path | None) -> list[Film]:
    """Files and folders => the films, each folder's by name; a folder that itself holds images is one film as well.

    drawings    folder with a movie or a folder of images for every film, of the same name; None = no line art
    InputError: no film, one that cannot be read at all, or one without its drawings.
    """
    films = []
    for path in (film for given_path in inputs for film in _below(given_path)):
        own = _paired(path, drawings) if drawings else None
        films.append(Film(path, *_digest(path), own, _digest(own)[0] if own else None))
    return films


def _name(path: Path) -> str:
    return Path(os.path.abspath(path)).name  # of a link its own, not its target's


def _below(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{named(path)} does not exist: check the path")
        return [path]
    found = []
    with reading("folder", path, "check the path"):
        for folder, folders, files in os.walk(path, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if _images(Path(folder)):
                found.append(Path(folder))
            found += [Path(folder, f) for f in sorted(files) if f.lower().endswith(FILM_SUFFIXES) and f[0] != "."]
    if not found:
        raise InputError(f"{named(path)} has no films: put movies ({', '.join(FILM_SUFFIXES)}) or images in it")
    return found


def _raise(error: OSError) -> None:
    raise error


def _images(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith("."))


def _digest(film: Path) -> tuple[str, int]:
    """=> SHA-256, bytes"""
    with reading("film", film, "check the file"):
        if not film.is_dir():
            with film.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest(), film.stat().st_size
        digest, size = hashlib.sha256(), 0
        for file in _images(film):
            own, length = _digest(file)
            digest.update(f"{file.name}\n{own}\n".encode())
            size += length
        return digest.hexdigest(), size


def _paired(film: Path, drawings: Path) -> Path:
    """InputError: not exactly one in the folder `drawings`."""
    stem = _name(film) if film.is_dir() else film.stem
    with reading("folder", drawings, "check the path"):
        found = [d for d in drawings.iterdir() if stem == (d.name if d.is_dir() else d.stem) and d.name[0] != "."]
    if len(found) != 1:
        have = "no line art" if not found else f"line art {len(found)} times"
        raise InputError(f"{named(drawings)} has {have} for {named(film)}: put one movie or folder named {stem} in it")
    return found[0]


# --- frames -----------------------------------------------------------------------------------------------------------


@contextmanager
def sketches(film: Film, frames: FrameReader) -> Iterator[Extract]:
    """How the drawings of an open film are made. InputError: its own do not fit it."""
    if film.drawings is None:
        yield by_xdog
        return
    with open_frames(film.drawings) as drawings:
        yield given(drawings, len(frames), frames.size, named(film.drawings))


def opaque(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """uint8 (H W 3) or (H W 4) => (H W 3): what is transparent becomes white."""
    for frame in frames:
        if frame.shape[2] == 4:
            alpha = frame[..., 3:].astype(np.float32) / 255
            frame = np.rint(frame[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
        yield frame


def shrink(frame: np.ndarray, short_side: int | None) -> np.ndarray:
    """(H W 3) => the same picture with a shorter side of at most `short_side` pixels; None = as it is."""
    height, width = frame.shape[:2]
    if short_side is None or min(height, width) <= short_side:
        return frame
    scale = short_side / min(height, width)
    return cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
