"""Fills and lines apart, as a studio has them: the fills of a painted frame move, the lines are those of the drawing.

letters: H W pixels. Frames are RGB in [0, 1]; a sketch is in [0, 1], 1 on a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

PAPER_MAX = 0.04
"""Up to this sketch value a pixel shows its fill alone."""
LINE_MIN = 0.9
"""Above this sketch value a pixel shows the line's color alone."""


def as_array(frames: Tensor) -> Array:
    """Convert a tensor (... c H W) to an array (... H W c), float32."""
    return frames.movedim(-3, -1).float().cpu().numpy()


def fill_lines(frame: Array, sketch: Array) -> Array:
    """Return a painted frame (H W 3) with the nearest fill in place of the lines of its sketch (H W)."""
    return frame[nearest_true(sketch <= PAPER_MAX)]


def nearest_true(mask: Array) -> tuple[Array, Array]:
    """Return rows and columns, each (H W), of the True pixel nearest to each pixel of a mask (H W) bool.

    Where no pixel is True, each pixel counts as its own nearest.
    """
    if not mask.any():
        rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
        return rows, columns
    _, label = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    place = np.zeros(label.max() + 1, np.intp)
    place[label[mask]] = np.flatnonzero(mask)
    return np.unravel_index(place[label], mask.shape)


def line_color(frame: Array, sketch: Array) -> Array:
    """Return the color (3) of a frame's lines: the median of the pixels that show nothing else; black without any."""
    lines = frame[sketch > LINE_MIN]
    return np.median(lines, 0) if len(lines) else np.zeros(3, np.float32)


def draw_lines_over(fill: Array, sketch: Array, color: Array) -> Array:
    """Blend lines (H W) of one color (3) over a fill (H W 3) => frame (H W 3)."""
    return fill + sketch[..., None] * (color - fill)
