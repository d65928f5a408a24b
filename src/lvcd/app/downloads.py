"""What a person takes home of a painted shot: frames, layers, a movie, the palette."""

from __future__ import annotations

import zipfile
from pathlib import Path

from lvcd.errors import InputError
from lvcd.flats.exact_colors import hex_names
from lvcd.io.disk import atomic
from lvcd.io.frame_folder import BESIDE, frame_files
from lvcd.io.images import over_white, read_image, write_png
from lvcd.io.movies import write_movie
from lvcd.palettes.of_picture import find_palette
from lvcd.palettes.palette_files import Palette, read_palette, write_palette

from .shot_folder import Shot

PALETTES = (".gpl", ".ase", ".aco")


def painted_files(shot: Shot) -> list[Path]:
    """Return the finished frames, also of a rendering that is not at its end, as they were written."""
    folder = shot.partial if shot.partial.is_dir() else shot.painted
    return frame_files(folder) if folder.is_dir() else []


def shown_file(shot: Shot, frame: Path) -> Path:
    """Return a PNG of a painted frame, which browsers can show: itself, or a copy that is as new."""
    if frame.suffix == ".png":
        return frame
    copy = shot.folder / "view" / "painted" / f"{frame.stem}.png"
    if not copy.exists() or copy.stat().st_mtime_ns < frame.stat().st_mtime_ns:
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_png(copy, read_image(frame))
    return copy


def make_download(shot: Shot, what: str, fps: float = 24.0) -> Path:
    """Make the file of one download: frames.zip, layers.zip, movie.mp4, or palette with an ending of PALETTES.

    InputError: nothing is painted, there are no layers, or the disk.
    """
    frames = frame_files(shot.painted) if shot.painted.is_dir() else []
    if not frames:
        raise InputError("nothing is painted yet: paint first")
    file = shot.folder / "take" / f"{shot.name}-{what}"
    file.parent.mkdir(exist_ok=True)
    layers = shot.record.settings.layers
    if what == "frames.zip":
        _write_zip(file, [shown_file(shot, frame) for frame in frames] if layers else frames)
    elif what == "layers.zip":
        if not layers:
            raise InputError("this shot was painted without layers: choose them and paint again")
        _write_zip(file, frames)
    elif what == "movie.mp4":
        write_movie(file, (over_white(read_image(frame)) for frame in frames), fps)
    elif what.startswith("palette") and Path(what).suffix in PALETTES:
        write_palette(file, shot_palette(shot))
    else:
        raise InputError(f"{what} is nothing to download")
    return file


def shot_palette(shot: Shot) -> Palette:
    """Return the palette that frames were filled from; of frames that are not flat, that of the first key or sheet."""
    beside = [shot.painted / BESIDE / name for name in ("palette.json", "reference.json")]
    found = next((path for path in beside if path.exists()), None)
    pictures = [*shot.keys.values(), *shot.sheets]
    return read_palette(found) if found else find_palette(read_image(pictures[0]))


def shot_colors(shot: Shot) -> list[str]:
    """Return the colors of a painted shot, like #e0a080."""
    return hex_names(shot_palette(shot).colors)


def _write_zip(file: Path, members: list[Path]) -> None:
    with atomic(file) as temp, zipfile.ZipFile(temp, "w", zipfile.ZIP_STORED) as archive:  # they are compressed already
        for member in members:
            archive.write(member, member.name)
