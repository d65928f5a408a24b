"""The extractor of a film that comes with line art of its own, paired with its frames by number."""

from __future__ import annotations

from typing import Any

import cv2

from lvcd.errors import InputError

from ..reading import DrawingReader, Drawings
from ..sketch import Array, png_from_sketch

ASPECT_TOLERANCE = 0.02
"""Relative difference of aspect ratio that drawings may have from frames: rounding of a resize, not another shape."""


class ProvidedLineArt:
    """A `SketchExtractor` that returns the film's own line art, of any polarity, in the size of the frames.

    drawings    one for each of the film's `frames` frames
    size        (height, width) of the film
    name        what a message calls the drawings
    InputError: another number of drawings than of frames, or another aspect ratio.
    """

    def __init__(self, drawings: Drawings, frames: int, size: tuple[int, int], name: str):
        if len(drawings) != frames:
            raise InputError(f"{name} has {len(drawings)} drawings for {frames} frames: give one for each frame")
        (h, w), (height, width) = drawings[0].shape[:2], size
        if abs(h * width / (w * height) - 1) > ASPECT_TOLERANCE:
            raise InputError(
                f"{name} is {w}x{h} and its film {width}x{height}: crop one to the aspect ratio of the other"
            )
        self._drawings = drawings
        self._read = DrawingReader(drawings)
        self.settings: dict[str, Any] = {"name": "given"}

    def __call__(self, first: int, frames: list[Array]) -> list[Array]:
        return [self._draw(number, frame) for number, frame in enumerate(frames, first)]

    def _draw(self, number: int, frame: Array) -> Array:
        drawing = png_from_sketch(self._read(self._drawings[number]).sketch[0]).numpy()
        if drawing.shape == frame.shape[:2]:
            return drawing
        return cv2.resize(drawing, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_AREA)
