"""What an output may be called, and what it is by its name: a folder of frames, a movie or one image."""

from __future__ import annotations

import os
from pathlib import Path

from lvcd.errors import InputError

from .disk import printable
from .frame_formats import FORMAT_OF
from .images import IMAGE_SUFFIXES
from .movies import MOVIE_SUFFIXES

_NOT_WRITTEN = (".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv", ".mxf", ".gifv", ".tgz", ".zip")
"""Endings that mean a file, which cannot be written: a folder of such a name would be a mistake."""


def output_path(path: str | os.PathLike) -> Path:
    """Return the absolute path of a result. InputError: no result can have that name."""
    target = Path(os.path.realpath(path) if os.path.islink(path) else os.path.abspath(path))
    kinds = f"give a folder (no ending), a movie ({', '.join(MOVIE_SUFFIXES)}) or an image ({', '.join(FORMAT_OF)})"
    ending = target.suffix.lower()
    if is_movie(target) and target.is_dir():
        raise InputError(f"{printable(target)} is a folder where a movie is to go: choose another name")
    is_file = is_movie(target) or is_image(target)
    if not is_file and ending in (*_NOT_WRITTEN, *IMAGE_SUFFIXES) and not target.is_dir():
        raise InputError(f"cannot write {printable(target)}: unknown ending {target.suffix}, {kinds}")
    if not is_file and os.path.lexists(target) and not target.is_dir():
        raise InputError(f"{printable(target)} is a file where a folder of frames is to go: {kinds}")
    if os.path.ismount(target):
        raise InputError(f"{printable(target)} is where a disk is mounted: choose a folder inside it")
    return target


def is_movie(path: Path) -> bool:
    """Return whether an output of this name is a movie."""
    return path.suffix.lower() in MOVIE_SUFFIXES


def is_image(path: Path) -> bool:
    """Return whether an output of this name is one image. A folder that is there may have any name."""
    return path.suffix.lower() in FORMAT_OF and not path.is_dir()
