"""Frames painted anew from another palette, without a model: the color of entry i becomes the new entry i, exactly."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from lvcd.errors import InputError
from lvcd.flats.indexed import IndexedFrame
from lvcd.io.disk import atomic_folder, printable, reading, require_file
from lvcd.io.frame_folder import BESIDE, frame_files
from lvcd.io.images import encode_png, encode_png_fast, read_image
from lvcd.system import available_cores

from .palette_files import Array, Palette, read_palette, write_palette

_MAPS = ("index", "line", "coverage")
_PALETTE = "palette.json"
_PAINT = "paint it with lvcd colorize --flat --palette FILE"


class IndexMaps:
    """The index maps of the frames in a folder, as `colorize --palette` writes them beside the frames.

    They are three PNG files for each frame: index/NAME.png and line/NAME.png, with the palette's colors, and
    coverage/NAME.png, grey.
    InputError: the folder has none, or they are damaged.
    """

    def __init__(self, folder: Path):
        self.folder, self.beside = folder, folder / BESIDE
        if not (self.beside / _PALETTE).is_file() or not (self.beside / "index").is_dir():
            raise InputError(f"{printable(folder)} has no index maps: {_PAINT}")
        self.palette = read_palette(self.beside / _PALETTE)
        self.names = [file.stem for file in frame_files(self.beside / "index", (".png",))]
        """Names of the frames, in order, without an ending."""
        if not self.names:
            raise InputError(f"{printable(folder)} has no index maps: {_PAINT}")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> IndexedFrame:
        """Read the maps of a frame. InputError: one is damaged."""
        files = [self.beside / part / f"{self.names[number]}.png" for part in _MAPS]
        maps = [_read_map(file) for file in files]
        size, most = maps[0].shape, max(int(maps[0].max()), int(maps[1].max()))
        if any(one.shape != size for one in maps) or most >= len(self.palette.colors):
            raise InputError(f"the maps {self.names[number]}.png in {printable(self.beside)} do not belong together: "
                             f"{_PAINT}")  # fmt: skip
        return IndexedFrame(*maps)

    @staticmethod
    def encode(name: str, frame: IndexedFrame, palette: Palette) -> dict[str, bytes]:
        """Return the files of a frame's maps, by their names in the folder beside the frames."""
        indexed = {part: _indexed_png(one, palette) for part, one in zip(_MAPS, (frame.fill, frame.line))}
        return {
            f"{part}/{name}.png": data for part, data in {**indexed, "coverage": encode_png(frame.coverage)}.items()
        }


def recolor(
    folder: Path,  # of frames with index maps beside them
    palette: Path,  # as many colors as the palette that the frames were painted with, or more
    out: Path,
    overwrite: bool = False,  # replace an existing folder `out`
    on_frame: Callable[[int, int], object] | None = None,  # after each frame: how many are done, of how many
    on_warning: Callable[[str], object] | None = None,
) -> int:
    """Paint the frames of a folder from another palette, into the folder `out` => their number.

    InputError: no index maps, or damaged ones; a palette with fewer colors; `out` is taken.
    """
    maps, new = IndexMaps(folder), read_palette(palette)
    if len(new.colors) < len(maps.palette.colors):
        raise InputError(f"{printable(palette)} has {len(new.colors)} colors, {printable(folder)} was painted with "
                         f"{len(maps.palette.colors)}: give each of them its new color, in the same order")  # fmt: skip
    if out.suffix and not out.is_dir():
        raise InputError(f"{printable(out)}: give a folder for the frames, without an ending")
    if out.resolve() == folder.resolve():
        raise InputError(f"{printable(out)} holds the frames that are painted anew: choose another output")
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not overwrite:
        raise InputError(f"{printable(out)} already exists: add --overwrite to replace it or choose another name")
    if overwrite and out.is_dir() and not (out / BESIDE).is_dir() and any(out.iterdir()):
        raise InputError(f"{printable(out)} is not overwritten, it holds no frames of lvcd: choose another name")
    changed: list[str] = []
    others = [file for file in frame_files(folder) if file.stem not in set(maps.names)]
    with atomic_folder(out, replace=overwrite) as partial_folder:
        for part in _MAPS:
            (partial_folder / BESIDE / part).mkdir(parents=True)
        write_palette(partial_folder / BESIDE / _PALETTE, new)
        for file in others:
            shutil.copyfile(file, partial_folder / file.name)
        work = partial(_recolor_frame, maps, new, partial_folder)
        with ThreadPoolExecutor(available_cores()) as pool:
            for number, was_changed in enumerate(pool.map(work, range(len(maps)))):
                changed += [maps.names[number]] * was_changed
                if on_frame is not None:
                    on_frame(number + 1, len(maps))
    if others and on_warning is not None:
        on_warning(f"{len(others)} frames of {printable(folder)} have no index maps and are copied as they are: "
                   f"{others[0].name} is the first")  # fmt: skip
    if changed and on_warning is not None:
        on_warning(f"{len(changed)} frames of {printable(folder)} are not what lvcd painted (the first is "
                   f"{changed[0]}): what was changed in them by hand is not in the new ones")  # fmt: skip
    return len(maps)


def _recolor_frame(maps: IndexMaps, new: Palette, out: Path, number: int) -> bool:
    """Write a frame and its maps; return whether the old frame was changed since it was painted."""
    name, frame = maps.names[number], maps[number]
    (out / f"{name}.png").write_bytes(encode_png_fast(frame.colored(new.colors)))
    for part, data in zip(_MAPS, (frame.fill, frame.line)):
        (out / BESIDE / part / f"{name}.png").write_bytes(_indexed_png(data, new))
    shutil.copyfile(maps.beside / "coverage" / f"{name}.png", out / BESIDE / "coverage" / f"{name}.png")
    old = maps.folder / f"{name}.png"
    return old.is_file() and not np.array_equal(read_image(old), frame.colored(maps.palette.colors))


def _read_map(file: Path) -> Array:
    """Read a map, uint8 (H W)."""
    require_file(file)
    with reading("index map", file, _PAINT), Image.open(file, formats=["PNG"]) as image:
        if image.mode not in ("P", "L", "1"):
            raise ValueError(f"its pixels are {image.mode}, not numbers of a palette")
        return np.array(image.convert("L") if image.mode == "1" else image)


def _indexed_png(numbers: Array, palette: Palette) -> bytes:
    """Encode numbers (H W) as a PNG with the colors of a palette."""
    image = Image.fromarray(np.ascontiguousarray(numbers))
    image.putpalette(palette.colors.tobytes())
    data = io.BytesIO()
    image.save(data, format="PNG", compress_level=3)
    return data.getvalue()
