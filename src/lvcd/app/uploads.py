"""Files that a browser sent: which names they may have, and how much may come."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lvcd.errors import InputError
from lvcd.io.disk import LITTER, printable, writing

MAX_FILES = 5000
"""Files that are taken at once."""
MAX_BYTES = 8 << 30
"""Of all files that are taken at once; Gradio refuses a single larger one while it is sent."""


def plain_name(name: str) -> str:
    """Return the last part of a name that a browser sent. InputError: no file can be called that, or it is hidden."""
    last = name.replace("\\", "/").rpartition("/")[2]
    if not last.strip(". ") or last.startswith(".") or not last.isprintable() or len(last.encode()) > 200:
        raise InputError(f"{printable(name)} is no name for a file: rename it and drop it again")
    return last


def named_uploads(files: Sequence[str | Path]) -> dict[str, Path]:
    """Return uploaded files by their plain names, without the litter of file managers.

    InputError: too many, too large together, or two of one name.
    """
    if len(files) > MAX_FILES:
        raise InputError(f"{len(files)} files are too many: drop at most {MAX_FILES} at once")
    total = sum(Path(file).stat().st_size for file in files)
    if total > MAX_BYTES:
        raise InputError(f"{total / 2**30:.1f} GB are too much: drop at most {MAX_BYTES >> 30} GB at once")
    named: dict[str, Path] = {}
    for file in map(Path, files):
        if file.name in LITTER or file.name.startswith("._"):
            continue
        name = plain_name(file.name)
        if name.casefold() in {other.casefold() for other in named}:
            raise InputError(f"two files are called {printable(name)}: drop one folder at a time")
        named[name] = file
    return named


def take_over(file: str | Path, folder: Path) -> str:
    """Copy an uploaded file into a folder under its own name, with a number where another has it => the name.

    InputError: the name, or the disk.
    """
    source, name = Path(file), plain_name(Path(file).name)
    stem, suffix, number = Path(name).stem, Path(name).suffix, 1
    with writing(folder / name):
        folder.mkdir(exist_ok=True)
        while (folder / name).exists() and (folder / name).read_bytes() != source.read_bytes():
            number += 1
            name = f"{stem}-{number}{suffix}"
        shutil.copyfile(source, folder / name)
    return name
