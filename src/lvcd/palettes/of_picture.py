"""The palette of a colored frame: the colors of its fills and of its lines, the largest first."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from lvcd.flats.colors import line_colors
from lvcd.flats.regions import Regions
from lvcd.lineart.xdog import xdog

from .palette_files import MAX_COLORS, Array, Palette

ALIKE = 6
"""Difference of a channel up to which two colors are one, the more frequent: noise of a JPEG, or of a scan."""
MIN_PX = 4
"""Pixels of a fill that have its color all around them."""


def find_palette(picture: Array) -> Palette:
    """Find the flat colors of a picture, uint8 (H W 3) or (H W 4), at most 256. Their names are #rrggbb.

    A color counts where a pixel and all its neighbors have it, which soft edges never do; then the color of the lines
    is added. What is wholly transparent has no color.
    """
    pixels, opaque = np.ascontiguousarray(picture[..., :3]), np.ones(picture.shape[:2], bool)
    if picture.shape[2] == 4:
        opaque = picture[..., 3] > 0
        share = picture[..., 3:].astype(np.float32) / 255
        pixels = np.rint(pixels * share + 255 * (1 - share)).astype(np.uint8)  # as a reference is read
    around = np.ones((3, 3), np.uint8)
    even = (cv2.dilate(pixels, around) == cv2.erode(pixels, around)).all(-1)
    inside = pixels[even & opaque]
    colors, times = np.unique(inside, axis=0, return_counts=True) if len(inside) else (inside, np.zeros(0, int))
    found: list[Array] = []
    for color in [*colors[np.argsort(-times, kind="stable")][: np.count_nonzero(times >= MIN_PX)].astype(int),
                  *_line_color(pixels)]:  # fmt: skip
        if all(np.abs(color - other).max() > ALIKE for other in found) and len(found) < MAX_COLORS:
            found.append(color)
    if not found:
        found = [np.median(pixels.reshape(-1, 3), 0).astype(int)]
    return Palette.of([("#{:02x}{:02x}{:02x}".format(*color), color) for color in found])


def _line_color(pixels: Array) -> list[Array]:
    """Return the color of the lines of a picture (H W 3); nothing where it has no outlines."""
    frame = pixels.astype(np.float32) / 255
    lines = xdog(torch.from_numpy(frame).movedim(-1, 0)[None] * 2 - 1)[0, 0].numpy()
    regions = Regions.from_lines(lines, 0.0)
    common, _ = line_colors(frame, lines, regions.map, regions.area)
    return [] if common is None else [np.rint(common * 255).astype(int)]
