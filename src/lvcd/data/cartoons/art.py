"""Drawings by others (SVG) in a few expressions, rastered into an index map of each pixel's color, fill or ink."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import resvg_py
from PIL import Image

Array = np.ndarray[Any, Any]


@dataclass
class Art:
    """A character in a few expressions, or a prop in one, in flat colors."""

    svgs: list[str]
    """One for each expression; color c is shown as `codes[c]`."""
    codes: Array
    """(c 3) uint8."""
    ink: Array
    """(c) bool, whether the color is ink."""
    shown: Array
    """(t) int, the expression of each frame."""
    size: float
    """The side of the drawing in scene units: how finely to raster it."""
    credit: str
    """Its author and license, in words."""
    license: str
    """The short name of the license."""
    stroke: float = 0.01
    """Width of the drawing's own lines, as a fraction of its side."""

    def index_map(self, expression: int, size: int, thick: int) -> Array:
        """Raster one expression => (R R) uint8, R = size + 2 margin(size): 0 outside, 2c + 2 for fill, 2c + 3 for ink.

        Ink is the character's own, at least `thick` px wide, and a line wherever two of its colors meet, or it ends.
        """
        png = resvg_py.svg_to_bytes(
            svg_string=self.svgs[expression], width=size, height=size, skip_system_fonts=True,
            shape_rendering="crisp_edges",
        )  # fmt: skip
        rgba = np.array(Image.open(io.BytesIO(bytes(png))).convert("RGBA")) >> 3
        red, green, blue = (rgba[..., c].astype(np.int64) for c in range(3))
        kind = np.where(rgba[..., 3] > 15, self._nearest()[red, green, blue] + 1, 0).astype(np.uint8)
        kind = np.pad(cv2.medianBlur(kind, 3), margin(size))
        own = np.append(False, self.ink)[kind]
        known = np.where(own, 255, kind).astype(np.uint8)
        high, low = cv2.dilate(known, np.ones((2, 2))), cv2.erode(known, np.ones((2, 2)))
        edge = (high != low) & (high != 255)
        line = _thicker(own, thick - int(size * self.stroke)) | _thicker(edge, thick - 1)
        # a line that reaches outside belongs to the color next to it
        owner = np.where(kind > 0, kind, cv2.dilate(kind, np.ones((2 * thick + 1, 2 * thick + 1))))
        return np.where(line & (owner > 0), 2 * owner + 1, 2 * kind).astype(np.uint8)

    def _nearest(self) -> Array:
        """Return, (32 32 32) int, the nearest color for the upper five bits of red, green and blue."""
        levels = np.arange(32) * 8 + 4
        r, g, b = ((levels[:, None] - self.codes[:, c].astype(np.int64)) ** 2 for c in range(3))  # (32 c) each
        return (r[:, None, None] + g[:, None] + b).argmin(-1)


def margin(size: int) -> int:
    """Return the px of room for the outline around a raster of a given size."""
    return size // 12 + 1


def _thicker(mask: Array, by: int) -> Array:
    """Widen the strokes of (H W) bool by `by` px."""
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(1, by + 1), max(1, by + 1)))
    return cv2.dilate(mask.astype(np.uint8), disk) > 0
