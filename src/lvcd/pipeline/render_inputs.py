"""What a rendering reads: drawings and colored pictures, checked against each other, and the record of its job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lvcd.errors import InputError
from lvcd.io.images import read_image
from lvcd.io.movies import CLEAR_SUFFIXES, SOUND_CODECS
from lvcd.io.output_path import is_movie, output_path
from lvcd.io.reader import FrameReader
from lvcd.io.sound import Sound
from lvcd.lineart.reading import DrawingReader, DrawingSettings, read_drawing
from lvcd.palettes.palette_files import Palette, read_palette

from .image_forms import array, size_of
from .inputs import check_shape, pad_to_shape, resize, same_shape
from .render_files import RenderFiles
from .render_settings import RenderSettings


@dataclass(frozen=True)
class ColoredPicture:
    """A picture of the colors is the colored version of one drawing of the clip, or a sheet."""

    path: Path
    index: int | None = None
    """Which drawing of the clip it is the colored version of, from 0; None = it is of none."""
    sheet: bool = False
    """Whether it is a sheet, which may have any aspect ratio."""

    def read(self, size: tuple[int, int]) -> Any:
        """Read it => uint8 (H W 3) or (H W 4); a sheet is padded to the aspect ratio of `size`."""
        picture = read_image(self.path)
        return pad_to_shape(array(picture), size) if self.sheet else picture


def colored_pictures(clip: FrameReader, files: RenderFiles, reference_frame: int | None) -> list[ColoredPicture]:
    """Return the pictures that colors come from, at least one: the reference first, or else the first key or sheet.

    InputError: no drawing has a key's number, or the reference's; two pictures are of one drawing; there are none.
    """
    if files.reference is None and reference_frame is not None:
        raise InputError(f"reference frame {reference_frame} without a reference: give it")
    if reference_frame is not None and not 0 <= reference_frame < len(clip):
        raise InputError(f"reference frame {reference_frame}: {files.sketches} has sketches 0 to {len(clip) - 1}")
    found = [] if files.reference is None else [ColoredPicture(files.reference, reference_frame)]
    for number, path in sorted(files.keys.items()):
        if number not in clip.numbers:
            known = f"{min(clip.numbers)} to {max(clip.numbers)}"
            raise InputError(f"key {number}={path}: no drawing of {clip.path} has that number, they have {known}")
        index = clip.numbers.index(number)
        if index == reference_frame:
            raise InputError(f"{files.reference} and {path} are both drawing {number} in color: leave one out")
        found.append(ColoredPicture(path, index))
    found += [ColoredPicture(path, sheet=True) for path in files.sheets]
    if not found:
        raise InputError("there is nothing to take colors from: give a reference, a key or a sheet")
    return found


@dataclass(frozen=True)
class RenderInputs:
    """The drawings and colored pictures of a rendering, read and checked."""

    size: tuple[int, int]
    """(height, width) at which the model paints, px."""
    reader: DrawingReader
    """Reads the sketches."""
    pictures: tuple[tuple[ColoredPicture, Any], ...]
    """Where colors come from, each with its pixels, uint8 (H W 3) or (H W 4) of the sketches' aspect ratio."""
    drawing: Any
    """The line art of the first picture, an image, or None."""

    @classmethod
    def read(cls, clip: FrameReader, files: RenderFiles, settings: RenderSettings) -> RenderInputs:
        """Read the pictures and check them against each other. InputError: what is wrong with one."""
        size = settings.size or clip.size
        if not same_shape(size, clip.size):
            (height, width), (h, w) = clip.size, size
            raise InputError(f"size {w}x{h} has another aspect ratio than the sketches, which are {width}x{height}: "
                             f"give one like {w}x{max(16, round(w * height / width))}")  # fmt: skip
        pictures = colored_pictures(clip, files, settings.reference_frame)
        read = tuple((picture, picture.read(clip.size)) for picture in pictures)
        for picture, pixels in read:
            check_shape(size_of(pixels), size, str(picture.path))
        (first, pixels), *_ = read
        drawing = read_image(files.reference_sketch) if files.reference_sketch else None
        if drawing is not None and not same_shape(size_of(drawing), size_of(pixels)):
            raise InputError(f"{files.reference_sketch} has another aspect ratio than {first.path}: give the lines of "
                             "that very frame")  # fmt: skip
        if drawing is not None and first.index is not None:
            raise InputError(f"{first.path} has line art of its own, {files.reference_sketch}, or is a frame of the "
                             "clip, not both")  # fmt: skip
        return cls(size, DrawingReader(clip, settings.drawing), read, drawing)

    def reference_lines(self, settings: DrawingSettings) -> Tensor | None:
        """Return the first picture's own line art (1 H W) at `size`; None if it was not given."""
        return None if self.drawing is None else resize(read_drawing(array(self.drawing), settings).sketch, self.size)


def flat_palette(file: Path, settings: RenderSettings) -> Palette:
    """Read the palette that flat fills are to come from. InputError: they are not flat, or the file."""
    if not settings.flat:
        raise InputError(f"palette {file}: give it together with flat")
    return read_palette(file)


def nearest(picture: Any, size: tuple[int, int]) -> Any:
    """Resize an image to uint8 (H W c) that has only colors of the image."""
    pixels = array(picture)
    (h, w), (height, width) = pixels.shape[:2], size
    rows, columns = ((np.arange(n) + 0.5) * old / n for n, old in ((height, h), (width, w)))
    return pixels[rows.astype(int)][:, columns.astype(int)]


def find_ink_color(picture: Any, ink: Any) -> Any:
    """Return the color (3) in [0, 1] of the ink of a drawing, an image; None without ink."""
    strong = array(picture)[..., :3][ink > 0.9]
    return np.median(strong, 0).astype(np.float32) / np.float32(255) if len(strong) else None


def check_movie(output: Path, settings: RenderSettings) -> bool:
    """Return whether an output is a movie. InputError: it cannot hold what the settings ask for."""
    path = output_path(output)
    if is_movie(path) and settings.format is not None:
        raise InputError(f"{output} is a movie, and format {settings.format} is of frames in a folder: leave it out")
    if is_movie(path) and settings.layers:
        raise InputError(f"{output} is a movie, which has no layers: give a folder")
    if is_movie(path) and settings.alpha and path.suffix.lower() not in CLEAR_SUFFIXES:
        raise InputError(
            f"{output} cannot be transparent: give a folder, or end its name in {', '.join(CLEAR_SUFFIXES)}"
        )
    return is_movie(path)


def find_sound(sketches: Path, output: Path, movie: bool, same_rate: bool) -> tuple[Sound | None, list[str]]:
    """Return the sound of the sketches' movie that goes into the output, and what is to be said if it does not."""
    sound = Sound.of(sketches)
    if sound is None or (movie and same_rate and output.suffix.lower() in SOUND_CODECS):
        return sound, []
    why = "its rate is another" if movie and not same_rate else f"give a movie ({', '.join(SOUND_CODECS)}) to keep it"
    return None, [f"the sound of {sketches} is not in {output}: {why}"]


def job_record(
    files: RenderFiles,
    model: Path,
    lines: str,
    settings: RenderSettings,
    adapters: Sequence[tuple[Path, float]] = (),  # each with its weight
) -> dict[str, Any]:
    """Return all that the frames depend on: a rendering is only resumed as the same job.

    InputError: an adapter cannot be read.
    """
    weights = sorted(f for f in model.rglob("*") if f.is_file()) if model.is_dir() else []
    stamps = [(str(f.relative_to(model)), f.stat().st_size, f.stat().st_mtime_ns) for f in weights]
    model_hash = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()
    record = {**files.record, "model": model_hash, **_recorded(settings), "lines": lines}
    if adapters:
        from lvcd.checkpoints.adapters import read_adapter  # takes a second to import

        record["adapters"] = [[read_adapter(path).digest, weight] for path, weight in adapters]
    return record


def _recorded(settings: RenderSettings) -> dict[str, Any]:
    """Return the settings that change frames; those that came later only where they do, so that older jobs go on."""
    later = {"format": (None, "png"), "alpha": (False,), "layers": (False,), "aliased": (False,), "storage": (None,),
             "decode_chunk": (None,), "steady": (False,)}  # fmt: skip
    found = {name: value for name, value in asdict(settings).items() if value not in later.get(name, ())}
    del found["offload"]  # where weights wait changes nothing
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
