"""A film's own line art, paired with its frames by number."""

from __future__ import annotations

from typing import Any, Protocol

import cv2

from lvcd.errors import InputError
from lvcd.spacing import evenly_spaced

from ..sketch import detect_lines, to_sketch
from .extractor import Array

ASPECT_TOLERANCE = 0.02
"""Drawings may differ from the frames' aspect ratio by this share: rounding of a resize, not another shape."""
LOOKED_AT = 5
"""Drawings of a film that are looked at to find out how they show their lines."""


class Drawings(Protocol):
    """The line art of a whole film, by frame number: uint8 (H W 3) or (H W 4)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Array: ...


class Given:
    """An `Extractor`, made by `given`."""

    def __init__(self, drawings: Drawings, frames: int, size: tuple[int, int], name: str):
        if len(drawings) != frames:
            raise InputError(f"{name} has {len(drawings)} drawings for {frames} frames: give one for each frame")
        (h, w), (height, width) = drawings[0].shape[:2], size
        if abs(h * width / (w * height) - 1) > ASPECT_TOLERANCE:
            raise InputError(
                f"{name} is {w}x{h} and its film {width}x{height}: crop one to the aspect ratio of the other"
            )
        self._drawings = drawings
        self._lines = detect_lines([drawings[i] for i in evenly_spaced(frames, LOOKED_AT)])
        self.settings: dict[str, Any] = {"name": "given"}

    def __call__(self, first: int, frames: list[Array]) -> list[Array]:
        return [self._fitted(number, frame) for number, frame in enumerate(frames, first)]

    def _fitted(self, number: int, frame: Array) -> Array:
        sketch = to_sketch(self._drawings[number], self._lines)
        drawing = ((1 - sketch[0]) * 255).round().byte().numpy()
        if drawing.shape == frame.shape[:2]:
            return drawing
        return cv2.resize(drawing, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_AREA)
