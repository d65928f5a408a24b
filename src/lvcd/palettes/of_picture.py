"""The palette of a colored frame: the colors of its fills and of its lines, the largest first."""

from __future__ import annotations

import numpy as np
import torch

from lvcd.flats.colors import line_colors
from lvcd.flats.exact_colors import color_codes, colors_of_codes, even_pixels, hex_names
from lvcd.flats.regions import Regions
from lvcd.io.images import over_white
from lvcd.lineart.xdog import xdog

from .palette_files import MAX_COLORS, Array, Palette

ALIKE, RARE = 6, 0.05
"""Difference of a channel, and share of the pixels, up to which a color is the noise of a more frequent one: in a JPEG,
or a scan."""
MIN_PX = 4
"""Pixels of a fill that have its color all around them."""


def find_palette(picture: Array) -> Palette:
    """Find the flat colors of a picture, uint8 (H W 3) or (H W 4), at most 256. Their names are #rrggbb.

    A color counts where a pixel and all its neighbors have it, which soft edges never do; then the color of the lines
    is added. What is wholly transparent has no color.
    """
    opaque = picture[..., 3] > 0 if picture.shape[2] == 4 else np.ones(picture.shape[:2], bool)
    pixels = np.ascontiguousarray(over_white(picture))  # as a reference is read
    found: list[Array] = []
    counts: list[int] = []
    for color, count in zip(*flat_colors(pixels, opaque)):
        noise = any(np.abs(color - o).max() <= ALIKE and count < RARE * n for o, n in zip(found, counts))
        if not noise and len(found) < MAX_COLORS:
            found.append(color)
            counts.append(count)
    for color in _line_color(pixels):
        if len(found) < MAX_COLORS and all(np.abs(color - other).max() > ALIKE for other in found):
            found.append(color)
    if not found:
        found = [np.median(pixels.reshape(-1, 3), 0).astype(int)]
    colors = np.array(found, np.uint8)
    return Palette(colors, tuple(hex_names(colors)))


def flat_colors(pixels: Array, opaque: Array) -> tuple[Array, Array]:
    """Find the colors of the fills of a picture, uint8 (H W 3), where it is opaque, bool (H W).

    => colors (n 3), the most frequent first, and how many pixels have each all around them (n), at least MIN_PX.
    """
    unique, times = np.unique(color_codes(pixels[even_pixels(pixels) & opaque]), return_counts=True)
    order = np.argsort(-times, kind="stable")[: np.count_nonzero(times >= MIN_PX)]
    return colors_of_codes(unique[order]), times[order]


def _line_color(pixels: Array) -> list[Array]:
    """Return the color of the lines of a picture (H W 3); nothing where it has no outlines."""
    frame = pixels.astype(np.float32) / 255
    lines = xdog(torch.from_numpy(frame).movedim(-1, 0)[None] * 2 - 1)[0, 0].numpy()
    regions = Regions.from_lines(lines, 0.0)
    common, _ = line_colors(frame, lines, regions.map, regions.area)
    return [] if common is None else [np.rint(common * 255).astype(int)]
