"""Fills and lines apart, as a studio has them: the fills of a painted frame move, the lines are those of the drawing.

letters: H W pixels
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from torch import Tensor

Array = np.ndarray[Any, Any]

PAPER = 0.04
"""A pixel with more line than this shows no fill of its own."""
LINE = 0.9
"""A pixel with more line than this shows nothing but ink."""


def as_array(frames: Tensor) -> Array:
    """(... c H W) => (... H W c) float32"""
    return frames.movedim(-3, -1).float().cpu().numpy()


def fills(frame: Array, sketch: Array) -> Array:
    """Painted frame (H W 3) and its sketch (H W) in [0, 1] => the frame with the nearest fill in place of lines."""
    return frame[nearest(sketch <= PAPER)]


def nearest(kept: Array) -> tuple[Array, Array]:
    """kept (H W) bool => rows and columns, each (H W), of the nearest pixel that is; of the pixel itself if none is."""
    if not kept.any():
        rows, columns = np.mgrid[: kept.shape[0], : kept.shape[1]]
        return rows, columns
    _, label = cv2.distanceTransformWithLabels(
        (~kept).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    place = np.zeros(label.max() + 1, np.intp)
    place[label[kept]] = np.flatnonzero(kept)
    return np.unravel_index(place[label], kept.shape)


def ink(frame: Array, sketch: Array) -> Array:
    """The color (3) of lines: the median of what is nothing but line; black if there is no such pixel."""
    lines = frame[sketch > LINE]
    return np.median(lines, 0) if len(lines) else np.zeros(3, np.float32)


def inked(fill: Array, sketch: Array, color: Array) -> Array:
    """Fill (H W 3) under lines (H W) of a color (3) => (H W 3)"""
    return fill + sketch[..., None] * (color - fill)
