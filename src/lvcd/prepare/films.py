"""The films to prepare, found in files and folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lvcd.errors import InputError
from lvcd.io.disk import printable, reading
from lvcd.io.frame_folder import frame_files
from lvcd.io.images import IMAGE_SUFFIXES
from lvcd.io.reader import InputGuard

FILM_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".gif", ".avi", ".ts", ".mpg", ".mpeg", ".ogv")
"""Endings of movies in a folder; a file that is given by its own name may have any ending."""


@dataclass(frozen=True)
class Film:
    """A movie, or a folder of images."""

    path: Path
    """Absolute."""
    guard: InputGuard
    """It notices changes of the film's files."""
    bytes: int
    drawings: Path | None
    """Its own line art; None = extracted."""
    drawings_guard: InputGuard | None

    @property
    def digest(self) -> str:
        """SHA-256, as `lvcd.io.reader.digest` takes it."""
        return self.guard.digest

    @property
    def drawings_digest(self) -> str | None:
        """SHA-256 of its line art; None = extracted."""
        return self.drawings_guard.digest if self.drawings_guard else None

    def check_unchanged(self) -> None:
        """InputError: a file of the film or of its line art is not what its digest was taken of."""
        self.guard.check()
        if self.drawings_guard:
            self.drawings_guard.check()

    @property
    def name(self) -> str:
        """Its file name."""
        return self.path.name


def collect(inputs: Sequence[Path], drawings: Path | None) -> list[Film]:
    """Find the films in files and folders, each folder's by name; a folder that holds images is one film as well.

    drawings    folder with a movie or a folder of images for every film, of the same name; None = no line art
    InputError: no film, one that cannot be read at all, or one without its drawings.
    """
    films = []
    for path in (film for given_path in inputs for film in _below(given_path)):
        line_art = _paired(path, drawings) if drawings else None
        guard, line_art_guard = InputGuard(_absolute(path)), InputGuard(line_art) if line_art else None
        film = Film(_absolute(path), guard, _size(path), line_art, line_art_guard)
        _ = film.digest, film.drawings_digest  # before anything else is read
        films.append(film)
    return films


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # a link stays one, and keeps its name


def _below(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{printable(path)} does not exist: check the path")
        return [path]
    found = []
    with reading("folder", path, "check the path"):
        for folder, folders, files in os.walk(path, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if frame_files(Path(folder), IMAGE_SUFFIXES):  # GIFs are films
                found.append(Path(folder))
            found += [Path(folder, f) for f in sorted(files) if f.lower().endswith(FILM_SUFFIXES) and f[0] != "."]
    if not found:
        raise InputError(f"{printable(path)} has no films: put movies ({', '.join(FILM_SUFFIXES)}) or images in it")
    return found


def _raise(error: OSError) -> None:
    raise error


def _size(film: Path) -> int:
    """Return the size of a film in bytes."""
    with reading("film", film, "check the file"):
        return sum(file.stat().st_size for file in (frame_files(film) if film.is_dir() else [film]))


def _paired(film: Path, drawings: Path) -> Path:
    """Find the line art of a film. InputError: not exactly one in the folder `drawings`."""
    stem = _absolute(film).name if film.is_dir() else film.stem
    with reading("folder", drawings, "check the path"):
        found = [d for d in drawings.iterdir() if stem == (d.name if d.is_dir() else d.stem) and d.name[0] != "."]
    if len(found) != 1:
        have = "no line art" if not found else f"line art {len(found)} times"
        raise InputError(
            f"{printable(drawings)} has {have} for {printable(film)}: put one movie or folder named {stem} in it"
        )
    return _absolute(found[0])
