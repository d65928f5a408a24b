"""Flats of a pipeline's call: the same fills as those of `lvcd colorize --flat`, for images in memory.

letters: n frames, H W pixels of the drawings, h w those that the model paints at. Images are in standard form.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lvcd.flats import Gap
from lvcd.lineart.reading import Drawing, DrawingReader, DrawingSettings
from lvcd.lineart.sketch import png_from_sketch
from lvcd.lineart.xdog import xdog
from lvcd.palettes.palette_files import Palette, read_palette

from .flat_filler import FlatFiller
from .image_forms import array
from .inputs import SketchClip, color, pad_to_shape, resize
from .render_inputs import find_ink_color, nearest

Picture = np.ndarray | Tensor


def palette_colors(palette: Palette | str | os.PathLike | None) -> np.ndarray | None:
    """Return the colors, uint8 (n 3), of a palette or its file. InputError: the file."""
    if palette is None:
        return None
    return (palette if isinstance(palette, Palette) else read_palette(Path(palette))).colors


def fill_images(
    clip: SketchClip,
    reader: DrawingReader | None,  # of the clip; None = its drawings are sketches already
    painted: Tensor,  # (n 3 h w) in [0, 1]
    reference: Picture | None,
    reference_frame: int | None,  # the reference is this drawing in color
    reference_lines: SketchClip | None,  # the reference's own drawing
    keys: Mapping[int, Picture],
    sheets: Sequence[Picture],
    settings: DrawingSettings,
    gap: Gap,
    palette: np.ndarray | None,  # uint8 (m 3)
) -> Tensor:
    """Fill the drawings of a clip by what was painted of them => frames (n 3 H W) in [0, 1].

    Without a palette the reference and keys that are drawings of the clip come out as they are.
    """
    size = clip.size
    placed = {} if reference is None or reference_frame is None else {reference_frame: reference}
    own = {**placed, **dict(sorted(keys.items()))}
    free = [] if reference is None or reference_frame is not None else [reference]
    drawings = [_read(clip, index, reader) for index in range(len(clip))]
    pictures = [*free, *own.values(), *(pad_to_shape(array(sheet), size) for sheet in sheets)]
    lines: list[Tensor | Drawing] = [xdog(color(picture, size)[None])[0] for picture in free]
    if free and reference_lines is not None:
        read = _read(reference_lines, 0, reference_lines.reader(settings))
        lines = [_resized(read, size)]
    lines += [drawings[index] for index in own]
    lines += [xdog(color(picture, size)[None])[0] for picture in pictures[len(lines) :]]
    exact = [color(nearest(picture, size), size) / 2 + 0.5 for picture in pictures]
    first = next(iter(own), 0) if not free else 0
    ink_color = None if settings.lines == "extract" else _ink_color(clip, first, drawings[first])
    filler = FlatFiller(exact[0], lines[0], gap, ink_color=ink_color, palette=palette)
    for more, its_lines in zip(exact[1:], lines[1:]):
        filler.add_reference(more, its_lines)
    frames = [filler(drawing, frame).clamp(0, 1) for drawing, frame in zip(drawings, painted)]
    if palette is None:
        for index in own.keys() & range(len(frames)):  # painting may have been interrupted
            frames[index] = color(own[index], size) / 2 + 0.5
    return torch.stack(frames)


def _read(clip: SketchClip, index: int, reader: DrawingReader | None) -> Tensor | Drawing:
    return clip[index] if reader is None else reader(clip[index])


def _resized(drawing: Tensor | Drawing, size: tuple[int, int]) -> Tensor:
    """Return a sketch (1 H W) of the clip's size."""
    return resize(drawing if isinstance(drawing, Tensor) else drawing.sketch, size)


def _ink_color(clip: SketchClip, index: int, drawing: Tensor | Drawing) -> np.ndarray | None:
    if isinstance(drawing, Tensor):
        return find_ink_color(png_from_sketch(drawing)[0].numpy(), drawing[0].numpy())
    return find_ink_color(array(clip[index]), drawing.ink)
