"""Which files of a folder are the frames of a clip, in which order, and what is said about the others.

No file is left out in silence but what file managers leave behind. Where a folder holds more than one clip, the person
has to say which one is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lvcd.errors import InputError

from .disk import LITTER, printable, reading, sha256
from .images import IMAGE_SUFFIXES

FRAME_SUFFIXES = (*IMAGE_SUFFIXES, ".gif")
"""Endings of files in a folder that are frames; a GIF given alone is a movie."""
BESIDE = "flats"
"""Folder in a folder of frames for what is made with them and is no frame: index maps, the palette, regions."""
MAX_LISTED = 4
"""Names that one line lists."""


@dataclass(frozen=True)
class FrameSelection:
    """The selection says which files of a folder are the frames of a clip."""

    level: str | None = None
    """Of a folder with several levels (A0001, B0001), the one to take: what stands before and behind the number."""
    psd_layer: str | None = None
    """Of Photoshop files, the layer to take; None = the whole picture."""
    leave_out: tuple[Path, ...] = ()
    """Files that are not frames even where they, or copies of them, lie in the folder: the reference."""


@dataclass(frozen=True)
class FolderContent:
    """The frames of a folder."""

    files: list[Path]
    notes: list[str]
    """What is left out or odd, one line each."""


def frame_files(folder: Path, suffixes: Sequence[str] = FRAME_SUFFIXES) -> list[Path]:
    """Return the image files of a folder, in natural order, maybe none. InputError: it cannot be read."""
    with reading("folder", folder, "check the path"):
        files = [file for file in folder.iterdir() if file.suffix.lower() in suffixes and not _is_hidden(file)]
        return sorted((file for file in files if not file.is_dir()), key=_natural)


def select_frames(folder: Path, selection: FrameSelection) -> FolderContent:
    """Find the frames of a clip in a folder.

    InputError: there are none; there are several levels and none is chosen, or the chosen one is not there; two files
    have one name but for the ending; the layer is chosen and no file has layers.
    """
    files, notes = frame_files(folder), []
    known = set(files)
    with reading("folder", folder, "check the path"):
        others = [file for file in folder.iterdir() if file not in known and not _is_hidden(file)]
    if others:
        left_out = [f"{file.name}/" if file.is_dir() else file.name for file in sorted(others, key=_natural)]
        notes.append(f"{printable(folder)}: {_listed(left_out)} left out, no image that can be read")
    same = [file for file in files if _is_one_of(file, selection.leave_out)]
    if same and len(same) < len(files):
        files = [file for file in files if file not in same]
        notes.append(f"{printable(folder)}: {_listed([file.name for file in same])} left out, it is the reference")
    files = _one_level(folder, files, selection.level, notes)
    if not files:
        raise InputError(f"{printable(folder)} has no images: put frames ({', '.join(FRAME_SUFFIXES)}) in it")
    _check_names(folder, files)
    if selection.psd_layer is not None and not any(file.suffix.lower() in (".psd", ".psb") for file in files):
        raise InputError(f"{printable(folder)} has no Photoshop file: leave the layer {selection.psd_layer} out")
    unnumbered = [file.name for file in files if frame_number(file.stem) is None]
    if unnumbered and len(unnumbered) < len(files) / 2:
        notes.append(f"{printable(folder)}: {_listed(unnumbered)} without a number among numbered files, read as "
                     "a drawing too: move it away if it is none")  # fmt: skip
    return FolderContent(files, notes)


def frame_number(stem: str) -> int | None:
    """Return the number that a file's name ends in, or the last one in it; None if it has no digits."""
    numbers = re.findall(r"[0-9]+", stem)
    return int(numbers[-1]) if numbers else None


def level_of(stem: str) -> str:
    """Return what a file's name is without its number: the level, A of A0001."""
    return "".join(re.fullmatch(r"(.*?)[0-9]*([^0-9]*)", stem, re.DOTALL).groups()).strip(" _-.")  # type: ignore[union-attr]


def _one_level(folder: Path, files: list[Path], level: str | None, notes: list[str]) -> list[Path]:
    levels: dict[str, list[Path]] = {}
    for file in files:
        levels.setdefault(level_of(file.stem).casefold(), []).append(file)
    shown = {key: level_of(group[0].stem) for key, group in levels.items()}
    if level is not None:
        chosen = levels.get(level.strip(" _-.").casefold(), [])
        if not chosen and level:
            names = ", ".join(printable(name) for name in shown.values() if name) or "none"
            raise InputError(f"{printable(folder)} has no level {printable(level)}: its levels are {names}")
        left = [file.name for file in files if file not in chosen]
        if left:
            notes.append(f"{printable(folder)}: {_listed(left)} left out, another level than {level}")
        return chosen
    numbered = {key: {frame_number(file.stem) for file in group} - {None} for key, group in levels.items()}
    clash = [
        (one, other) for one in numbered for other in numbered
        if one < other and _are_levels(one, numbered[one], other, numbered[other])
    ]  # fmt: skip
    if clash:
        labels = [printable(shown[key]) or "(none)" for key in sorted({key for pair in clash for key in pair})]
        example = next(label for label in labels if label != "(none)")
        raise InputError(f"{printable(folder)} holds several levels, {' and '.join(labels)}: choose one with --level "
                         f"{example}, or put each into a folder of its own")  # fmt: skip
    return files


def _are_levels(one: str, its: set, other: str, others: set) -> bool:
    """Return whether two sets of numbered files are two clips: they count the same drawings."""
    common, fewer = len(its & others), min(len(its), len(others))
    if 1 <= len(one) <= 2 and 1 <= len(other) <= 2 and one[0] != other[0]:  # A and B, as levels are called
        return fewer >= 1
    return common >= 2 and common * 2 >= fewer


def _check_names(folder: Path, files: list[Path]) -> None:
    """InputError: two files have one name but for the ending, so that one is a copy of the other."""
    seen: dict[str, Path] = {}
    for file in files:
        if (other := seen.setdefault(file.stem, file)) is not file:
            raise InputError(f"{printable(folder)} holds {printable(other.name)} and {printable(file.name)}: "
                             "remove the one that is a copy")  # fmt: skip


def _is_one_of(file: Path, others: Sequence[Path]) -> bool:
    """Return whether a file is one of some others, or a copy of one."""
    for other in others:
        if not other.is_file():
            continue
        if file.samefile(other):
            return True
        if file.stat().st_size == other.stat().st_size and sha256(file) == sha256(other):
            return True
    return False


def _is_hidden(file: Path) -> bool:
    return file.name.startswith(".") or file.name.casefold() in {name.casefold() for name in LITTER}


def _natural(file: Path) -> tuple:
    parts = re.split(r"([0-9]+)", file.stem.casefold())
    return [int(part) if odd % 2 else part for odd, part in enumerate(parts)], file.name


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(map(printable, names[:MAX_LISTED])) + more + (" is" if len(names) == 1 else " are")
