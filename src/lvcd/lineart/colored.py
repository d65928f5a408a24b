"""Colored frames that somebody gave in place of line drawings.

letters: H W pixels. Pictures are float32 (H W 3) in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .sketch import Array

COLORED_FRAMES = (
    "the sketches look like colored frames, not line drawings: give the line art, or set --lines extract to draw lines "
    "along their colors, or --lines dark to take them as they are"
)
MIN_AREA = 0.01
"""Of the frame: a fill counts from here."""
MIN_FILLS = 3
"""So many fills of different colors make a colored frame."""
CHROMA_BIN = 0.05
"""Width of the cells in which chromaticities, R and G over R + G + B, are counted."""
DARK = 0.12
"""What is darker has no chromaticity that could be measured."""


@dataclass(frozen=True)
class Fills:
    """The large areas of a picture."""

    count: int
    """Of different chromaticity."""
    white: float
    """Fraction of the frame that is white or grey."""

    @property
    def is_colored(self) -> bool:
        """Whether this is a colored frame and no drawing."""
        return self.count >= MIN_FILLS and self.white < 0.5

    @property
    def is_doubtful(self) -> bool:
        """Whether this is a drawing with colored areas."""
        return self.count >= MIN_FILLS and not self.is_colored


def count_fills(picture: Array) -> Fills:
    """Count the fills of different colors in a picture; lines do not count.

    Flat fills are counted away from all edges; small and shaded ones, as in films, in a picture so small that lines
    fade into their surroundings. Whichever are more count.
    """
    H, W = picture.shape[:2]
    if min(H, W) < 16:
        return Fills(1, 1.0)
    small = _shrunk(picture, 256)
    small = cv2.medianBlur(np.rint(small * 255).astype(np.uint8), 5).astype(np.float32) / 255
    size = 2 * (max(small.shape[:2]) // 60) + 3
    step = (cv2.dilate(small, np.ones((3, 3))) - cv2.erode(small, np.ones((3, 3)))).max(2)
    inside = cv2.erode((step < 0.1).astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    tiny = _shrunk(picture, 48)
    flat, shaded = _count(small, inside), _count(tiny, np.ones(tiny.shape[:2], bool))
    return Fills(max(flat.count, shaded.count), max(flat.white, shaded.white))


def _shrunk(picture: Array, longer_side: int) -> Array:
    H, W = picture.shape[:2]
    scale = min(1.0, longer_side / max(H, W))
    return cv2.resize(picture, (max(8, round(W * scale)), max(8, round(H * scale))), interpolation=cv2.INTER_AREA)


def _count(picture: Array, inside: Array) -> Fills:
    """Count the chromaticities of the pixels that a mask (H W) counts in."""
    color = picture[inside & (picture.max(2) > DARK)]
    if not len(color):
        return Fills(0, 0.0)
    chroma = color / color.sum(1, keepdims=True)
    white = float((color.max(1) - color.min(1) < 0.08).sum() / inside.size)
    cells = np.zeros((24, 24))
    np.add.at(cells, tuple((chroma[:, c] / CHROMA_BIN + 0.5).astype(int) for c in (0, 1)), 1 / inside.size)
    count = 0
    while cells.max() >= MIN_AREA / 2:
        row, column = np.unravel_index(cells.argmax(), cells.shape)
        around = cells[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        count += bool(around.sum() >= MIN_AREA)
        around[:] = 0
    return Fills(count, white)
